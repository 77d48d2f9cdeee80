// Tensors in files: ONNX TensorProto (.pb) and NumPy (.npy, versions 1 to 3, C order). Errors are
// kInvalidArgument and name what was found and expected; files of any content are safe to read.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/tensor.h"

namespace onnx {
class TensorProto;
}

namespace baton {

// A tensor from its ONNX message. External data is read from `directory` (the model's), which it
// may not leave; pass "" where external data is not allowed.
absl::StatusOr<Tensor> TensorFromProto(const onnx::TensorProto& proto,
                                       const std::string& directory);
// The message, with raw_data (string_data for strings).
onnx::TensorProto TensorToProto(const TensorView& tensor, const std::string& name);

struct NamedTensor {
  std::string name;  // as in the file; may be empty
  Tensor tensor;
};
absl::StatusOr<NamedTensor> ReadTensorProtoFile(const std::string& path);
absl::Status WriteTensorProtoFile(const std::string& path, const TensorView& tensor,
                                  const std::string& name);

absl::StatusOr<Tensor> ParseNpy(absl::string_view contents);
absl::StatusOr<Tensor> ReadNpyFile(const std::string& path);
// kUnimplemented for strings and bfloat16, which .npy has no type for.
absl::StatusOr<std::string> ToNpy(const TensorView& tensor);
absl::Status WriteNpyFile(const std::string& path, const TensorView& tensor);

}  // namespace baton

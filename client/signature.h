// What a model takes and gives, as its server describes it.
#pragma once

#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/tensor.h"

namespace baton {

struct TensorInfo {
  std::string name;
  DataType type = DataType::kUndefined;
  Shape shape;  // -1: any size
};

// "float[?,784]"
inline std::string TypeAndShape(DataType type, absl::Span<const int64_t> shape) {
  return absl::StrCat(DataTypeName(type), ShapeToString(shape));
}
inline std::string TypeAndShape(const TensorInfo& info) {
  return TypeAndShape(info.type, info.shape);
}

struct Signature {
  std::string model;
  std::string version;  // that answered; with Open Inference the versions, "1,2", if none was asked
  std::vector<TensorInfo> inputs;
  std::vector<TensorInfo> outputs;
};

// The input called `name`, or the only one if `name` is empty. kInvalidArgument otherwise, listing
// the inputs there are.
absl::StatusOr<TensorInfo> FindInput(const Signature& signature, const std::string& name);

}  // namespace baton

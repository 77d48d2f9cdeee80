// TensorFlow Serving's tensors: tensorflow.TensorProto to and from views. Safe on messages of any
// content.
#pragma once

#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tensor.h"
#include "proto/tensorflow/core/framework/tensor.pb.h"
#include "proto/tensorflow/core/protobuf/meta_graph.pb.h"
#include "proto/tensorflow_serving/apis/predict.pb.h"
#include "server/api/input_check.h"
#include "server/repository/signatures.h"
#include "server/serving/servable.h"

namespace baton::api {

// The same type in the other numbering; kUndefined for types that models cannot have, DT_INVALID
// for kUndefined.
DataType FromTfType(tensorflow::DataType type);
tensorflow::DataType ToTfType(DataType type);

// "DT_FLOAT".
std::string TfTypeName(DataType type);

// The inputs of `request`, checked against `servable`, under the names that `signature` gives them;
// null: their own. Those that are not sent take their default, where they have one. The views
// borrow from `request` where its bytes can be used as they are. A *_val field that is shorter than
// its shape is filled up with its last value. kInvalidArgument as InputCheck says.
absl::StatusOr<DecodedInputs> DecodePredictInputs(
    const tensorflow::serving::PredictRequest& request, const serving::Servable& servable,
    size_t max_tensor_bytes, const repository::Signature* signature = nullptr);

// One output of a reply.
struct ReplyOutput {
  size_t index = 0;        // in the model's signature
  absl::string_view name;  // borrowed from the servable
};
using ReplyOutputList = absl::InlinedVector<ReplyOutput, 4>;

// Which outputs `request` wants: all of `signature`, or those of output_filter. kInvalidArgument
// for a name that is unknown or given twice.
absl::StatusOr<ReplyOutputList> PredictOutputs(const tensorflow::serving::PredictRequest& request,
                                               const serving::Servable& servable,
                                               const repository::Signature* signature = nullptr);

// Sets type, shape and the *_val field of the type, as TensorFlow Serving does by default.
void EncodeTfTensor(const TensorView& tensor, tensorflow::TensorProto& proto);

// Name, type and shape of an input or output; any size is -1.
tensorflow::TensorInfo ToTensorInfo(const engine::ValueInfo& info);

}  // namespace baton::api

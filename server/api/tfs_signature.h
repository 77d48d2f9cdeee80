// The signatures by which TensorFlow Serving's calls reach a model: those of its config
// (repository::Signatures), and "serving_default", which every model has: its own inputs and
// outputs under their own names, for every method.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/tensorflow_serving/apis/get_model_metadata.pb.h"
#include "proto/tensorflow_serving/apis/model.pb.h"
#include "server/repository/signatures.h"
#include "server/serving/servable.h"

namespace baton::api {

inline constexpr char kDefaultSignature[] = "serving_default";
inline constexpr char kPredictMethod[] = "tensorflow/serving/predict";
inline constexpr char kClassifyMethod[] = "tensorflow/serving/classify";
inline constexpr char kRegressMethod[] = "tensorflow/serving/regress";

// The name that `spec` gives, "serving_default" for none.
std::string SignatureName(const tensorflow::serving::ModelSpec& spec);

// The signature that `spec` names, for a call of `method`; null for the model's own inputs and
// outputs. Predict takes these, too, for a signature of another method. kInvalidArgument: there is
// no such signature (lists those that are there), or it is one of another method.
absl::StatusOr<const repository::Signature*> FindSignature(
    const tensorflow::serving::ModelSpec& spec, const serving::Servable& servable,
    repository::SignatureMethod method);

// Sets model, version and signature of the reply to a request for `signature`.
void SetModelSpec(const serving::Servable& servable, const std::string& signature,
                  tensorflow::serving::ModelSpec& spec);

// What a Predict signature calls its inputs (in the model's order) and outputs (in its own order).
std::vector<engine::ValueInfo> RequestInputs(const repository::Signature& signature,
                                             const serving::Servable& servable);
std::vector<engine::ValueInfo> ReplyOutputs(const repository::Signature& signature,
                                            const serving::Servable& servable);

// Position in the model's signature of an output. REQUIRES: it is there.
size_t OutputIndex(const serving::Servable& servable, const std::string& output);

// Null if input `input` of the model has no default in `signature`, which may be null.
const repository::DefaultValues* DefaultOf(const repository::Signature* signature,
                                           const std::string& input);

// All signatures with their methods. Those for examples have one input "inputs", serialized
// examples, and TensorFlow's outputs "scores", "classes" and "outputs".
tensorflow::serving::SignatureDefMap DescribeSignatures(const serving::Servable& servable);

}  // namespace baton::api

// tf.Examples to a model's inputs: each input takes the feature of every example that the signature
// names, one row for each example. Safe on messages of any content.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "proto/tensorflow_serving/apis/input.pb.h"
#include "server/api/input_check.h"
#include "server/repository/signatures.h"
#include "server/serving/servable.h"

namespace baton::api {

// The number of examples.
int64_t CountExamples(const tensorflow::serving::Input& input);

// The inputs of `servable` from `input`. `signature` may be null: then each input takes the feature
// of its own name. An example's feature goes before the context's, that before a default. A row's
// size is the input's without its first dimension (which is any, or the number of examples); one
// dimension more may be open, then all examples have equally many values. A model whose first
// dimension is another number takes one example for the whole input.
// kInvalidArgument: no example; too many; a feature that is missing or does not fit: names the
// example, the feature, what was found, and what is expected. All data is copied.
absl::StatusOr<DecodedInputs> DecodeExamples(const tensorflow::serving::Input& input,
                                             const repository::Signature* signature,
                                             const serving::Servable& servable,
                                             size_t max_tensor_bytes);

}  // namespace baton::api

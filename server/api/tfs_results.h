// A model's outputs as TensorFlow Serving's results for examples.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tensor.h"
#include "proto/tensorflow_serving/apis/classification.pb.h"
#include "proto/tensorflow_serving/apis/regression.pb.h"
#include "server/repository/signatures.h"
#include "server/serving/servable.h"

namespace baton::api {

// Where the results of a call are found among the outputs of a model; borrows its config.
struct ResultOutputs {
  std::optional<size_t> values;                      // scores, or the regression
  std::optional<size_t> classes;                     // names of classes
  const std::vector<std::string>* labels = nullptr;  // names of classes, or null
};

// As `signature` says; null: the model's only output. Labels come from the signature, or else from
// the output's label_filename. kInvalidArgument: several outputs and none is named, or one that
// does not hold floats.
absl::StatusOr<ResultOutputs> FindResults(const repository::Signature* signature,
                                          repository::SignatureMethod method,
                                          const serving::Servable& servable);

// Every class of each example in the order of the model's output, with its score (0 where there
// are no scores) and its name (its index where there is none). kInvalidArgument: the outputs are
// not [examples, classes] (says what they are).
absl::Status MakeClassification(const ResultOutputs& from, const serving::Servable& servable,
                                int64_t examples, absl::Span<const TensorView> outputs,
                                tensorflow::serving::ClassificationResult& result);

// The value of each example. kInvalidArgument: the output is not one value for each.
absl::Status MakeRegression(const ResultOutputs& from, const serving::Servable& servable,
                            int64_t examples, absl::Span<const TensorView> outputs,
                            tensorflow::serving::RegressionResult& result);

}  // namespace baton::api

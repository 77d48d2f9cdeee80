// BatchingParameters: what a TensorFlow Serving deployment says about batching, from the text form
// of tensorflow.serving.BatchingParameters. A model's config.pbtxt counts more.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::repository {

// In a version's directory, where per-model parameters are enabled.
inline constexpr char kBatchingFile[] = "batching_params.pbtxt";

struct BatchingParameters {
  std::optional<int64_t> max_batch_rows;
  std::optional<int64_t> max_delay_us;         // a request waits for company
  std::optional<int64_t> max_waiting_batches;  // of max_batch_rows
  std::optional<int64_t> max_running_batches;
  std::vector<int64_t> preferred_rows;  // ascending; the last is max_batch_rows
  bool pad_to_longest = false;          // inputs of different lengths share a batch
  std::vector<std::string> warnings;    // what was set and is not honoured, one text each
};

// `path` is for messages. kInvalidArgument: "<path>:<line>:<column>: …" for wrong syntax and
// unknown fields, "<path>: <field> …" for a value that cannot be.
absl::StatusOr<BatchingParameters> ParseBatchingParameters(absl::string_view text,
                                                           const std::string& path);

// The fields that `over` gives, else those of `under`. (The schema cannot say that padding is off.)
BatchingParameters Merge(const BatchingParameters& over, const BatchingParameters& under);

}  // namespace baton::repository

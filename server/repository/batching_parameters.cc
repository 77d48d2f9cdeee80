#include "server/repository/batching_parameters.h"

#include <google/protobuf/text_format.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "proto/tensorflow_serving/servables/tensorflow/session_bundle_config.pb.h"
#include "server/repository/text_errors.h"

namespace baton::repository {
namespace {

using Message = tensorflow::serving::BatchingParameters;

absl::StatusOr<std::optional<int64_t>> Read(bool is_set, const google::protobuf::Int64Value& value,
                                            absl::string_view field, int64_t least) {
  if (!is_set) return std::nullopt;
  constexpr int64_t kMost = int64_t{1} << 40;
  if (value.value() >= least && value.value() <= kMost) return value.value();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value.value(), "; expected ", least, " to ", kMost));
}

absl::StatusOr<BatchingParameters> Convert(const Message& message) {
  BatchingParameters out;
  ASSIGN_OR_RETURN(out.max_batch_rows, Read(message.has_max_batch_size(), message.max_batch_size(),
                                            "max_batch_size", 1));
  ASSIGN_OR_RETURN(out.max_delay_us,
                   Read(message.has_batch_timeout_micros(), message.batch_timeout_micros(),
                        "batch_timeout_micros", 0));
  ASSIGN_OR_RETURN(out.max_waiting_batches,
                   Read(message.has_max_enqueued_batches(), message.max_enqueued_batches(),
                        "max_enqueued_batches", 1));
  ASSIGN_OR_RETURN(
      out.max_running_batches,
      Read(message.has_num_batch_threads(), message.num_batch_threads(), "num_batch_threads", 1));
  const auto& sizes = message.allowed_batch_sizes();
  out.preferred_rows.assign(sizes.begin(), sizes.end());
  const bool ascending = std::is_sorted(sizes.begin(), sizes.end(), std::less_equal<int64_t>());
  if (!sizes.empty() && (!ascending || *sizes.begin() < 1 || !out.max_batch_rows ||
                         *sizes.rbegin() != *out.max_batch_rows)) {
    return absl::InvalidArgumentError(
        "allowed_batch_sizes must be ascending, from 1 up, and end with max_batch_size");
  }
  out.pad_to_longest = message.pad_variable_length_inputs();
  if (message.has_thread_pool_name()) {
    out.warnings.push_back("thread_pool_name has no effect: all models share one pool of workers");
  }
  return out;
}

}  // namespace

absl::StatusOr<BatchingParameters> ParseBatchingParameters(absl::string_view text,
                                                           const std::string& path) {
  TextErrors errors(path);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  Message message;
  if (!parser.ParseFromString(std::string(text), &message)) {
    return absl::InvalidArgumentError(errors.Text());
  }
  absl::StatusOr<BatchingParameters> parameters = Convert(message);
  if (!parameters.ok()) return Annotate(parameters.status(), path);
  for (std::string& warning : parameters->warnings) warning = absl::StrCat(path, ": ", warning);
  return parameters;
}

BatchingParameters Merge(const BatchingParameters& over, const BatchingParameters& under) {
  BatchingParameters out = over;
  if (!out.max_batch_rows) {
    out.max_batch_rows = under.max_batch_rows;
    out.preferred_rows = under.preferred_rows;
  }
  if (!out.max_delay_us) out.max_delay_us = under.max_delay_us;
  if (!out.max_waiting_batches) out.max_waiting_batches = under.max_waiting_batches;
  if (!out.max_running_batches) out.max_running_batches = under.max_running_batches;
  out.pad_to_longest = over.pad_to_longest || under.pad_to_longest;
  return out;
}

}  // namespace baton::repository

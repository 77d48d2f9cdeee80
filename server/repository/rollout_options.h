// RolloutOptions: how a new version of a model takes over from the one that serves; from the
// model's config (parameters "rollout.…").
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::repository {

struct RolloutOptions {
  int percent = 0;  // of requests, in both stages; 0: a version takes over as soon as it is ready
  int64_t shadow_requests = 200;  // to be run by both; 0: no such stage
  int64_t live_requests = 200;    // to be answered by the new version; 0: no such stage
  // Greatest difference of an answer from the stable version's, relative to the largest number in
  // that; where it is not given, answers may differ (but for NaN and infinity).
  std::optional<double> max_divergence;
  double max_latency_ratio = 2;  // median time of compute over the stable version's
  double max_error_rate = 0;     // of answers that are errors, NaN or infinite

  bool enabled() const { return percent > 0; }
  friend bool operator==(const RolloutOptions&, const RolloutOptions&) = default;
};

inline constexpr char kRolloutPrefix[] = "rollout.";

// Sets the option `key` ("percent" …) from text. kInvalidArgument: no such option, or the value and
// what is expected.
absl::Status SetRolloutOption(absl::string_view key, const std::string& value,
                              RolloutOptions& options);

}  // namespace baton::repository

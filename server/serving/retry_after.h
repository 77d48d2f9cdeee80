// When a refused request is worth another try: said with a kResourceExhausted status by whoever
// knows the queue, and passed on by each protocol in its own way.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"

namespace baton::serving {

inline constexpr char kRetryAfterPayload[] = "baton.retry_after_ms";

// `status`, with `seconds` from now as the time for another try; at least a millisecond.
inline absl::Status WithRetryAfter(absl::Status status, double seconds) {
  constexpr double kLongest = 3600;
  const double bounded = std::clamp(seconds, 1e-3, kLongest);
  const auto ms = static_cast<int64_t>(bounded * 1e3 + 0.5);
  status.SetPayload(kRetryAfterPayload, absl::Cord(std::to_string(std::max<int64_t>(ms, 1))));
  return status;
}

// What WithRetryAfter said; none for OK and for all other errors.
inline std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& status) {
  if (status.ok()) return std::nullopt;
  const auto payload = status.GetPayload(kRetryAfterPayload);
  int64_t ms = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &ms)) return std::nullopt;
  return std::chrono::milliseconds(ms);
}

}  // namespace baton::serving

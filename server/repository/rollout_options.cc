#include "server/repository/rollout_options.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace baton::repository {
namespace {

absl::Status Wrong(absl::string_view key, const std::string& value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("parameters[", kRolloutPrefix, key, "] is \"",
                                                 value, "\"; expected ", expected));
}

}  // namespace

absl::Status SetRolloutOption(absl::string_view key, const std::string& value,
                              RolloutOptions& options) {
  if (key == "percent") {
    if (absl::SimpleAtoi(value, &options.percent) && options.percent >= 0 &&
        options.percent <= 100) {
      return absl::OkStatus();
    }
    return Wrong(key, value, "a whole number from 0 (off) to 100");
  }
  if (key == "shadow_requests" || key == "live_requests") {
    int64_t& requests = key == "shadow_requests" ? options.shadow_requests : options.live_requests;
    constexpr int64_t kMost = 1'000'000;  // their times are kept until the stage ends
    if (absl::SimpleAtoi(value, &requests) && requests >= 0 && requests <= kMost) {
      return absl::OkStatus();
    }
    return Wrong(key, value, "a whole number from 0 to 1000000");
  }
  double number = 0;
  if (key == "max_divergence") {
    if (!absl::SimpleAtod(value, &number) || !(number >= 0)) {
      return Wrong(key, value, "a number from 0 up");
    }
    options.max_divergence = number;
  } else if (key == "max_latency_ratio") {
    if (!absl::SimpleAtod(value, &number) || !(number > 0)) {
      return Wrong(key, value, "a number above 0");
    }
    options.max_latency_ratio = number;
  } else if (key == "max_error_rate") {
    if (!absl::SimpleAtod(value, &number) || !(number >= 0 && number <= 1)) {
      return Wrong(key, value, "a number from 0 to 1");
    }
    options.max_error_rate = number;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("parameters[", kRolloutPrefix, key,
                     "] is no option; expected one of percent, shadow_requests, live_requests, "
                     "max_divergence, max_latency_ratio, max_error_rate"));
  }
  return absl::OkStatus();
}

}  // namespace baton::repository

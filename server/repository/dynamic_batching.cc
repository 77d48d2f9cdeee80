#include "server/repository/dynamic_batching.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "proto/model_config.pb.h"

namespace baton::repository {
namespace {

constexpr int kMaxPriorityLevels = 1000;

// Microseconds of the schema, such that a time can have them added.
absl::StatusOr<int64_t> Bounded(uint64_t value, absl::string_view field) {
  constexpr uint64_t kMost = uint64_t{1} << 50;  // 35 years
  if (value <= kMost) return static_cast<int64_t>(value);
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, "; expected at most ", kMost));
}

absl::StatusOr<QueuePolicy> ConvertPolicy(const inference::ModelQueuePolicy& message,
                                          const std::string& field) {
  QueuePolicy policy;
  policy.max_queue_size = message.max_queue_size();
  ASSIGN_OR_RETURN(policy.default_timeout_us,
                   Bounded(message.default_timeout_microseconds(),
                           absl::StrCat(field, ".default_timeout_microseconds")));
  policy.allow_timeout_override = message.allow_timeout_override();
  policy.delay = message.timeout_action() == inference::ModelQueuePolicy::DELAY;
  return policy;
}

}  // namespace

absl::StatusOr<DynamicBatching> ConvertBatching(const inference::ModelDynamicBatching& message,
                                                std::optional<int64_t> max_batch_size) {
  DynamicBatching batching;
  for (const int64_t size : message.preferred_batch_size()) {
    if (size < 1 || (max_batch_size.has_value() && size > *max_batch_size)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "dynamic_batching.preferred_batch_size is ", size, "; expected 1 to ",
          max_batch_size.has_value() ? absl::StrCat("max_batch_size, ", *max_batch_size)
                                     : "the largest batch"));
    }
    batching.preferred_batch_sizes.push_back(size);
  }
  std::sort(batching.preferred_batch_sizes.begin(), batching.preferred_batch_sizes.end());
  ASSIGN_OR_RETURN(batching.max_queue_delay_us,
                   Bounded(message.max_queue_delay_microseconds(),
                           "dynamic_batching.max_queue_delay_microseconds"));
  if (message.has_default_queue_policy()) {
    ASSIGN_OR_RETURN(batching.queue, ConvertPolicy(message.default_queue_policy(),
                                                   "dynamic_batching.default_queue_policy"));
  }
  if (message.priority_levels() > kMaxPriorityLevels) {
    return absl::InvalidArgumentError(absl::StrCat("dynamic_batching.priority_levels is ",
                                                   message.priority_levels(), "; expected at most ",
                                                   kMaxPriorityLevels));
  }
  batching.priority_levels = static_cast<int>(message.priority_levels());
  if (batching.priority_levels == 0) return batching;
  if (message.default_priority_level() < 1 ||
      message.default_priority_level() > message.priority_levels()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "dynamic_batching.default_priority_level is ", message.default_priority_level(),
        "; expected 1 to priority_levels, ", message.priority_levels()));
  }
  batching.default_priority_level = static_cast<int>(message.default_priority_level());
  for (const auto& [level, policy] : message.priority_queue_policy()) {
    const std::string field = absl::StrCat("dynamic_batching.priority_queue_policy[", level, "]");
    if (level < 1 || level > message.priority_levels()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": there is no such priority; expected 1 to priority_levels, ",
                       message.priority_levels()));
    }
    ASSIGN_OR_RETURN(batching.level_queues[static_cast<int>(level)], ConvertPolicy(policy, field));
  }
  return batching;
}

}  // namespace baton::repository

// DynamicBatching: how a model's requests queue and are put together, from `dynamic_batching` of
// its config.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

namespace inference {
class ModelDynamicBatching;
}

namespace baton::repository {

// How the requests of a priority wait.
struct QueuePolicy {
  int64_t max_queue_size = 0;          // requests; 0: the server's default
  int64_t default_timeout_us = 0;      // 0: none
  bool allow_timeout_override = true;  // a request may shorten its own timeout, as in Triton
  // A request that has waited for its timeout goes behind all others of its priority, instead of
  // being refused.
  bool delay = false;
};

struct DynamicBatching {
  std::vector<int64_t> preferred_batch_sizes;  // ascending; empty: the scheduler chooses
  int64_t max_queue_delay_us = 0;              // 0: greedy, a request never waits for company
  QueuePolicy queue;
  std::map<int, QueuePolicy> level_queues;  // of priorities that have one of their own
  int priority_levels = 0;                  // 0: priorities are ignored
  int default_priority_level = 0;           // 1 … priority_levels, where there are levels
};

// kInvalidArgument: "dynamic_batching.<field> …" for a value that cannot be. `max_batch_size` is
// the config's.
absl::StatusOr<DynamicBatching> ConvertBatching(const inference::ModelDynamicBatching& message,
                                                std::optional<int64_t> max_batch_size);

}  // namespace baton::repository

#include "server/serving/loader.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/base/log.h"

namespace baton::serving {
namespace {

constexpr int64_t kMaxQueueSize = int64_t{1} << 30;

int64_t LatencyTargetUs(const repository::ModelConfig& config) {
  return static_cast<int64_t>(config.latency_target_ms * 1e3);
}

int64_t MaxDelayUs(const repository::ModelConfig& config, const LoadedVersion& loaded) {
  const int64_t own = config.dynamic_batching.max_queue_delay_us;
  const int64_t delay = own > 0 ? own : loaded.batching.max_delay_us.value_or(0);
  // The other half is the batch's.
  return LatencyTargetUs(config) > 0 ? std::min(delay, LatencyTargetUs(config) / 2) : delay;
}

LevelLimits LimitsOf(const repository::QueuePolicy& policy) {
  LevelLimits level;
  level.max_tasks = static_cast<int>(std::min<int64_t>(policy.max_queue_size, kMaxQueueSize));
  level.default_timeout = std::chrono::microseconds(policy.default_timeout_us);
  level.own_timeouts = policy.allow_timeout_override;
  level.delay = policy.delay;
  return level;
}

// Room for what each priority may hold; those that have no bound of their own share the server's.
int SizeOfAll(const QueueLimits& limits) {
  int64_t sum = 0;
  bool shared = false;
  const auto add = [&](const LevelLimits& level, int64_t priorities) {
    sum += level.max_tasks * priorities;
    shared = shared || (level.max_tasks == 0 && priorities > 0);
  };
  const auto own = static_cast<int64_t>(limits.levels.size());
  add(limits.level, std::max(limits.priority_levels, 1) - own);
  for (const auto& [priority, level] : limits.levels) add(level, 1);
  return static_cast<int>(std::min(sum + (shared ? limits.max_tasks : 0), kMaxQueueSize));
}

}  // namespace

Loader::Loader(const LoaderOptions& options, Runtime& runtime, const ServableContext& context)
    : options_(options), runtime_(runtime), context_(context) {}

LoadResult Loader::Load(const LoadRequest& request,
                        const std::function<void(VersionState)>& enter) const {
  VersionLoad load = LoadVersion(options_, request, runtime_, context_.clock, enter);
  for (const auto& [phase, seconds] : load.seconds) {
    context_.metrics.RecordLoadPhase(request.model, phase, seconds);
  }
  for (const std::string& warning : load.warnings) {
    BATON_LOG(Warning) << "model \"" << request.model << "\" version " << request.version << ": "
                       << warning;
  }
  LoadResult result{nullptr, std::move(load.error), std::move(load.reason)};
  if (!load.loaded.has_value()) return result;
  LoadedVersion& loaded = *load.loaded;
  QueueLimits limits = Limits(request.config, loaded);
  const ServableOptions options = OptionsOfServable(request.config, loaded);
  result.servable =
      std::make_unique<ModelServable>(request.model, request.version, std::move(loaded.model),
                                      std::move(loaded.warm), std::move(limits), options, context_);
  return result;
}

QueueLimits Loader::Limits(const repository::ModelConfig& config,
                           const LoadedVersion& loaded) const {
  const repository::DynamicBatching& batching = config.dynamic_batching;
  const repository::BatchingParameters& parameters = loaded.batching;
  QueueLimits limits;
  limits.max_batch_rows = options_.batching ? loaded.max_batch_rows : 1;
  limits.max_tasks = options_.max_queue_size;
  if (parameters.max_waiting_batches) {
    limits.max_tasks = static_cast<int>(
        std::min(*parameters.max_waiting_batches * loaded.max_batch_rows, kMaxQueueSize));
  }
  limits.max_seconds = options_.max_queue_seconds;
  limits.workers = options_.workers;
  limits.max_delay = std::chrono::microseconds(MaxDelayUs(config, loaded));
  limits.latency_target = std::chrono::microseconds(LatencyTargetUs(config));
  limits.preferred_rows = batching.preferred_batch_sizes.empty() ? parameters.preferred_rows
                                                                 : batching.preferred_batch_sizes;
  limits.max_running = config.instance_count > 0
                           ? config.instance_count
                           : static_cast<int>(std::min<int64_t>(
                                 parameters.max_running_batches.value_or(0), 1 << 20));
  limits.priority_levels = batching.priority_levels;
  if (limits.priority_levels > 0) limits.default_priority = batching.default_priority_level;
  limits.level = LimitsOf(batching.queue);
  for (const auto& [level, policy] : batching.level_queues) limits.levels[level] = LimitsOf(policy);
  limits.max_tasks = SizeOfAll(limits);
  return limits;
}

ServableOptions Loader::OptionsOfServable(const repository::ModelConfig& config,
                                          const LoadedVersion& loaded) const {
  ServableOptions options;
  options.config = config;
  options.max_request_rows = loaded.max_request_rows;
  // A delay is there to collect company; running inline would defeat it.
  options.max_inline_seconds = MaxDelayUs(config, loaded) > 0 ? 0 : options_.max_inline_seconds;
  return options;
}

}  // namespace baton::serving

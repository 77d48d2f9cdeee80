// ModelServable: a loaded model version behind its batch queue, run by the scheduler's workers.
// Thread-safe. It never compiles where requests run: shapes first seen in traffic are compiled on
// `compiler`, and sizes of batches that have no plan yet run in pieces until theirs is there.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/model.h"
#include "server/repository/model_config.h"
#include "server/serving/background_thread.h"
#include "server/serving/batch_queue.h"
#include "server/serving/metrics.h"
#include "server/serving/scheduler.h"
#include "server/serving/servable.h"
#include "server/serving/warm_up.h"

namespace baton::serving {

struct ServableOptions {
  repository::ModelConfig config = {};
  int64_t max_request_rows = 1;   // where requests are batched
  double max_inline_seconds = 0;  // cheaper requests are for Task::lane
};

// What serves every version of a process; outlives all of them.
struct ServableContext {
  Scheduler& scheduler;
  BackgroundThread& compiler;
  Metrics& metrics;
  const Clock& clock;
};

class ModelServable final : public Servable,
                            public WorkSource,
                            public std::enable_shared_from_this<ModelServable> {
 public:
  // `warm`: what WarmUp found out about `model`. `limits.best_rows` and `max_batch_rows` are
  // lowered to what it says.
  ModelServable(std::string name, int64_t version, std::shared_ptr<const engine::Model> model,
                WarmUpResult warm, QueueLimits limits, const ServableOptions& options,
                const ServableContext& context);
  ~ModelServable() override;

  // What the registry hands out: the servable closes its queue when the last holder lets go.
  std::shared_ptr<Servable> Handle();

  const std::string& model() const override { return name_; }
  int64_t version() const override { return version_; }
  const engine::Signature& signature() const override { return model_->signature(); }
  const repository::ModelConfig& config() const override { return options_.config; }
  int64_t max_batch_size() const override;
  VersionMetrics& metrics() override { return *metrics_; }
  absl::Status Submit(Task task) override;
  std::string note() const override { return note_; }

  Batch Take(int idle_workers) override;
  void Run(Batch batch, bool alone, Executor& executor) override;

  // Answers all that waits with kUnavailable; what is running finishes.
  void Abort();

  bool batched() const { return batched_; }
  size_t memory_bytes() const { return model_->weight_bytes() + model_->plan_bytes(); }
  // For the warm-up of the next version: what plans cost, and the shapes and sizes that traffic
  // uses.
  Measured measured() const;
  std::map<ShapeKey, std::vector<int64_t>> Sizes() const { return queue_.Sizes(); }

 private:
  static constexpr uint32_t kTrialInterval = 256;  // but for the first ones

  // Whether the task is so cheap that its thread's own lane is to run it.
  bool IsForLane(const Task& task) const;
  // Puts a task that has been checked into the queue; `again` as BatchQueue::Submit. `self` is
  // this.
  absl::Status Enqueue(const std::shared_ptr<ModelServable>& self, Task& task, const ShapeKey& key,
                       bool again = false);
  // `alone`: all cores may be used. They are where that was faster so far. Where it was not, it is
  // tried again now and then: what was measured may have had other work beside it.
  void RunTasks(Batch& batch, bool alone, Executor& executor);
  bool IsTrial();
  // On the compiler's thread: the plans for `rows` of a shape, and for 1 row.
  void Compile(const ShapeKey& key, int64_t rows);
  void CompileLater(const ShapeKey& key, int64_t rows);

  const std::string name_;
  const int64_t version_;
  const std::shared_ptr<const engine::Model> model_;
  const bool batched_;
  const bool fixed_shapes_;  // but for the rows; else one cost curve cannot tell what a task costs
  const int parallel_threads_;  // of a request that is alone; 1: no plans for that
  const bool limited_;          // in how many batches run at once: then none outside the queue
  const Measured measured_;     // batches of more than its largest_rows run in pieces for good
  const std::shared_ptr<const Padding> padding_;  // null: only equal shapes run together
  const std::string note_;
  const ServableOptions options_;
  const ServableContext context_;
  // Shared with another servable of this version, while one takes over from the other.
  const std::shared_ptr<VersionMetrics> metrics_;
  CostCurve costs_;
  CostCurve parallel_costs_;         // with all cores; nothing if there are no plans for that
  std::atomic<uint32_t> spared_{0};  // requests that were alone where all cores did not pay
  BatchQueue queue_;

  Mutex mu_;
  // Sizes whose compilation was asked for, so that it is asked for once.
  std::set<std::pair<ShapeKey, int64_t>> asked_ ABSL_GUARDED_BY(mu_);
};

}  // namespace baton::serving

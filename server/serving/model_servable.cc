#include "server/serving/model_servable.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "server/serving/batch_runner.h"
#include "server/serving/inline_lane.h"
#include "server/serving/task_check.h"

namespace baton::serving {
namespace {

constexpr size_t kMaxAsked = 4096;  // sizes remembered; beyond that they may be asked for twice

class Recorder final : public BatchRecorder {
 public:
  explicit Recorder(VersionMetrics& metrics) : metrics_(metrics) {}
  void RecordExecution(int64_t rows, const BatchRun& run) override {
    metrics_.RecordExecution(rows, run.assemble_seconds, run.compute_seconds);
  }
  void RecordTask(const absl::Status& status, const PhaseTimes& times) override {
    metrics_.RecordPhases(status, times);
  }

 private:
  VersionMetrics& metrics_;
};

QueueLimits Lowered(QueueLimits limits, const WarmUpResult& warm, bool fixed_shapes) {
  limits.max_batch_rows = warm.batched ? std::max<int64_t>(limits.max_batch_rows, 1) : 1;
  limits.best_rows = std::clamp<int64_t>(warm.measured.best_rows, 1, limits.max_batch_rows);
  limits.refuse_hopeless = fixed_shapes;
  return limits;
}

// Of a shape, by BatchQueue.
bool IsRejection(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsUnimplemented(status);
}

}  // namespace

ModelServable::ModelServable(std::string name, int64_t version,
                             std::shared_ptr<const engine::Model> model, WarmUpResult warm,
                             QueueLimits limits, const ServableOptions& options,
                             const ServableContext& context)
    : name_(std::move(name)),
      version_(version),
      model_(std::move(model)),
      batched_(warm.batched),
      fixed_shapes_(HasFixedShapes(model_->signature(), warm.batched)),
      parallel_threads_(warm.measured.ThreadsAlone()),
      limited_(limits.max_running > 0),
      measured_(warm.measured),
      padding_(std::move(warm.padding)),
      note_(warm.Note()),
      options_(options),
      context_(context),
      metrics_(context.metrics.ForVersion(name_, version)),
      queue_(absl::StrCat("model \"", name_, "\" version ", version),
             Lowered(std::move(limits), warm, fixed_shapes_), context.clock, costs_,
             padding_.get()) {
  for (const auto& [rows, seconds] : measured_.costs) costs_.Set(rows, seconds);
  if (parallel_threads_ > 1) parallel_costs_.Set(1, measured_.parallel_seconds);
  for (auto& [key, plans] : warm.plans) queue_.SetPlans(key, std::move(plans));
  metrics_->SetMemoryBytes(model_->weight_bytes(), model_->plan_bytes());
}

ModelServable::~ModelServable() = default;

std::shared_ptr<Servable> ModelServable::Handle() {
  return std::shared_ptr<Servable>(this, [self = shared_from_this()](Servable*) {
    // Nobody can submit any more; a queue with a delay need not wait for company now.
    self->queue_.Close();
    self->context_.scheduler.Wake(self);
  });
}

int64_t ModelServable::max_batch_size() const { return batched_ ? options_.max_request_rows : 0; }

absl::Status ModelServable::Submit(Task task) {
  // `done` may let go of the handle before this returns.
  const std::shared_ptr<ModelServable> self = shared_from_this();
  RETURN_IF_ERROR(CheckTask(task, *this));
  if (padding_ != nullptr) {
    absl::Status queued = Enqueue(self, task, padding_->KeyOf(task.inputs));
    // The model may not run a shape that its inputs have only been padded to.
    if (!IsRejection(queued)) return queued;
  }
  return Enqueue(self, task, MakeShapeKey(task.inputs, batched_));
}

absl::Status ModelServable::Enqueue(const std::shared_ptr<ModelServable>& self, Task& task,
                                    const ShapeKey& key, bool again) {
  const int64_t rows = task.rows;
  InlineLane* const lane = IsForLane(task) ? task.lane : nullptr;
  metrics_->AddQueueDepth(1);
  const absl::StatusOr<bool> is_new = queue_.Submit(task, key, again);
  if (!is_new.ok()) {
    metrics_->AddQueueDepth(-1);
    return is_new.status();
  }
  if (*is_new) {
    context_.compiler.Post([self, key, rows] { self->Compile(key, rows); });
  } else if (lane != nullptr) {
    lane->Add(self);
  } else {
    context_.scheduler.Wake(self);
  }
  return absl::OkStatus();
}

bool ModelServable::IsForLane(const Task& task) const {
  if (task.lane == nullptr || !fixed_shapes_ || limited_) return false;
  const double seconds = costs_.Estimate(task.rows);
  return seconds > 0 && seconds <= options_.max_inline_seconds;
}

Batch ModelServable::Take(int idle_workers) {
  Batch batch = queue_.Take(idle_workers);
  metrics_->AddQueueDepth(-static_cast<int>(batch.tasks.size() + batch.dropped.size()));
  return batch;
}

void ModelServable::Run(Batch batch, bool alone, Executor& executor) {
  for (auto& [task, status] : batch.dropped) task.done(status, {}, {});
  if (batch.tasks.empty()) return;
  if (batch.rows <= measured_.largest_rows && batch.plans->Find(batch.rows) == nullptr) {
    CompileLater(batch.key, batch.rows);
  }
  RunTasks(batch, alone, executor);
  if (queue_.Done()) context_.scheduler.Wake(shared_from_this());
}

Measured ModelServable::measured() const {
  Measured now = measured_;
  if (parallel_threads_ > 1) now.parallel_seconds = parallel_costs_.Estimate(1);
  return now;
}

bool ModelServable::IsTrial() {
  const uint32_t spared = spared_.fetch_add(1, std::memory_order_relaxed) + 1;
  return std::has_single_bit(spared) || spared % kTrialInterval == 0;
}

void ModelServable::RunTasks(Batch& batch, bool alone, Executor& executor) {
  const PlanSet::Entry* const exact = batch.plans->Find(batch.rows);
  const bool can = alone && parallel_threads_ > 1;
  const bool pays = can && parallel_costs_.Estimate(batch.rows) < costs_.Estimate(batch.rows);
  const bool parallel = can && (pays || IsTrial());
  metrics_->RecordBatch(batch.rows);
  Recorder recorder(*metrics_);
  const BatchRun run =
      RunBatch(batch, parallel, executor, context_.clock, recorder, padding_.get());
  if (!run.status.ok()) return;
  metrics_->RecordOutput(batch.rows, run.output_seconds);
  if (exact == nullptr) return;
  if (!parallel || exact->parallel == nullptr) {
    costs_.Observe(batch.rows, run.compute_seconds);
  } else if (pays) {
    parallel_costs_.Observe(batch.rows, run.compute_seconds);
  } else {
    parallel_costs_.Set(batch.rows, run.compute_seconds);
  }
}

void ModelServable::CompileLater(const ShapeKey& key, int64_t rows) {
  {
    MutexLock lock(mu_);
    if (asked_.size() >= kMaxAsked) asked_.clear();
    if (!asked_.emplace(key, rows).second) return;
  }
  context_.compiler.Post([self = shared_from_this(), key, rows] { self->Compile(key, rows); });
}

void ModelServable::Compile(const ShapeKey& key, int64_t rows) {
  queue_.TakeForgotten();  // freed here
  const std::shared_ptr<const PlanSet> known = queue_.FindPlans(key);
  std::vector<PlanSet::Entry> entries;
  if (known != nullptr) entries = known->entries();
  absl::Status status;
  for (const int64_t size : {int64_t{1}, std::min(rows, measured_.largest_rows)}) {
    status.Update(AddEntry(*model_, key, size, batched_, parallel_threads_, entries));
  }
  metrics_->SetMemoryBytes(model_->weight_bytes(), model_->plan_bytes());
  const bool usable = std::any_of(entries.begin(), entries.end(),
                                  [](const PlanSet::Entry& e) { return e.rows == 1; });
  if (usable) {
    if (!status.ok()) {
      BATON_LOG(Warning) << "model \"" << name_ << "\" version " << version_ << ": no plan for "
                         << rows << " rows: " << status.message();
    }
    queue_.SetPlans(key, std::make_shared<const PlanSet>(std::move(entries)));
    context_.scheduler.Wake(shared_from_this());
    return;
  }
  std::vector<Task> waiting = queue_.Reject(key, status);
  metrics_->AddQueueDepth(-static_cast<int>(waiting.size()));
  for (Task& task : waiting) {
    absl::Status why = Annotate(status, absl::StrCat("model \"", name_, "\""));
    if (padding_ != nullptr) {
      const ShapeKey own = MakeShapeKey(task.inputs, batched_);
      if (own != key) why = Enqueue(shared_from_this(), task, own, /*again=*/true);
    }
    if (!why.ok()) task.done(why, {}, {});
  }
}

void ModelServable::Abort() {
  const std::vector<Task> waiting = queue_.Abort();
  metrics_->AddQueueDepth(-static_cast<int>(waiting.size()));
  for (const Task& task : waiting) {
    task.done(absl::UnavailableError("the server is shutting down"), {}, {});
  }
}

}  // namespace baton::serving

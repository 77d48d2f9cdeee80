#include "server/serving/warming_servable.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "server/serving/batch_runner.h"
#include "server/serving/task_check.h"

namespace baton::serving {
namespace {

class NoRecorder final : public BatchRecorder {
 public:
  void RecordExecution(int64_t, const BatchRun&) override {}
  void RecordTask(const absl::Status&, const PhaseTimes&) override {}
};

}  // namespace

WarmingServable::WarmingServable(std::string name, int64_t version, const engine::Model& model,
                                 const repository::ModelConfig& config, int64_t max_request_rows,
                                 WarmUpResult& warm, Executor& executor, const Clock& clock)
    : name_(std::move(name)),
      version_(version),
      model_(model),
      config_(config),
      max_request_rows_(max_request_rows),
      warm_(warm),
      executor_(executor),
      clock_(clock),
      version_metrics_(metrics_.ForVersion(name_, version)) {}

absl::Status WarmingServable::Submit(Task task) {
  RETURN_IF_ERROR(CheckTask(task, *this));
  Batch batch;
  batch.rows = task.rows;
  // As ModelServable: padded, if the model runs that.
  const Padding* padding = warm_.padding.get();
  absl::StatusOr<std::shared_ptr<const PlanSet>> plans;
  if (padding != nullptr) {
    batch.key = padding->KeyOf(task.inputs);
    plans = PlansFor(batch.key, batch.rows);
  }
  if (padding == nullptr || !plans.ok()) {
    batch.key = MakeShapeKey(task.inputs, warm_.batched);
    plans = PlansFor(batch.key, batch.rows);
  }
  RETURN_IF_ERROR(plans.status());
  batch.plans = *std::move(plans);
  batch.taken = clock_.Now();
  batch.tasks.push_back({std::move(task), batch.taken, 0});
  NoRecorder recorder;
  const BatchRun run =
      RunBatch(batch, warm_.measured.ThreadsAlone() > 1, executor_, clock_, recorder, padding);
  warm_.run_seconds += run.assemble_seconds + run.compute_seconds + run.output_seconds;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const PlanSet>> WarmingServable::PlansFor(const ShapeKey& key,
                                                                         int64_t rows) {
  const auto known = warm_.plans.find(key);
  std::vector<PlanSet::Entry> entries;
  if (known != warm_.plans.end()) entries = known->second->entries();
  const SteadyTime start = clock_.Now();
  for (const int64_t size : {int64_t{1}, std::min(rows, warm_.measured.largest_rows)}) {
    RETURN_IF_ERROR(
        AddEntry(model_, key, size, warm_.batched, warm_.measured.ThreadsAlone(), entries));
  }
  warm_.compile_seconds += Seconds(clock_.Now() - start);
  return warm_.plans[key] = std::make_shared<const PlanSet>(std::move(entries));
}

}  // namespace baton::serving

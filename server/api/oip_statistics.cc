#include "server/api/oip_statistics.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/oip_inference.h"
#include "server/serving/metrics.h"

namespace baton::api {
namespace {

void Set(const serving::CountAndTime& from, inference::StatisticDuration& to) {
  to.set_count(from.count);
  to.set_ns(from.ns);
}

void Fill(serving::Servable& servable, inference::ModelStatistics& out) {
  const serving::StatisticsSnapshot statistics = servable.metrics().Statistics();
  out.set_name(servable.model());
  out.set_version(absl::StrCat(servable.version()));
  out.set_last_inference(statistics.last_inference_ms);
  out.set_inference_count(statistics.inferences);
  out.set_execution_count(statistics.executions);
  inference::InferStatistics& requests = *out.mutable_inference_stats();
  Set(statistics.success, *requests.mutable_success());
  Set(statistics.fail, *requests.mutable_fail());
  Set(statistics.queue, *requests.mutable_queue());
  Set(statistics.input, *requests.mutable_compute_input());
  Set(statistics.infer, *requests.mutable_compute_infer());
  Set(statistics.output, *requests.mutable_compute_output());
  requests.mutable_cache_hit();  // there is no cache: both stay 0
  requests.mutable_cache_miss();
  for (const serving::StatisticsSnapshot::Batches& batches : statistics.batches) {
    inference::InferBatchStatistics& batch = *out.add_batch_stats();
    batch.set_batch_size(static_cast<uint64_t>(batches.rows));
    Set(batches.input, *batch.mutable_compute_input());
    Set(batches.infer, *batch.mutable_compute_infer());
    Set(batches.output, *batch.mutable_compute_output());
  }
  inference::MemoryUsage& memory = *out.add_memory_usage();
  memory.set_type("CPU");
  memory.set_byte_size(statistics.weight_bytes + statistics.plan_bytes);
}

// Of all versions of `model` that are ready.
void FillModel(const serving::Registry& registry, const serving::ModelStatus& model,
               inference::ModelStatisticsResponse& response) {
  for (const serving::VersionStatus& version : model.versions) {
    if (version.state != serving::VersionState::kReady) continue;
    const auto servable = registry.Acquire(model.name, {version.version, ""});
    if (servable.ok()) Fill(**servable, *response.add_model_stats());  // else it went meanwhile
  }
}

}  // namespace

absl::Status ModelStatisticsResponse(const serving::Registry& registry,
                                     const inference::ModelStatisticsRequest& request,
                                     inference::ModelStatisticsResponse& response) {
  if (request.name().empty()) {
    if (!request.version().empty()) {
      return absl::InvalidArgumentError(absl::StrCat("statistics of version \"",
                                                     request.version().substr(0, 100),
                                                     "\" of no model; give the model's name, too"));
    }
    for (const serving::ModelStatus& model : registry.StatusOfAll()) {
      FillModel(registry, model, response);
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto servable,
                   registry.Acquire(request.name(), ChoiceOf(request.version())));
  if (!request.version().empty()) {
    Fill(*servable, *response.add_model_stats());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const serving::ModelStatus model, registry.Status(request.name()));
  FillModel(registry, model, response);
  return absl::OkStatus();
}

}  // namespace baton::api

#include "server/serving/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/version.h"
#include "server/serving/process_metrics.h"

namespace baton::serving {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::MetricFamily;

// Versions of a model that are gone and whose counters are still shown.
constexpr size_t kGoneVersionsKept = 100;

const Histogram::BucketBoundaries kRequestBuckets = {
    1e-5,  2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01,
    0.025, 0.05,   0.1,  0.25, 0.5,    1,    2.5,  5,      10,   30};
const Histogram::BucketBoundaries kBatchBuckets = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
const Histogram::BucketBoundaries kLoadBuckets = {0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1,
                                                  2.5,   5,     10,   30,   60,  120,  300};

}  // namespace

absl::string_view MethodName(Method method) {
  switch (method) {
    case Method::kPredict:
      return "Predict";
    case Method::kClassify:
      return "Classify";
    case Method::kRegress:
      return "Regress";
    case Method::kMultiInference:
      return "MultiInference";
    case Method::kGetModelMetadata:
      return "GetModelMetadata";
    case Method::kGetModelStatus:
      return "GetModelStatus";
    case Method::kReloadConfig:
      return "HandleReloadConfigRequest";
    case Method::kModelInfer:
      return "ModelInfer";
    case Method::kModelStreamInfer:
      return "ModelStreamInfer";
    case Method::kModelMetadata:
      return "ModelMetadata";
    case Method::kModelReady:
      return "ModelReady";
    case Method::kRestPredict:
      return "rest_predict";
    case Method::kRestInfer:
      return "rest_infer";
    case Method::kCount:
      break;
  }
  return "unknown";
}

bool IsInference(Method method) {
  switch (method) {
    case Method::kPredict:
    case Method::kClassify:
    case Method::kRegress:
    case Method::kMultiInference:
    case Method::kModelInfer:
    case Method::kModelStreamInfer:
    case Method::kRestPredict:
    case Method::kRestInfer:
      return true;
    case Method::kGetModelMetadata:
    case Method::kGetModelStatus:
    case Method::kReloadConfig:
    case Method::kModelMetadata:
    case Method::kModelReady:
    case Method::kCount:
      return false;
  }
  return false;
}

struct Metrics::Families {
  explicit Families(prometheus::Registry& r)
      : requests(BuildCounter()
                     .Name("baton_requests_total")
                     .Help("Requests answered, by model version, method and status code.")
                     .Register(r)),
        duration(BuildHistogram()
                     .Name("baton_request_duration_seconds")
                     .Help("Time from a request's arrival to its reply.")
                     .Register(r)),
        phases(BuildHistogram()
                   .Name("baton_phase_duration_seconds")
                   .Help("Time requests spend in each phase: queue, assemble, compute, reply.")
                   .Register(r)),
        batch_size(BuildHistogram()
                       .Name("baton_batch_size")
                       .Help("Rows of each executed batch.")
                       .Register(r)),
        queue_depth(BuildGauge()
                        .Name("baton_queue_depth")
                        .Help("Requests that wait for a worker.")
                        .Register(r)),
        memory(BuildGauge()
                   .Name("baton_model_memory_bytes")
                   .Help("Memory a model version holds: weights and compiled plans.")
                   .Register(r)),
        load_duration(BuildHistogram()
                          .Name("baton_model_load_duration_seconds")
                          .Help("Time a load spends in each phase: verify, parse, compile, warm.")
                          .Register(r)),
        load_failures(BuildCounter()
                          .Name("baton_model_load_failures_total")
                          .Help("Versions that failed to load, by reason.")
                          .Register(r)),
        swaps(BuildCounter()
                  .Name("baton_swaps_total")
                  .Help("Times a new version took over from another.")
                  .Register(r)),
        rollouts(BuildCounter()
                     .Name("baton_rollouts_total")
                     .Help("Rollouts that ended, by how: promoted or reverted.")
                     .Register(r)),
        build_info(BuildGauge()
                       .Name("baton_build_info")
                       .Help("Always 1; the labels tell what is running.")
                       .Register(r)) {
    build_info.Add({{"version", kBatonVersion}, {"compiler", __VERSION__}}).Set(1);
  }

  Family<Counter>& requests;
  Family<Histogram>& duration;
  Family<Histogram>& phases;
  Family<Histogram>& batch_size;
  Family<Gauge>& queue_depth;
  Family<Gauge>& memory;
  Family<Histogram>& load_duration;
  Family<Counter>& load_failures;
  Family<Counter>& swaps;
  Family<Counter>& rollouts;
  Family<Gauge>& build_info;
};

VersionMetrics::VersionMetrics(Metrics& metrics, const std::string& model, int64_t version)
    : metrics_(metrics), model_(model), version_(std::to_string(version)) {
  Metrics::Families& f = *metrics_.families_;
  const auto labels = [this](const char* name, const char* value) {
    return prometheus::Labels{{"model", model_}, {"version", version_}, {name, value}};
  };
  const prometheus::Labels plain{{"model", model_}, {"version", version_}};
  duration_ = &f.duration.Add(plain, kRequestBuckets);
  queue_ = &f.phases.Add(labels("phase", "queue"), kRequestBuckets);
  assemble_ = &f.phases.Add(labels("phase", "assemble"), kRequestBuckets);
  compute_ = &f.phases.Add(labels("phase", "compute"), kRequestBuckets);
  reply_ = &f.phases.Add(labels("phase", "reply"), kRequestBuckets);
  batch_size_ = &f.batch_size.Add(plain, kBatchBuckets);
  queue_depth_ = &f.queue_depth.Add(plain);
  weight_bytes_ = &f.memory.Add(labels("kind", "weights"));
  plan_bytes_ = &f.memory.Add(labels("kind", "plans"));
}

VersionMetrics::~VersionMetrics() {
  Metrics::Families& f = *metrics_.families_;
  f.duration.Remove(duration_);
  for (Histogram* phase : {queue_, assemble_, compute_, reply_}) f.phases.Remove(phase);
  f.batch_size.Remove(batch_size_);
  f.queue_depth.Remove(queue_depth_);
  f.memory.Remove(weight_bytes_);
  f.memory.Remove(plan_bytes_);
  std::vector<Counter*> counters;
  for (const auto& counter : requests_) {
    if (Counter* c = counter.load()) counters.push_back(c);
  }
  metrics_.Retire(model_, version_, std::move(counters));
}

void VersionMetrics::RecordRequest(Method method, absl::StatusCode code, double seconds) {
  BATON_CHECK(method < Method::kCount);
  const auto number = static_cast<size_t>(code) < kCodes
                          ? static_cast<size_t>(code)
                          : static_cast<size_t>(absl::StatusCode::kUnknown);
  auto& slot = requests_[static_cast<size_t>(method) * kCodes + number];
  Counter* counter = slot.load(std::memory_order_acquire);
  if (counter == nullptr) {
    // Two threads get the same counter from the family.
    counter = &metrics_.families_->requests.Add(
        {{"model", model_},
         {"version", version_},
         {"method", std::string(MethodName(method))},
         {"code", absl::StatusCodeToString(static_cast<absl::StatusCode>(number))}});
    slot.store(counter, std::memory_order_release);
  }
  counter->Increment();
  duration_->Observe(seconds);
  if (IsInference(method)) statistics_.RecordRequest(code == absl::StatusCode::kOk, seconds);
}

void VersionMetrics::RecordReply(double seconds) {
  reply_->Observe(seconds);
  statistics_.RecordReply(seconds);
}

void VersionMetrics::RecordPhases(const absl::Status& status, const PhaseTimes& times) {
  if (status.ok()) statistics_.RecordPhases(times);
  queue_->Observe(times.queue);
  assemble_->Observe(times.assemble);
  compute_->Observe(times.compute);
}

void VersionMetrics::RecordBatch(int64_t rows) { batch_size_->Observe(static_cast<double>(rows)); }

void VersionMetrics::AddQueueDepth(int tasks) {
  if (tasks != 0) queue_depth_->Increment(tasks);
}

void VersionMetrics::SetMemoryBytes(size_t weights, size_t plans) {
  weight_bytes_->Set(static_cast<double>(weights));
  plan_bytes_->Set(static_cast<double>(plans));
  statistics_.SetMemoryBytes(weights, plans);
}

Metrics::Metrics(const Registry& registry)
    : registry_(registry),
      series_(std::make_unique<prometheus::Registry>()),
      families_(std::make_unique<Families>(*series_)) {}

Metrics::~Metrics() = default;

std::shared_ptr<VersionMetrics> Metrics::ForVersion(const std::string& model, int64_t version) {
  MutexLock lock(mu_);
  std::erase_if(versions_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<VersionMetrics>& known = versions_[{model, version}];
  std::shared_ptr<VersionMetrics> metrics = known.lock();
  if (metrics == nullptr) {
    metrics = std::make_shared<VersionMetrics>(*this, model, version);
    known = metrics;
  }
  return metrics;
}

void Metrics::RecordUnserved(const std::string& model, Method method, absl::StatusCode code) {
  families_->requests
      .Add({{"model", model},
            {"version", ""},
            {"method", std::string(MethodName(method))},
            {"code", absl::StatusCodeToString(code)}})
      .Increment();
}

void Metrics::RecordLoadPhase(const std::string& model, absl::string_view phase, double seconds) {
  Histogram& histogram =
      families_->load_duration.Add({{"model", model}, {"phase", std::string(phase)}}, kLoadBuckets);
  histogram.Observe(seconds);
  MutexLock lock(mu_);
  load_durations_[model].insert(&histogram);
}

void Metrics::RecordLoadFailure(const std::string& model, absl::string_view reason) {
  families_->load_failures.Add({{"model", model}, {"reason", std::string(reason)}}).Increment();
}

void Metrics::RecordSwap(const std::string& model) {
  families_->swaps.Add({{"model", model}}).Increment();
}

void Metrics::RecordRollout(const std::string& model, absl::string_view result) {
  families_->rollouts.Add({{"model", model}, {"result", std::string(result)}}).Increment();
}

void Metrics::RemoveModel(const std::string& model) {
  MutexLock lock(mu_);
  const auto found = load_durations_.find(model);
  if (found == load_durations_.end()) return;
  for (Histogram* histogram : found->second) families_->load_duration.Remove(histogram);
  load_durations_.erase(found);
}

void Metrics::Retire(const std::string& model, const std::string& version,
                     std::vector<Counter*> counters) {
  MutexLock lock(mu_);
  auto& retired = retired_[model];
  // A version that came back goes on with its old counters.
  std::erase_if(retired, [&](const RetiredVersion& r) { return r.version == version; });
  retired.push_back({version, std::move(counters)});
  if (retired.size() <= kGoneVersionsKept) return;
  for (Counter* counter : retired.front().counters) families_->requests.Remove(counter);
  retired.pop_front();
}

std::string Metrics::Render() const {
  std::vector<MetricFamily> families = series_->Collect();
  MetricFamily states;
  states.name = "baton_model_state";
  states.help = "1 for the state that a model version is in.";
  states.type = prometheus::MetricType::Gauge;
  for (const ModelStatus& model : registry_.StatusOfAll()) {
    for (const VersionStatus& version : model.versions) {
      if (version.state == VersionState::kGone) continue;
      prometheus::ClientMetric metric;
      metric.label = {{"model", model.name},
                      {"version", std::to_string(version.version)},
                      {"state", std::string(VersionStateName(version.state))}};
      metric.gauge.value = 1;
      states.metric.push_back(std::move(metric));
    }
  }
  if (!states.metric.empty()) families.push_back(std::move(states));
  AppendProcessMetrics(families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace baton::serving

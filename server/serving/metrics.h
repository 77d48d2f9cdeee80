// Metrics: everything Prometheus sees of the server. Thread-safe. Requests are counted through
// VersionMetrics, whose series are looked up once, not for each request.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/mutex.h"
#include "server/serving/registry.h"
#include "server/serving/task.h"
#include "server/serving/version_statistics.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
class Registry;
template <typename T>
class Family;
}  // namespace prometheus

namespace baton::serving {

// The calls that requests are counted by: label `method`.
enum class Method {
  kPredict,
  kClassify,
  kRegress,
  kMultiInference,
  kGetModelMetadata,
  kGetModelStatus,
  kReloadConfig,
  kModelInfer,
  kModelStreamInfer,
  kModelMetadata,
  kModelReady,
  kRestPredict,
  kRestInfer,
  kCount
};
absl::string_view MethodName(Method method);

// Whether it asks for compute; the others ask about models.
bool IsInference(Method method);

class Metrics;

// The series of one model version, from Metrics::ForVersion. Lives as long as the version; with it
// all of its series but the counters go. Thread-safe.
class VersionMetrics {
 public:
  VersionMetrics(Metrics& metrics, const std::string& model, int64_t version);
  ~VersionMetrics();
  VersionMetrics(const VersionMetrics&) = delete;
  VersionMetrics& operator=(const VersionMetrics&) = delete;

  // One request has been answered: `seconds` from its arrival to its reply.
  void RecordRequest(Method method, absl::StatusCode code, double seconds);
  // Seconds from the end of compute to the reply handed to the transport.
  void RecordReply(double seconds);

  // For the batch queue and the workers.
  void RecordPhases(const absl::Status& status, const PhaseTimes& times);
  void RecordBatch(int64_t rows);
  // The same of a batch that ran without an error: see VersionStatistics.
  void RecordExecution(int64_t rows, double assemble_seconds, double compute_seconds) {
    statistics_.RecordExecution(rows, assemble_seconds, compute_seconds);
  }
  void RecordOutput(int64_t rows, double seconds) { statistics_.RecordOutput(rows, seconds); }
  void AddQueueDepth(int tasks);
  void SetMemoryBytes(size_t weights, size_t plans);

  StatisticsSnapshot Statistics() const { return statistics_.Snapshot(); }

 private:
  static constexpr size_t kCodes = 17;  // gRPC's status codes
  Metrics& metrics_;
  const std::string model_;
  const std::string version_;
  // Made at the first use.
  std::array<std::atomic<prometheus::Counter*>, kCodes* static_cast<size_t>(Method::kCount)>
      requests_{};
  prometheus::Histogram* duration_;
  prometheus::Histogram* queue_;
  prometheus::Histogram* assemble_;
  prometheus::Histogram* compute_;
  prometheus::Histogram* reply_;
  prometheus::Histogram* batch_size_;
  prometheus::Gauge* queue_depth_;
  prometheus::Gauge* weight_bytes_;
  prometheus::Gauge* plan_bytes_;
  VersionStatistics statistics_;
};

class Metrics {
 public:
  // `registry` outlives this; model states are read from it at each scrape.
  explicit Metrics(const Registry& registry);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The one VersionMetrics of a model's version, made if there is none.
  std::shared_ptr<VersionMetrics> ForVersion(const std::string& model, int64_t version)
      ABSL_LOCKS_EXCLUDED(mu_);

  // A request that reached no version. `model` is "" if there is no model of that name, so that
  // callers cannot make series at will.
  void RecordUnserved(const std::string& model, Method method, absl::StatusCode code);

  // For the lifecycle. `phase`: verify, parse, compile or warm; `reason`: verify, parse, config,
  // compile, golden, memory or warm.
  void RecordLoadPhase(const std::string& model, absl::string_view phase, double seconds);
  void RecordLoadFailure(const std::string& model, absl::string_view reason);
  void RecordSwap(const std::string& model);
  // `result`: promoted or reverted.
  void RecordRollout(const std::string& model, absl::string_view result);
  void RemoveModel(const std::string& model);

  // All series in Prometheus' text format 0.0.4.
  std::string Render() const;

 private:
  friend class VersionMetrics;
  struct Families;

  struct RetiredVersion {
    std::string version;
    std::vector<prometheus::Counter*> counters;
  };

  // Keeps the counters of a version that is gone, and forgets those that went longest ago.
  void Retire(const std::string& model, const std::string& version,
              std::vector<prometheus::Counter*> counters) ABSL_LOCKS_EXCLUDED(mu_);

  const Registry& registry_;
  const std::unique_ptr<prometheus::Registry> series_;
  const std::unique_ptr<Families> families_;
  mutable Mutex mu_;
  std::map<std::string, std::deque<RetiredVersion>> retired_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<std::string, int64_t>, std::weak_ptr<VersionMetrics>> versions_
      ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::set<prometheus::Histogram*>> load_durations_ ABSL_GUARDED_BY(mu_);
};

}  // namespace baton::serving

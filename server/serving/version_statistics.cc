#include "server/serving/version_statistics.h"

#include <ctime>

namespace baton::serving {
namespace {

void Add(std::atomic<uint64_t>& counter, uint64_t value) {
  counter.fetch_add(value, std::memory_order_relaxed);
}

void AddTime(std::atomic<uint64_t>& counter, double seconds) {
  if (seconds > 0) Add(counter, static_cast<uint64_t>(seconds * 1e9));
}

uint64_t Get(const std::atomic<uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

// To within a few milliseconds, at a fraction of the price of the exact time.
uint64_t MillisecondsSinceEpoch() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

}  // namespace

void VersionStatistics::RecordRequest(bool ok, double seconds) {
  Add(ok ? success_ : fail_, 1);
  AddTime(ok ? success_ns_ : fail_ns_, seconds);
}

void VersionStatistics::RecordPhases(const PhaseTimes& times) {
  Add(run_, 1);
  AddTime(queue_ns_, times.queue);
  AddTime(input_ns_, times.assemble);
  AddTime(infer_ns_, times.compute);
}

void VersionStatistics::RecordReply(double seconds) { AddTime(output_ns_, seconds); }

void VersionStatistics::RecordExecution(int64_t rows, double input_seconds, double infer_seconds) {
  last_inference_ms_.store(MillisecondsSinceEpoch(), std::memory_order_relaxed);
  Add(inferences_, static_cast<uint64_t>(rows));
  Add(executions_, 1);
  BatchCounters& batch = Of(rows);
  Add(batch.count, 1);
  AddTime(batch.input_ns, input_seconds);
  AddTime(batch.infer_ns, infer_seconds);
}

void VersionStatistics::RecordOutput(int64_t rows, double seconds) {
  AddTime(Of(rows).output_ns, seconds);
}

void VersionStatistics::SetMemoryBytes(size_t weights, size_t plans) {
  weight_bytes_.store(weights, std::memory_order_relaxed);
  plan_bytes_.store(plans, std::memory_order_relaxed);
}

VersionStatistics::BatchCounters& VersionStatistics::Of(int64_t rows) {
  if (rows >= 0 && rows <= kDirectRows) return direct_[static_cast<size_t>(rows)];
  MutexLock lock(mu_);
  return larger_[rows];
}

StatisticsSnapshot VersionStatistics::Snapshot() const {
  StatisticsSnapshot out;
  out.last_inference_ms = Get(last_inference_ms_);
  out.inferences = Get(inferences_);
  out.executions = Get(executions_);
  out.success = {Get(success_), Get(success_ns_)};
  out.fail = {Get(fail_), Get(fail_ns_)};
  const uint64_t run = Get(run_);
  out.queue = {run, Get(queue_ns_)};
  out.input = {run, Get(input_ns_)};
  out.infer = {run, Get(infer_ns_)};
  out.output = {run, Get(output_ns_)};
  out.weight_bytes = Get(weight_bytes_);
  out.plan_bytes = Get(plan_bytes_);
  const auto add = [&out](int64_t rows, const BatchCounters& batch) {
    const uint64_t count = Get(batch.count);
    if (count == 0) return;
    out.batches.push_back({rows,
                           {count, Get(batch.input_ns)},
                           {count, Get(batch.infer_ns)},
                           {count, Get(batch.output_ns)}});
  };
  for (size_t rows = 0; rows < direct_.size(); ++rows) {
    add(static_cast<int64_t>(rows), direct_[rows]);
  }
  MutexLock lock(mu_);
  for (const auto& [rows, batch] : larger_) add(rows, batch);
  return out;
}

}  // namespace baton::serving

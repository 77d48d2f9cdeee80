// VersionStatistics: what one model version has done since it was loaded, in the terms of Triton's
// statistics. Thread-safe; counting takes no lock but for batches of more than kDirectRows rows.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <vector>

#include "engine/base/mutex.h"
#include "server/serving/task.h"

namespace baton::serving {

// How often something happened, and for how long altogether.
struct CountAndTime {
  uint64_t count = 0;
  uint64_t ns = 0;
};

struct StatisticsSnapshot {
  struct Batches {
    int64_t rows = 0;
    CountAndTime input;
    CountAndTime infer;
    CountAndTime output;
  };
  uint64_t last_inference_ms = 0;  // since the epoch; 0: there was none
  uint64_t inferences = 0;         // rows that were executed
  uint64_t executions = 0;
  CountAndTime success;  // requests
  CountAndTime fail;
  CountAndTime queue;            // of the requests that were run: waiting,
  CountAndTime input;            // gathering the rows of the batch,
  CountAndTime infer;            // the plan,
  CountAndTime output;           // and making the reply
  std::vector<Batches> batches;  // executions by their rows, ascending
  uint64_t weight_bytes = 0;
  uint64_t plan_bytes = 0;
};

class VersionStatistics {
 public:
  static constexpr int64_t kDirectRows = 64;

  void RecordRequest(bool ok, double seconds);
  void RecordPhases(const PhaseTimes& times);
  void RecordReply(double seconds);
  // One batch that ran without an error; before the requests in it are answered.
  void RecordExecution(int64_t rows, double input_seconds, double infer_seconds)
      ABSL_LOCKS_EXCLUDED(mu_);
  // How long the answers of such a batch took; after they were given.
  void RecordOutput(int64_t rows, double seconds) ABSL_LOCKS_EXCLUDED(mu_);
  void SetMemoryBytes(size_t weights, size_t plans);

  // Counters that change together may be seen apart by one event.
  StatisticsSnapshot Snapshot() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Counter = std::atomic<uint64_t>;
  struct BatchCounters {
    Counter count{0};
    Counter input_ns{0};
    Counter infer_ns{0};
    Counter output_ns{0};
  };
  // The counters of batches of `rows` rows; they stay where they are.
  BatchCounters& Of(int64_t rows) ABSL_LOCKS_EXCLUDED(mu_);

  Counter last_inference_ms_{0};
  Counter inferences_{0};
  Counter executions_{0};
  Counter success_{0}, success_ns_{0};
  Counter fail_{0}, fail_ns_{0};
  Counter run_{0}, queue_ns_{0}, input_ns_{0}, infer_ns_{0}, output_ns_{0};
  Counter weight_bytes_{0}, plan_bytes_{0};
  std::array<BatchCounters, kDirectRows + 1> direct_;  // by rows
  mutable Mutex mu_;
  std::map<int64_t, BatchCounters> larger_ ABSL_GUARDED_BY(mu_);
};

}  // namespace baton::serving

// LoadGenerator: sends the same few requests again and again and measures what comes back.
//
// Closed loop: a fixed number of requests is always in flight, but for the time in which the one
// who sends them thinks. Open loop: requests are sent at times fixed beforehand, and latency counts
// from that time, so that a stalled server cannot hide its stall by slowing the load down
// (coordinated omission).
//
// Each of its threads drives one completion queue and its share of the connections, on gRPC's
// generic stub: requests are serialized beforehand and of a reply only the version is read. Each
// has a second one, which sends what is due later. All are joined in Finish() or the destructor.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/arrivals.h"
#include "client/client.h"
#include "client/load_stats.h"
#include "client/predict_call.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace baton {

struct LoadOptions {
  absl::Status Validate() const;

  std::string server;
  ClientSecurity security;
  Protocol protocol = Protocol::kTensorFlowServing;
  int threads = 1;
  int connections = 1;
  double rate = 0;      // requests per second in an open loop; 0: closed loop
  int concurrency = 1;  // in flight; in an open loop the most, beyond which sending falls behind
  ArrivalKind arrivals = ArrivalKind::kConstant;
  // In a closed loop: mean time from a reply to the next request, exponentially distributed.
  std::chrono::nanoseconds think_time{0};
  uint64_t seed = 1;                     // of Poisson arrivals and think times
  std::chrono::nanoseconds warm_up{0};   // requests sent in this time are not measured
  std::chrono::nanoseconds duration{0};  // of the measurement; 0: until Stop()
  int64_t max_requests = 0;              // measured ones; 0: no limit
  std::chrono::nanoseconds timeout = std::chrono::seconds(10);  // of each request
};

// What happened since the last look.
struct LoadProgress {
  bool warming_up = false;
  double elapsed_s = 0;  // since the measurement began, or since the start while warming up
  double interval_s = 0;
  int64_t in_flight = 0;
  LoadStats stats;
};

struct LoadReport {
  double elapsed_s = 0;  // from the first measured request's time to the last reply
  // Replies per second of the measured duration, whenever their requests were sent; where there is
  // no duration, or it was cut short, of `elapsed_s`.
  double replies_per_s = 0;
  int64_t unsent = 0;  // open loop: requests whose time came, but that were not sent before the end
  LoadStats stats;
};

class LoadGenerator {
 public:
  // kInvalidArgument for invalid options. REQUIRES: at least one request.
  static absl::StatusOr<std::unique_ptr<LoadGenerator>> Create(
      const LoadOptions& options, std::vector<EncodedRequest> requests);
  // Stops, and waits as Finish() does.
  ~LoadGenerator();
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  // Starts sending. REQUIRES: not called before.
  void Start();
  // Sends nothing more; what is in flight is still answered, within its timeout. Any thread.
  void Stop();
  // Waits until all is sent and answered: true, or until `time`: false.
  bool WaitUntil(SteadyTime time);
  // REQUIRES: one caller at a time, after Start().
  LoadProgress TakeProgress();
  // Waits for the end and gives all that was measured. REQUIRES: called once, after Start().
  LoadReport Finish();

 private:
  class Worker;
  // What the workers share.
  struct Run {
    // A time at which a request may be sent: whether to send it, and whether it is measured.
    enum class Ticket { kStop, kWarmUp, kMeasured };
    Ticket TakeTicket(SteadyTime time);
    void WorkerEnded();

    LoadOptions options;
    std::vector<EncodedRequest> requests;
    SteadyTime start;
    SteadyTime measure_from;
    SteadyTime stop_at = kNoDeadline;
    std::atomic<bool> stopped{false};
    std::atomic<int64_t> measured{0};
    Mutex mu;
    CondVar ended;
    int running ABSL_GUARDED_BY(mu) = 0;
  };
  LoadGenerator() = default;

  Run run_;
  std::vector<std::unique_ptr<Worker>> workers_;
  SteadyTime last_look_;
};

}  // namespace baton

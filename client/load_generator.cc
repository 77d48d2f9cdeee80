#include "client/load_generator.h"

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/prctl.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <thread>
#include <tuple>
#include <utility>

#include "engine/base/cpu.h"
#include "engine/base/status.h"

namespace baton {
namespace {

int64_t Nanoseconds(Duration d) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
}

// The share of `total` that part `index` of `parts` gets.
int Share(int total, int parts, int index) { return total / parts + (index < total % parts); }

// How long a closed loop's slot waits after its n-th failure in a row, lest it spin on a server
// that is gone: not after the first.
std::chrono::milliseconds PauseAfterFailures(int failures) {
  if (failures < 2) return std::chrono::milliseconds(0);
  return std::chrono::milliseconds(std::min(100, 1 << std::min(failures - 2, 7)));
}

}  // namespace

absl::Status LoadOptions::Validate() const {
  RETURN_IF_ERROR(ValidateServerAddress(server));
  if (threads < 1 || connections < threads) {
    return absl::InvalidArgumentError(
        absl::StrCat(threads, " threads for ", connections,
                     " connections; expected at least one of each for every thread"));
  }
  if (concurrency < threads) {
    return absl::InvalidArgumentError(absl::StrCat(concurrency, " requests in flight for ", threads,
                                                   " threads; expected at least as many"));
  }
  if (!(rate >= 0)) return absl::InvalidArgumentError("a negative rate");
  if (warm_up.count() < 0 || duration.count() < 0 || think_time.count() < 0 || max_requests < 0 ||
      timeout.count() <= 0) {
    return absl::InvalidArgumentError("a negative time or number");
  }
  return absl::OkStatus();
}

LoadGenerator::Run::Ticket LoadGenerator::Run::TakeTicket(SteadyTime time) {
  if (stopped.load(std::memory_order_relaxed) || time >= stop_at) return Ticket::kStop;
  if (time < measure_from) return Ticket::kWarmUp;
  if (measured.fetch_add(1, std::memory_order_relaxed) >= options.max_requests &&
      options.max_requests > 0) {
    measured.fetch_sub(1, std::memory_order_relaxed);
    return Ticket::kStop;
  }
  return Ticket::kMeasured;
}

void LoadGenerator::Run::WorkerEnded() {
  MutexLock lock(mu);
  if (--running == 0) ended.SignalAll();
}

// One completion queue, its receiving thread and its sending thread.
class LoadGenerator::Worker {
 public:
  Worker(Run& run, int index)
      : run_(run),
        index_(index),
        limit_(Share(run.options.concurrency, run.options.threads, index)),
        next_request_(static_cast<size_t>(index)),
        random_(run.options.seed + static_cast<uint64_t>(index)) {
    const int connections = Share(run.options.connections, run.options.threads, index);
    for (int i = 0; i < connections; ++i) {
      connections_.emplace_back(NewChannel(run.options.server, run.options.security),
                                index + i * run.options.threads);
    }
  }
  ~Worker() { Join(); }

  void Start() {
    sender_ = std::thread([this] { run_.options.rate > 0 ? SendOnTime() : SendAfterPauses(); });
    receiver_ = std::thread([this] { Receive(); });
  }
  void Join() {
    if (sender_.joinable()) sender_.join();
    if (receiver_.joinable()) receiver_.join();
  }
  // Wakes the sending thread, to see that the run was stopped.
  void Wake() {
    MutexLock lock(mu_);
    may_send_.SignalAll();
  }

  void AddProgress(LoadProgress* progress) {
    LoadStats interval;
    {
      MutexLock lock(mu_);
      std::swap(interval, interval_);
      progress->in_flight += in_flight_;
    }
    progress->stats.Merge(interval);
  }
  // Returns how many successes came within the duration.
  int64_t AddReport(LoadReport* report) {
    MutexLock lock(mu_);
    report->stats.Merge(stats_);
    report->unsent += unsent_;
    if (last_reply_ > run_.measure_from) {
      report->elapsed_s = std::max(report->elapsed_s, Seconds(last_reply_ - run_.measure_from));
    }
    return timely_replies_;
  }

 private:
  struct Connection {
    Connection(std::shared_ptr<grpc::Channel> c, int n)
        : channel(std::move(c)), stub(channel), number(n) {}
    const std::shared_ptr<grpc::Channel> channel;
    grpc::GenericStub stub;
    const int number;
    int64_t newest_version = 0;  // in a reply so far; guarded by mu_
  };

  // A place for one request in flight; used again and again.
  struct Slot {
    Connection* connection = nullptr;
    std::optional<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> call;
    grpc::ByteBuffer reply;
    grpc::Status status;
    bool measured = false;
    int failures = 0;           // in a row
    SteadyTime time;            // from which latency counts
    int64_t version_floor = 0;  // connection->newest_version when it was sent
  };

  Slot* NewSlot() {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->connection = &connections_[slots_.size() % connections_.size()];
    return slots_.back().get();
  }

  // Sends the next request. REQUIRES: `slot` is idle, and counted in in_flight_.
  void Send(Slot* slot, SteadyTime time, bool measured) ABSL_LOCKS_EXCLUDED(mu_) {
    const EncodedRequest& request = run_.requests[next_request_++ % run_.requests.size()];
    slot->time = time;
    slot->measured = measured;
    slot->context.emplace();
    AddToken(run_.options.security, *slot->context);
    slot->context->set_deadline(
        std::chrono::system_clock::now() +
        std::chrono::duration_cast<std::chrono::system_clock::duration>(run_.options.timeout));
    {
      MutexLock lock(mu_);
      slot->version_floor = slot->connection->newest_version;
    }
    slot->call = slot->connection->stub.PrepareUnaryCall(&*slot->context, request.method,
                                                         request.body, &queue_);
    slot->call->StartCall();
    slot->call->Finish(&slot->reply, &slot->status, slot);
  }

  // The receiving thread. In a closed loop it sends, too, what need not pause.
  void Receive() {
    PreferShortTurns();  // else it may wait for a core longer than the server took
    const bool open_loop = run_.options.rate > 0;
    bool sending = open_loop;
    if (!open_loop) {
      {
        MutexLock lock(mu_);
        in_flight_ = limit_;
      }
      for (int i = 0; i < limit_; ++i) SendAfter(ThinkTime(), NewSlot());
    }
    void* tag = nullptr;
    bool ok = false;
    while ((sending || !Idle()) && queue_.Next(&tag, &ok)) {
      if (tag == nullptr) {
        sending = false;
        continue;
      }
      Slot* slot = static_cast<Slot*>(tag);
      const bool succeeded = Record(slot);
      if (open_loop) {
        MutexLock lock(mu_);
        --in_flight_;
        idle_.push_back(slot);
        if (wants_slot_) may_send_.SignalAll();
        continue;
      }
      slot->failures = succeeded ? 0 : slot->failures + 1;
      SendAfter(ThinkTime() + PauseAfterFailures(slot->failures), slot);
    }
    {
      MutexLock lock(mu_);
      ended_ = true;
      may_send_.SignalAll();
    }
    queue_.Shutdown();
    while (queue_.Next(&tag, &ok)) {
    }
    run_.WorkerEnded();
  }

  Duration ThinkTime() {
    if (run_.options.think_time.count() == 0) return Duration(0);
    return Duration(static_cast<int64_t>(think_(random_) *
                                         static_cast<double>(run_.options.think_time.count())));
  }

  // Sends the slot's next request when a closed loop has paused for so long.
  void SendAfter(Duration pause, Slot* slot) {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (pause <= Duration(0)) return SendOrRetire(slot, now);
    MutexLock lock(mu_);
    pausing_.emplace(now + pause, slot);
    may_send_.SignalAll();
  }

  void SendOrRetire(Slot* slot, SteadyTime time) {
    const Run::Ticket ticket = run_.TakeTicket(time);
    if (ticket != Run::Ticket::kStop) {
      Send(slot, time, ticket == Run::Ticket::kMeasured);
      return;
    }
    MutexLock lock(mu_);
    // For the receiving thread, which looks at in_flight_ after each event and may be waiting.
    if (in_flight_ == 1) sent_all_.Set(&queue_, std::chrono::system_clock::now(), nullptr);
    --in_flight_;
  }

  // The sending thread of a closed loop: sends what has paused for long enough.
  void SendAfterPauses() {
    PreferShortTurns();
    prctl(PR_SET_TIMERSLACK, 1);  // wake at the nanosecond asked for, not up to 50 us later
    while (true) {
      Slot* slot = nullptr;
      SteadyTime time;
      {
        MutexLock lock(mu_);
        while (!ended_ && !NextIsDue()) {
          if (pausing_.empty()) {
            may_send_.Wait(mu_);
          } else {
            may_send_.WaitUntil(mu_, pausing_.begin()->first);
          }
        }
        if (ended_) return;
        std::tie(time, slot) = *pausing_.begin();
        pausing_.erase(pausing_.begin());
      }
      SendOrRetire(slot, std::max(time, std::chrono::steady_clock::now()));
    }
  }

  // Whether the first pause is over, or the run will be before it is.
  bool NextIsDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (pausing_.empty()) return false;
    const SteadyTime due = pausing_.begin()->first;
    return due <= std::chrono::steady_clock::now() || due >= run_.stop_at ||
           run_.stopped.load(std::memory_order_relaxed);
  }

  bool Idle() {
    MutexLock lock(mu_);
    return in_flight_ == 0;
  }

  // The sending thread of an open loop.
  void SendOnTime() {
    PreferShortTurns();
    prctl(PR_SET_TIMERSLACK, 1);  // wake at the nanosecond asked for, not up to 50 us later
    const LoadOptions& options = run_.options;
    Arrivals arrivals(options.arrivals, options.rate / options.threads,
                      static_cast<double>(index_) / options.threads,
                      options.seed + static_cast<uint64_t>(index_));
    SteadyTime time = run_.start + arrivals.Next();
    for (; time < run_.stop_at; time = run_.start + arrivals.Next()) {
      Slot* slot = WaitForTurn(time);
      if (slot == nullptr) break;
      const Run::Ticket ticket = run_.TakeTicket(time);
      const bool measured = ticket == Run::Ticket::kMeasured;
      {
        MutexLock lock(mu_);
        if (ticket == Run::Ticket::kStop) {
          --in_flight_;
          break;
        }
        if (measured) {
          stats_.send_lag.Record(Nanoseconds(std::chrono::steady_clock::now() - time));
        }
      }
      Send(slot, time, measured);
    }
    const SteadyTime end = std::min(run_.stop_at, std::chrono::steady_clock::now());
    if (options.max_requests == 0) {
      MutexLock lock(mu_);
      for (; time < end; time = run_.start + arrivals.Next()) unsent_ += time >= run_.measure_from;
    }
    sent_all_.Set(&queue_, std::chrono::system_clock::now(), nullptr);
  }

  // Waits for `time` and for an idle slot, which it counts as in flight; null when to stop.
  Slot* WaitForTurn(SteadyTime time) {
    MutexLock lock(mu_);
    while (!run_.stopped.load(std::memory_order_relaxed)) {
      const SteadyTime now = std::chrono::steady_clock::now();
      if (now >= run_.stop_at) return nullptr;
      if (now < time) {
        may_send_.WaitUntil(mu_, time);
      } else if (in_flight_ < limit_) {
        ++in_flight_;
        if (idle_.empty()) return NewSlot();
        Slot* slot = idle_.back();
        idle_.pop_back();
        return slot;
      } else {
        wants_slot_ = true;
        may_send_.WaitUntil(mu_, std::min(run_.stop_at, now + std::chrono::hours(1)));
        wants_slot_ = false;
      }
    }
    return nullptr;
  }

  // Counts how the slot's request ended; true if it was answered.
  bool Record(Slot* slot) {
    const SteadyTime now = std::chrono::steady_clock::now();
    Connection& connection = *slot->connection;
    const absl::StatusOr<int64_t> version =
        slot->status.ok() ? ReplyVersion(run_.options.protocol, slot->reply)
                          : CallStatus(slot->status, run_.options.server, *connection.channel);
    slot->reply.Clear();
    slot->call.reset();
    MutexLock lock(mu_);
    if (slot->measured) last_reply_ = std::max(last_reply_, now);
    const int64_t latency = Nanoseconds(now - slot->time);
    if (!version.ok()) {
      interval_.AddError(version.status(), latency);
      if (slot->measured) stats_.AddError(version.status(), latency);
      return false;
    }
    const double at_s = Seconds(now - run_.measure_from);
    interval_.AddReply(*version, latency, at_s);
    if (slot->measured) stats_.AddReply(*version, latency, at_s);
    timely_replies_ += now >= run_.measure_from && now < run_.stop_at;
    if (*version != 0 && *version < slot->version_floor) {
      stats_.AddStepBack(slot->version_floor, *version, connection.number);
      interval_.AddStepBack(slot->version_floor, *version, connection.number);
    }
    connection.newest_version = std::max(connection.newest_version, *version);
    return true;
  }

  Run& run_;
  const int index_;
  const int limit_;  // most requests in flight
  grpc::CompletionQueue queue_;
  std::deque<Connection> connections_;
  std::vector<std::unique_ptr<Slot>> slots_;  // of the thread that sends
  std::atomic<size_t> next_request_;
  std::mt19937_64 random_;  // of the receiving thread
  std::exponential_distribution<double> think_{1};
  grpc::Alarm sent_all_;

  Mutex mu_;
  CondVar may_send_;
  std::vector<Slot*> idle_ ABSL_GUARDED_BY(mu_);
  std::multimap<SteadyTime, Slot*> pausing_ ABSL_GUARDED_BY(mu_);  // by when to send
  bool ended_ ABSL_GUARDED_BY(mu_) = false;                        // a closed loop
  bool wants_slot_ ABSL_GUARDED_BY(mu_) = false;  // the sending thread waits for an idle one
  int64_t in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  LoadStats stats_ ABSL_GUARDED_BY(mu_);
  LoadStats interval_ ABSL_GUARDED_BY(mu_);
  SteadyTime last_reply_ ABSL_GUARDED_BY(mu_);
  int64_t timely_replies_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t unsent_ ABSL_GUARDED_BY(mu_) = 0;

  std::thread sender_;
  std::thread receiver_;
};

absl::StatusOr<std::unique_ptr<LoadGenerator>> LoadGenerator::Create(
    const LoadOptions& options, std::vector<EncodedRequest> requests) {
  RETURN_IF_ERROR(options.Validate());
  BATON_CHECK(!requests.empty());
  std::unique_ptr<LoadGenerator> generator(new LoadGenerator());
  generator->run_.options = options;
  generator->run_.requests = std::move(requests);
  for (int i = 0; i < options.threads; ++i) {
    generator->workers_.push_back(std::make_unique<Worker>(generator->run_, i));
  }
  return generator;
}

LoadGenerator::~LoadGenerator() { Stop(); }

void LoadGenerator::Start() {
  run_.start = std::chrono::steady_clock::now();
  run_.measure_from = run_.start + run_.options.warm_up;
  if (run_.options.duration.count() > 0) {
    run_.stop_at = run_.measure_from + run_.options.duration;
  }
  last_look_ = run_.start;
  {
    MutexLock lock(run_.mu);
    run_.running = static_cast<int>(workers_.size());
  }
  for (const auto& worker : workers_) worker->Start();
}

void LoadGenerator::Stop() {
  run_.stopped = true;
  for (const auto& worker : workers_) worker->Wake();
}

bool LoadGenerator::WaitUntil(SteadyTime time) {
  MutexLock lock(run_.mu);
  while (run_.running > 0) {
    if (!run_.ended.WaitUntil(run_.mu, time)) return run_.running == 0;
  }
  return true;
}

LoadProgress LoadGenerator::TakeProgress() {
  const SteadyTime now = std::chrono::steady_clock::now();
  LoadProgress progress;
  progress.warming_up = now < run_.measure_from;
  progress.elapsed_s = Seconds(now - (progress.warming_up ? run_.start : run_.measure_from));
  progress.interval_s = Seconds(now - std::exchange(last_look_, now));
  for (const auto& worker : workers_) worker->AddProgress(&progress);
  return progress;
}

LoadReport LoadGenerator::Finish() {
  for (const auto& worker : workers_) worker->Join();
  LoadReport report;
  int64_t timely = 0;
  for (const auto& worker : workers_) timely += worker->AddReport(&report);
  // What was in flight at the end is answered later, by a server that has less and less to do.
  const double duration = Seconds(run_.stop_at - run_.measure_from);
  const double seconds = std::min(report.elapsed_s, duration);
  if (seconds > 0) report.replies_per_s = static_cast<double>(timely) / seconds;
  return report;
}

}  // namespace baton

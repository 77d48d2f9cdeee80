// Scheduler: the process's one pool of workers, shared by all versions of all models. Greedy: a
// free worker takes what is queued; nothing waits while a worker idles, unless its model asks for
// a delay. Fair: the source that has had the least of the workers' time goes next, and while all
// workers are busy it does not have to wait for a batch to end: a worker runs it between two steps
// of the batch it is at. Thread-safe.
//
// A source needs no registration: Wake hands it in, and the scheduler lets go of it when it has
// nothing left.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "server/serving/batch_queue.h"
#include "server/serving/executor.h"

namespace baton::serving {

// Where batches come from: one model version. Called by several workers at once, never under the
// scheduler's lock.
class WorkSource {
 public:
  virtual ~WorkSource() = default;
  // The next batch, as BatchQueue::Take.
  virtual Batch Take(int idle_workers) = 0;
  // Runs it and finishes its tasks, also the dropped. `alone`: nothing else is running or waiting,
  // nor is likely to come meanwhile, and all cores may be used.
  virtual void Run(Batch batch, bool alone, Executor& executor) = 0;

 private:
  friend class Scheduler;
  // The scheduler's notes, guarded by its lock.
  struct Notes {
    bool active = false;    // in active_
    uint64_t wakes = 0;     // calls of Wake
    double service = 0;     // seconds of workers' time, comparable between sources
    SteadyTime ready_at{};  // nothing can be taken before; 0: it can be now
  };
  Notes notes_;
};

class Scheduler {
 public:
  // `workers` threads once started, each with an executor made by `factory`. `clock` outlives the
  // scheduler.
  Scheduler(int workers, ExecutorFactory factory, const Clock& clock);
  ~Scheduler();  // Stop()
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void Start();

  // `source` may have work now. Never blocks for long: a few instructions under a lock.
  void Wake(const std::shared_ptr<WorkSource>& source) ABSL_LOCKS_EXCLUDED(mu_);

  // Lets the workers finish everything that has been handed in, and joins them. Work that sources
  // get from now on is not run.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // What one worker does, once, on the calling thread: takes and runs one batch. False if there is
  // nothing to take now. For tests that step through the schedule with a pool of 0 workers.
  bool RunOne(Executor& executor) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Job {
    std::shared_ptr<WorkSource> source;
    Batch batch;
    double estimated_seconds = 0;
    double service = 0;  // the source's, with this batch
    bool alone = false;
  };
  static constexpr double kAnyService = std::numeric_limits<double>::infinity();

  void Work(int index) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes a batch, leaving the lock while it does. `outer`: the batch that is paused for it, or
  // null; only another source that has had less is worth that.
  // False: nothing to take; `next` is when there may be.
  bool Pick(int index, const Job* outer, Job& job, SteadyTime& next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Runs what was picked. `inner`, which is made when it is needed, runs what others have to run
  // meanwhile.
  void RunJob(Job job, Executor& executor, std::unique_ptr<Executor>& inner)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Between two steps of `outer`: runs a batch of a source that has had less, if no other worker
  // is free to. The seconds it took.
  double RunInPause(const Job& outer, std::unique_ptr<Executor>& inner) ABSL_LOCKS_EXCLUDED(mu_);
  // Runs it on `executor`; the seconds that it took, pauses left out.
  double RunAndCharge(Job& job, Executor& executor) ABSL_LOCKS_EXCLUDED(mu_);
  std::shared_ptr<WorkSource> LeastServed(SteadyTime now, SteadyTime& next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // To be called when a source's notes have changed.
  void NoteLeastService() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether others run or wait beside the batch that has just been picked; `company_` counts it.
  bool NoteCompany(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeIdleWorker() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int workers_;
  const ExecutorFactory factory_;
  const Clock& clock_;
  mutable Mutex mu_;
  std::vector<std::unique_ptr<CondVar>> wake_;  // one for each worker, fixed at construction
  std::vector<std::shared_ptr<WorkSource>> active_ ABSL_GUARDED_BY(mu_);
  std::set<int> idle_ ABSL_GUARDED_BY(mu_);  // workers that wait and have not been woken
  int running_ ABSL_GUARDED_BY(mu_) = 0;     // batches
  // The share of batches of late that others were running or waiting beside.
  double company_ ABSL_GUARDED_BY(mu_) = 0;
  SteadyTime company_at_ ABSL_GUARDED_BY(mu_){};
  double served_ ABSL_GUARDED_BY(mu_) = 0;  // service of the source picked last: newcomers' start
  // Of the sources that can be taken from: what a worker looks at between steps.
  std::atomic<double> least_service_{kAnyService};
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;  // used by Start and Stop only
};

}  // namespace baton::serving

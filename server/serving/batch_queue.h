// BatchQueue groups the tasks that wait for one model version. Thread-safe. It owns no thread,
// calls nobody's `done` and reads time only from `clock`, so that tests drive it step by step.
//
// Tasks whose inputs have equal shapes (but for the rows) form a group and may run together; with a
// Padding that joins lengths, tasks of several groups may. A group whose plans are still being
// compiled is parked: its tasks wait and count, but are not handed out, and hold up nobody else.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "server/serving/cost_curve.h"
#include "server/serving/drain_rate.h"
#include "server/serving/padding.h"
#include "server/serving/plan_set.h"
#include "server/serving/task.h"

namespace baton::serving {

// How the tasks of one priority wait.
struct LevelLimits {
  int max_tasks = 0;            // waiting; 0: as many as the queue takes
  Duration default_timeout{0};  // how long a task may wait; 0: for ever
  bool own_timeouts = true;     // a task's own timeout counts where it is shorter
  // A task that has waited for its timeout goes behind the others of its priority. Else a timeout
  // is a deadline.
  bool delay = false;
};

struct QueueLimits {
  int64_t max_batch_rows = 1;   // of one batch from several tasks; a larger task goes alone
  int max_tasks = 4096;         // waiting
  double max_seconds = 10;      // of estimated work waiting
  int workers = 1;              // that take batches
  Duration max_delay{0};        // how long a task may wait for company though a worker is idle
  Duration latency_target{0};   // what batches are kept small for; 0: they are as large as pays
  int max_running = 0;          // batches taken and not yet done; 0: no limit
  int priority_levels = 0;      // 0: the priorities of tasks are ignored
  int default_priority = 1;     // of tasks that name none, 1 … priority_levels
  bool refuse_hopeless = true;  // tasks that cost more than their deadline leaves, as estimated
  int64_t best_rows = 1;        // a batch of more brings nothing; at most max_batch_rows
  std::vector<int64_t> preferred_rows = {};  // with max_delay: sizes that need not wait; ascending
  LevelLimits level = {};                    // of every priority
  std::map<int, LevelLimits> levels = {};    // but for these
};

struct PendingTask {
  Task task;
  SteadyTime submitted;
  uint64_t number = 0;  // order of submission
  SteadyTime delay_at = kNoDeadline;
  bool delayed = false;
};

// What a worker takes: tasks whose inputs have, or can be padded to, the shapes of `key`.
struct Batch {
  std::vector<PendingTask> tasks;
  int64_t rows = 0;
  double estimated_seconds = 0;
  ShapeKey key;
  std::shared_ptr<const PlanSet> plans;
  SteadyTime taken;
  // Not to be run: the worker calls their `done` with the status.
  std::vector<std::pair<Task, absl::Status>> dropped;

  // When the next batch can be taken: by now, or when its delay ends; kNoDeadline if none waits.
  SteadyTime ready_at = kNoDeadline;
};

class BatchQueue {
 public:
  // Shapes remembered; those least recently used are forgotten and compiled again when they come.
  static constexpr size_t kMaxGroups = 64;

  // `clock`, `costs` and `padding` (which may be null) outlive the queue.
  BatchQueue(std::string name, const QueueLimits& limits, const Clock& clock,
             const CostCurve& costs, const Padding* padding = nullptr);

  // Queues `task` without blocking; it is moved from only if the result is OK. True: nobody has
  // asked for this shape before, the caller sees to it that SetPlans or Reject is called.
  // kResourceExhausted (with RetryAfter) if full, or if as much waits that half of what the
  // deadline leaves is expected to pass before the task is taken: the other half is for errors of
  // that estimate and for the reply. kUnavailable after Close, kDeadlineExceeded if its deadline
  // cannot be met, the error of Reject for a shape that was rejected. `again`: a task that Reject
  // has given back; it is taken even if the queue is full or closed, but not after Abort.
  absl::StatusOr<bool> Submit(Task& task, const ShapeKey& key, bool again = false)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Takes the next batch: of the group whose first task is the most urgent (priority, then age),
  // as many tasks in that order as fit. `idle_workers` others could share the work: the batch is
  // smaller then, if that makes it faster and there is no `max_delay`. Without tasks if there is
  // nothing to run now (it may have dropped some).
  // With `latency_target`: a request that just misses a batch waits for that and runs in the next,
  // so a batch may take half of the target, as estimated. Where a task has waited for longer than
  // the target already, it is the throughput that counts, as without one.
  // With `max_running`: nothing while so many run; then Done makes it worth another try.
  Batch Take(int idle_workers) ABSL_LOCKS_EXCLUDED(mu_);
  // A batch with tasks that was taken has run. True if Take may give another because of that.
  bool Done() ABSL_LOCKS_EXCLUDED(mu_);

  // The plans of a group from now on; makes a new group if need be. True if tasks wait for them.
  bool SetPlans(const ShapeKey& key, std::shared_ptr<const PlanSet> plans) ABSL_LOCKS_EXCLUDED(mu_);
  // Null if there are none (yet).
  std::shared_ptr<const PlanSet> FindPlans(const ShapeKey& key) ABSL_LOCKS_EXCLUDED(mu_);
  // The plans of shapes that were forgotten, for the caller to free on a thread that may.
  std::vector<std::shared_ptr<const PlanSet>> TakeForgotten() ABSL_LOCKS_EXCLUDED(mu_);
  // All groups that have plans, and the sizes of these: what traffic uses.
  std::map<ShapeKey, std::vector<int64_t>> Sizes() const ABSL_LOCKS_EXCLUDED(mu_);
  // The shape has no plans because of `why`. kInvalidArgument and kUnimplemented are remembered;
  // after another error the next task tries again. Returns the tasks that waited for the shape,
  // for the caller to finish.
  std::vector<Task> Reject(const ShapeKey& key, const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);

  // No new task is taken from now on, and none waits for company.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);
  // Close, and everything that waits is given back.
  std::vector<Task> Abort() ABSL_LOCKS_EXCLUDED(mu_);

  int depth() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Group {
    std::list<PendingTask> tasks;  // by priority, then number
    int64_t rows = 0;
    std::shared_ptr<const PlanSet> plans;  // null: parked
    absl::Status rejected;
    uint64_t last_use = 0;
  };
  using Groups = std::map<ShapeKey, Group>;

  // Makes the timeout of a task that comes now its deadline; or returns when it is to be delayed.
  static SteadyTime StartTimeout(Task& task, const LevelLimits& level, SteadyTime now);
  // Why `task` need not run any more; OK if it should. `others_wait`: only then a task is refused
  // on an estimate, so that an estimate that is wrong gets corrected by running.
  absl::Status Obsolete(const Task& task, SteadyTime now, bool others_wait) const;
  // Whether `task`, of this priority, may wait: closed, obsolete, or full. `deadline`: its own,
  // whatever timeout the queue has added.
  absl::Status Admit(const Task& task, size_t priority, SteadyTime deadline, SteadyTime now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // One worker's time for `rows`.
  double QueueSeconds(int64_t rows) const;
  // The time for a row, with all workers at it.
  double SharedSecondsPerRow() const;
  // The status for a queue that is full.
  absl::Status Full(const std::string& why, SteadyTime now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Insert(Group& group, PendingTask pending) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  PendingTask PopFront(Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Drops and delays until the first task of the group is one to run.
  void Settle(Group& group, SteadyTime now, Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // When the group may run: kNoDeadline if it has nothing to run.
  SteadyTime ReadyAt(const Group& group) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Rows that wait and could share a batch with those of the group.
  int64_t WaitingRows(const Group& group) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Rows of the largest batch. `late`: of one that misses the latency target anyway.
  int64_t MaxRows(bool late) const;
  int64_t RowsToTake(const Group& group, SteadyTime now, int idle_workers) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Fills an empty batch with tasks of `first` and those that may join them, up to `limit` rows, or
  // one task if that has more.
  void Fill(Groups::iterator first, int64_t limit, Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes the batch of a shape that tasks of `key` can be padded to, too. False if there are no
  // plans for that.
  bool Widen(Batch& batch, const ShapeKey& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Group& FindOrAdd(const ShapeKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<Task> TakeAll(Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string name_;
  const QueueLimits limits_;
  const Clock& clock_;
  const CostCurve& costs_;
  const Padding* const joins_;             // null: only tasks of one group run together
  const std::vector<LevelLimits> levels_;  // by priority; [0] where there are no priorities
  mutable Mutex mu_;
  Groups groups_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<const PlanSet>> forgotten_ ABSL_GUARDED_BY(mu_);
  int tasks_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t rows_ ABSL_GUARDED_BY(mu_) = 0;
  struct Level {
    int tasks = 0;
    int64_t rows = 0;
  };
  std::vector<Level> waiting_ ABSL_GUARDED_BY(mu_);  // by priority
  DrainRate drain_ ABSL_GUARDED_BY(mu_);
  uint64_t next_number_ ABSL_GUARDED_BY(mu_) = 1;
  int running_ ABSL_GUARDED_BY(mu_) = 0;       // counted with max_running
  bool closed_ ABSL_GUARDED_BY(mu_) = false;   // goes true once, never back
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;  // the same; then closed_, too
};

}  // namespace baton::serving

#include "server/serving/batch_queue.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "server/serving/retry_after.h"

namespace baton::serving {
namespace {

// Sharing a batch with idle workers must make it this much faster, or the batch stays whole.
constexpr double kWorthSharing = 0.75;
// Estimates are averages: only a task that has less than this part of one left is hopeless.
constexpr double kHopeless = 0.5;
// Of the time that a deadline leaves, so much may pass in the queue.
constexpr double kMostWaiting = 0.5;

bool MoreUrgent(const PendingTask& a, const PendingTask& b) {
  if (a.task.priority != b.task.priority) return a.task.priority < b.task.priority;
  return a.delayed != b.delayed ? b.delayed : a.number < b.number;
}

std::vector<LevelLimits> ByPriority(const QueueLimits& limits) {
  std::vector<LevelLimits> levels(static_cast<size_t>(limits.priority_levels) + 1, limits.level);
  for (const auto& [priority, level] : limits.levels) levels[static_cast<size_t>(priority)] = level;
  return levels;
}

}  // namespace

BatchQueue::BatchQueue(std::string name, const QueueLimits& limits, const Clock& clock,
                       const CostCurve& costs, const Padding* padding)
    : name_(std::move(name)),
      limits_(limits),
      clock_(clock),
      costs_(costs),
      joins_(padding != nullptr && padding->joins_lengths() ? padding : nullptr),
      levels_(ByPriority(limits)),
      waiting_(levels_.size()) {}

SteadyTime BatchQueue::StartTimeout(Task& task, const LevelLimits& level, SteadyTime now) {
  Duration timeout = level.default_timeout;
  if (level.own_timeouts && task.timeout > Duration(0)) {
    timeout = timeout > Duration(0) ? std::min(timeout, task.timeout) : task.timeout;
  }
  if (timeout <= Duration(0)) return kNoDeadline;
  if (level.delay) return now + timeout;
  task.deadline = std::min(task.deadline, now + timeout);
  return kNoDeadline;
}

absl::Status BatchQueue::Obsolete(const Task& task, SteadyTime now, bool others_wait) const {
  if (task.cancelled != nullptr && task.cancelled->load(std::memory_order_relaxed)) {
    return absl::CancelledError(absl::StrCat(name_, ": cancelled before it ran"));
  }
  if (task.deadline == kNoDeadline) return absl::OkStatus();
  if (task.deadline <= now) {
    return absl::DeadlineExceededError(
        absl::StrCat(name_, ": the deadline passed before the request ran"));
  }
  if (!limits_.refuse_hopeless || !others_wait) return absl::OkStatus();
  const double needed = costs_.Estimate(task.rows) * kHopeless;
  if (const double left = Seconds(task.deadline - now); left < needed) {
    return absl::DeadlineExceededError(
        absl::StrCat(name_, ": the request cannot be done before its deadline: ", left * 1e3,
                     " ms are left, it takes about ", needed / kHopeless * 1e3, " ms"));
  }
  return absl::OkStatus();
}

double BatchQueue::QueueSeconds(int64_t rows) const {
  return costs_.Estimate(limits_.best_rows) * static_cast<double>(rows) /
         static_cast<double>(limits_.best_rows);
}

double BatchQueue::SharedSecondsPerRow() const {
  const int at_once =
      limits_.max_running > 0 ? std::min(limits_.max_running, limits_.workers) : limits_.workers;
  return QueueSeconds(1) / std::max(at_once, 1);
}

absl::Status BatchQueue::Full(const std::string& why, SteadyTime now) const {
  // By then half of what waits is done: room for all who were refused meanwhile, not for one.
  return WithRetryAfter(
      absl::ResourceExhaustedError(absl::StrCat(name_, ": the queue is full: ", why)),
      drain_.SecondsPerRow(SharedSecondsPerRow(), now) * static_cast<double>(rows_) / 2);
}

absl::Status BatchQueue::Admit(const Task& task, size_t priority, SteadyTime deadline,
                               SteadyTime now) const {
  if (closed_) return absl::UnavailableError(absl::StrCat(name_, " is closed"));
  if (absl::Status obsolete = Obsolete(task, now, tasks_ > 0); !obsolete.ok()) return obsolete;
  if (tasks_ >= limits_.max_tasks) {
    return Full(absl::StrCat(tasks_, " requests wait (max_queue_size)"), now);
  }
  if (const int most = levels_[priority].max_tasks; most > 0 && waiting_[priority].tasks >= most) {
    return Full(absl::StrCat(most, " requests of priority ", priority, " wait (max_queue_size)"),
                now);
  }
  if (const double work = QueueSeconds(rows_ + task.rows);
      tasks_ > 0 && work > limits_.max_seconds) {
    return Full(absl::StrCat("about ", work, " s of work wait, at most ", limits_.max_seconds,
                             " s are allowed"),
                now);
  }
  if (deadline == kNoDeadline) return absl::OkStatus();
  int64_t ahead = 0;
  for (size_t level = 0; level <= priority; ++level) ahead += waiting_[level].rows;
  const double modelled = limits_.refuse_hopeless ? SharedSecondsPerRow() : 0;
  const double wait = drain_.SecondsPerRow(modelled, now) * static_cast<double>(ahead);
  const double left = Seconds(deadline - now);
  if (wait > kMostWaiting * left) {
    return Full(absl::StrCat("what waits takes about ", wait * 1e3, " ms, and the deadline is in ",
                             left * 1e3, " ms"),
                now);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> BatchQueue::Submit(Task& task, const ShapeKey& key, bool again) {
  const SteadyTime now = clock_.Now();
  const int priority = limits_.priority_levels == 0 ? 0
                       : task.priority <= 0         ? limits_.default_priority
                                            : std::min(task.priority, limits_.priority_levels);
  const auto level = static_cast<size_t>(priority);
  const SteadyTime deadline = task.deadline;
  const SteadyTime delay_at = StartTimeout(task, levels_[level], now);
  MutexLock lock(mu_);
  if (!again || aborted_) {
    if (absl::Status admitted = Admit(task, level, deadline, now); !admitted.ok()) return admitted;
  }
  const auto found = groups_.find(key);
  const bool known = found != groups_.end();
  Group& group = known ? found->second : FindOrAdd(key);
  if (!group.rejected.ok()) return group.rejected;

  task.priority = priority;
  group.last_use = next_number_;
  Insert(group, {std::move(task), now, next_number_++, delay_at});
  return !known;
}

void BatchQueue::Insert(Group& group, PendingTask pending) {
  ++tasks_;
  Level& level = waiting_[static_cast<size_t>(pending.task.priority)];
  ++level.tasks;
  level.rows += pending.task.rows;
  rows_ += pending.task.rows;
  group.rows += pending.task.rows;
  auto at = group.tasks.end();
  while (at != group.tasks.begin() && MoreUrgent(pending, *std::prev(at))) --at;
  group.tasks.insert(at, std::move(pending));
}

BatchQueue::Group& BatchQueue::FindOrAdd(const ShapeKey& key) {
  const auto [found, added] = groups_.try_emplace(key);
  if (added) {
    found->second.last_use = next_number_;
    if (groups_.size() > kMaxGroups) {
      // Groups that are being compiled stay: somebody will call SetPlans for them.
      auto oldest = groups_.end();
      for (auto it = groups_.begin(); it != groups_.end(); ++it) {
        const Group& g = it->second;
        if (it == found || !g.tasks.empty() || (g.plans == nullptr && g.rejected.ok())) continue;
        if (oldest == groups_.end() || g.last_use < oldest->second.last_use) oldest = it;
      }
      if (oldest != groups_.end()) {
        forgotten_.push_back(std::move(oldest->second.plans));
        groups_.erase(oldest);
      }
    }
  }
  return found->second;
}

PendingTask BatchQueue::PopFront(Group& group) {
  PendingTask front = std::move(group.tasks.front());
  group.tasks.pop_front();
  group.rows -= front.task.rows;
  rows_ -= front.task.rows;
  --tasks_;
  Level& level = waiting_[static_cast<size_t>(front.task.priority)];
  --level.tasks;
  level.rows -= front.task.rows;
  return front;
}

void BatchQueue::Settle(Group& group, SteadyTime now, Batch& batch) {
  while (!group.tasks.empty()) {
    absl::Status obsolete = Obsolete(group.tasks.front().task, now, tasks_ > 1);
    if (!obsolete.ok()) {
      batch.dropped.emplace_back(PopFront(group).task, std::move(obsolete));
    } else if (group.tasks.front().delay_at <= now) {
      PendingTask late = PopFront(group);
      late.delay_at = kNoDeadline;
      late.delayed = true;
      Insert(group, std::move(late));
    } else {
      return;
    }
  }
}

int64_t BatchQueue::WaitingRows(const Group& group) const {
  return joins_ == nullptr ? group.rows : rows_;  // nearly all of which can join
}

SteadyTime BatchQueue::ReadyAt(const Group& group) const {
  if (group.tasks.empty() || group.plans == nullptr) return kNoDeadline;
  const SteadyTime first = group.tasks.front().submitted;
  if (closed_ || limits_.max_delay <= Duration(0)) return first;
  const int64_t rows = WaitingRows(group);
  if (rows >= MaxRows(/*late=*/false)) return first;
  for (const int64_t preferred : limits_.preferred_rows) {
    if (rows >= preferred) return first;
  }
  return first + limits_.max_delay;
}

int64_t BatchQueue::MaxRows(bool late) const {
  const int64_t most = limits_.max_delay > Duration(0) ? limits_.max_batch_rows : limits_.best_rows;
  if (late || limits_.latency_target <= Duration(0)) return most;
  const double seconds = Seconds(limits_.latency_target) / 2;
  int64_t fits = 1, too_many = most + 1;
  while (too_many - fits > 1) {
    const int64_t middle = fits + (too_many - fits) / 2;
    (costs_.Estimate(middle) <= seconds ? fits : too_many) = middle;
  }
  return fits;
}

int64_t BatchQueue::RowsToTake(const Group& group, SteadyTime now, int idle_workers) const {
  const bool late = now - group.tasks.front().submitted > limits_.latency_target;
  const int64_t waiting = WaitingRows(group);
  const int64_t rows = std::min(waiting, MaxRows(late));
  if (limits_.max_delay > Duration(0)) return rows;  // what is left would wait for company again
  const int64_t share = (waiting + idle_workers) / (idle_workers + 1);
  if (share >= rows) return rows;
  return costs_.Estimate(share) <= kWorthSharing * costs_.Estimate(rows) ? share : rows;
}

Batch BatchQueue::Take(int idle_workers) {
  Batch batch;
  batch.taken = clock_.Now();
  MutexLock lock(mu_);
  Groups::iterator best = groups_.end();
  for (auto it = groups_.begin(); it != groups_.end(); ++it) {
    Settle(it->second, batch.taken, batch);
    if (ReadyAt(it->second) > batch.taken) continue;
    if (best == groups_.end() || MoreUrgent(it->second.tasks.front(), best->second.tasks.front())) {
      best = it;
    }
  }
  const bool limited = limits_.max_running > 0;
  if (limited && running_ == limits_.max_running) return batch;
  if (best != groups_.end()) {
    if (limited) idle_workers = std::min(idle_workers, limits_.max_running - ++running_);
    Fill(best, RowsToTake(best->second, batch.taken, idle_workers), batch);
    batch.estimated_seconds = costs_.Estimate(batch.rows);
  }
  for (const auto& [key, group] : groups_) {
    batch.ready_at = std::min(batch.ready_at, ReadyAt(group));
  }
  if (batch.rows > 0) drain_.NoteTaken(batch.rows, batch.ready_at <= batch.taken, batch.taken);
  return batch;
}

void BatchQueue::Fill(Groups::iterator first, int64_t limit, Batch& batch) {
  batch.key = first->first;
  batch.plans = first->second.plans;
  absl::InlinedVector<Groups::iterator, 4> open = {first};
  if (joins_ != nullptr) {
    for (auto it = groups_.begin(); it != groups_.end(); ++it) {
      const Group& group = it->second;
      if (it == first || group.tasks.empty() || group.plans == nullptr) continue;
      if (joins_->Join(batch.key, it->first)) open.push_back(it);
    }
  }
  while (true) {
    auto next = open.end();
    for (auto it = open.begin(); it != open.end(); ++it) {
      const auto& tasks = (*it)->second.tasks;
      if (tasks.empty()) continue;
      if (next == open.end() || MoreUrgent(tasks.front(), (*next)->second.tasks.front())) next = it;
    }
    if (next == open.end()) return;
    Group& group = (*next)->second;
    const int64_t rows = batch.rows + group.tasks.front().task.rows;
    if (!batch.tasks.empty() && rows > limit) return;
    if (*next != first && !Widen(batch, (*next)->first)) {
      open.erase(next);
      continue;
    }
    batch.rows = rows;
    batch.tasks.push_back(PopFront(group));
    Settle(group, batch.taken, batch);
  }
}

bool BatchQueue::Widen(Batch& batch, const ShapeKey& key) const {
  std::optional<ShapeKey> joint = joins_->Join(batch.key, key);
  if (!joint) return false;
  if (*joint == batch.key) return true;
  const auto found = groups_.find(*joint);
  if (found == groups_.end() || found->second.plans == nullptr) return false;
  batch.key = *std::move(joint);
  batch.plans = found->second.plans;
  return true;
}

bool BatchQueue::Done() {
  if (limits_.max_running == 0) return false;
  MutexLock lock(mu_);
  --running_;
  return tasks_ > 0;
}

bool BatchQueue::SetPlans(const ShapeKey& key, std::shared_ptr<const PlanSet> plans) {
  MutexLock lock(mu_);
  Group& group = FindOrAdd(key);
  group.plans.swap(plans);  // the old set goes after the lock
  group.rejected = absl::OkStatus();
  return !group.tasks.empty();
}

std::shared_ptr<const PlanSet> BatchQueue::FindPlans(const ShapeKey& key) {
  MutexLock lock(mu_);
  const auto found = groups_.find(key);
  if (found == groups_.end()) return nullptr;
  found->second.last_use = next_number_;
  return found->second.plans;
}

std::vector<std::shared_ptr<const PlanSet>> BatchQueue::TakeForgotten() {
  MutexLock lock(mu_);
  return std::exchange(forgotten_, {});
}

std::map<ShapeKey, std::vector<int64_t>> BatchQueue::Sizes() const {
  MutexLock lock(mu_);
  std::map<ShapeKey, std::vector<int64_t>> sizes;
  for (const auto& [key, group] : groups_) {
    if (group.plans == nullptr) continue;
    for (const PlanSet::Entry& entry : group.plans->entries()) sizes[key].push_back(entry.rows);
  }
  return sizes;
}

std::vector<Task> BatchQueue::TakeAll(Group& group) {
  std::vector<Task> all;
  while (!group.tasks.empty()) all.push_back(PopFront(group).task);
  return all;
}

std::vector<Task> BatchQueue::Reject(const ShapeKey& key, const absl::Status& why) {
  MutexLock lock(mu_);
  Group& group = FindOrAdd(key);
  std::vector<Task> all = TakeAll(group);
  if (absl::IsInvalidArgument(why) || absl::IsUnimplemented(why)) {
    group.rejected = why;
  } else {
    groups_.erase(key);
  }
  return all;
}

void BatchQueue::Close() {
  MutexLock lock(mu_);
  closed_ = true;
}

std::vector<Task> BatchQueue::Abort() {
  MutexLock lock(mu_);
  closed_ = true;
  aborted_ = true;
  std::vector<Task> all;
  for (auto& [key, group] : groups_) {
    for (Task& task : TakeAll(group)) all.push_back(std::move(task));
  }
  return all;
}

int BatchQueue::depth() const {
  MutexLock lock(mu_);
  return tasks_;
}

}  // namespace baton::serving

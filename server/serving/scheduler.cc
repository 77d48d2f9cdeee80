#include "server/serving/scheduler.h"

#include <pthread.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace baton::serving {
namespace {

constexpr int kNoWorker = -1;  // the one that picks is at work already

// Where more batches have company than this, all cores for one of them only make the next wait, or
// both share a core.
constexpr double kMostCompany = 0.4;
constexpr double kCompanyWeight = 1.0 / 16;  // of a batch, against those before
constexpr double kCompanyHalfLife = 5;       // seconds

}  // namespace

Scheduler::Scheduler(int workers, ExecutorFactory factory, const Clock& clock)
    : workers_(workers), factory_(std::move(factory)), clock_(clock) {
  for (int i = 0; i < workers_; ++i) wake_.push_back(std::make_unique<CondVar>());
}

Scheduler::~Scheduler() { Stop(); }

void Scheduler::Start() {
  for (int i = 0; i < workers_; ++i) {
    threads_.emplace_back([this, i] { Work(i); });
    pthread_setname_np(threads_.back().native_handle(), absl::StrCat("worker-", i).c_str());
  }
}

void Scheduler::WakeIdleWorker() {
  if (idle_.empty()) return;
  // The lowest: its caches are warm, and only the first worker keeps threads for parallel plans.
  const int index = *idle_.begin();
  idle_.erase(idle_.begin());
  wake_[index]->Signal();
}

void Scheduler::Wake(const std::shared_ptr<WorkSource>& source) {
  MutexLock lock(mu_);
  if (stopped_) return;
  WorkSource::Notes& notes = source->notes_;
  ++notes.wakes;
  notes.ready_at = SteadyTime{};
  if (!notes.active) {
    notes.active = true;
    // Time spent idle earns no credit.
    notes.service = std::max(notes.service, served_);
    active_.push_back(source);
  }
  NoteLeastService();
  WakeIdleWorker();
}

void Scheduler::NoteLeastService() {
  double least = kAnyService;
  for (const auto& source : active_) {
    // One that waits for a delay to end is nothing to look for.
    if (source->notes_.ready_at == SteadyTime{}) least = std::min(least, source->notes_.service);
  }
  least_service_.store(least, std::memory_order_relaxed);
}

std::shared_ptr<WorkSource> Scheduler::LeastServed(SteadyTime now, SteadyTime& next) {
  const std::shared_ptr<WorkSource>* best = nullptr;
  next = kNoDeadline;
  for (const auto& source : active_) {
    if (source->notes_.ready_at > now) {
      next = std::min(next, source->notes_.ready_at);
    } else if (best == nullptr || source->notes_.service < (*best)->notes_.service) {
      best = &source;
    }
  }
  return best == nullptr ? nullptr : *best;
}

bool Scheduler::Pick(int index, const Job* outer, Job& job, SteadyTime& next) {
  while (std::shared_ptr<WorkSource> source = LeastServed(clock_.Now(), next)) {
    WorkSource::Notes& notes = source->notes_;
    if (outer != nullptr && (source == outer->source || notes.service >= outer->service)) {
      return false;
    }
    served_ = std::max(served_, notes.service);
    const uint64_t wakes = notes.wakes;
    const int idle = static_cast<int>(idle_.size());

    mu_.Unlock();
    Batch batch = source->Take(idle);
    mu_.Lock();

    if (notes.wakes == wakes && notes.active) {
      notes.ready_at = batch.ready_at <= batch.taken ? SteadyTime{} : batch.ready_at;
      if (batch.ready_at == kNoDeadline) {
        notes.active = false;
        active_.erase(std::find(active_.begin(), active_.end(), source));
      }
    }
    if (batch.tasks.empty() && batch.dropped.empty()) {
      NoteLeastService();
      continue;
    }
    // Another worker takes what is left, or sees to it that a delay ends in time.
    if (!active_.empty()) WakeIdleWorker();
    // Charged now and set right when it has run: workers that pick meanwhile go elsewhere.
    notes.service += batch.estimated_seconds;
    NoteLeastService();
    const bool company = NoteCompany(batch.taken);
    job.alone = index == 0 && !company && company_ < kMostCompany;
    job.source = std::move(source);
    job.estimated_seconds = batch.estimated_seconds;
    job.service = notes.service;
    job.batch = std::move(batch);
    ++running_;
    return true;
  }
  return false;
}

bool Scheduler::NoteCompany(SteadyTime now) {
  const bool company = running_ > 0 || !active_.empty();
  company_ *= std::exp2(-Seconds(now - company_at_) / kCompanyHalfLife);
  company_ += kCompanyWeight * ((company ? 1 : 0) - company_);
  company_at_ = now;
  return company;
}

double Scheduler::RunAndCharge(Job& job, Executor& executor) {
  const double paused = executor.paused_seconds();
  const SteadyTime start = clock_.Now();
  job.source->Run(std::move(job.batch), job.alone, executor);
  const double took = Seconds(clock_.Now() - start) - (executor.paused_seconds() - paused);
  MutexLock lock(mu_);
  --running_;
  job.source->notes_.service += took - job.estimated_seconds;
  NoteLeastService();
  return took;
}

void Scheduler::RunJob(Job job, Executor& executor, std::unique_ptr<Executor>& inner) {
  struct Pause {
    Scheduler& scheduler;
    const Job& outer;
    std::unique_ptr<Executor>& inner;
  } pause{*this, job, inner};
  // One pointer, so that the function needs no memory of its own.
  executor.SetPause([&pause] { return pause.scheduler.RunInPause(pause.outer, pause.inner); });
  RunAndCharge(job, executor);
  executor.SetPause(nullptr);
}

double Scheduler::RunInPause(const Job& outer, std::unique_ptr<Executor>& inner) {
  if (least_service_.load(std::memory_order_relaxed) >= outer.service) return 0;
  Job job;
  {
    MutexLock lock(mu_);
    SteadyTime next;
    if (running_ < workers_ || !Pick(kNoWorker, &outer, job, next)) return 0;
  }
  if (inner == nullptr) inner = factory_();
  return RunAndCharge(job, *inner);
}

void Scheduler::Work(int index) {
  const std::unique_ptr<Executor> executor = factory_();
  std::unique_ptr<Executor> inner;
  while (true) {
    Job job;
    {
      MutexLock lock(mu_);
      SteadyTime next;
      while (!Pick(index, nullptr, job, next)) {
        if (stopping_ && active_.empty()) {
          for (const auto& wake : wake_) wake->Signal();
          return;
        }
        idle_.insert(index);
        if (next == kNoDeadline) {
          wake_[index]->Wait(mu_);
        } else {
          wake_[index]->WaitUntil(mu_, next);
        }
        idle_.erase(index);
      }
    }
    RunJob(std::move(job), *executor, inner);
  }
}

bool Scheduler::RunOne(Executor& executor) {
  Job job;
  {
    MutexLock lock(mu_);
    SteadyTime next;
    if (!Pick(0, nullptr, job, next)) return false;
  }
  std::unique_ptr<Executor> inner;
  RunJob(std::move(job), executor, inner);
  return true;
}

void Scheduler::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    idle_.clear();
    for (const auto& wake : wake_) wake->Signal();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::vector<std::shared_ptr<WorkSource>> late;  // let go of after the lock
  MutexLock lock(mu_);
  stopped_ = true;
  late.swap(active_);
}

}  // namespace baton::serving

#include "server/api/coalescing.h"

#include <algorithm>

namespace baton::api {
namespace {

constexpr Duration kLook = std::chrono::milliseconds(50);
constexpr double kTooBusy = 0.6;  // share of the thread's time
// Share of it that the tasks would take without pauses.
constexpr double kBusyNoMore = 0.45;
constexpr int kBurst = 2;  // tasks in a run on average: they come together anyway
// Without pauses more than so many times as many tasks a second: pauses do harm.
constexpr double kMoreWithout = 1.1;
// The first check comes after two looks, every further one after twice the time.
constexpr Duration kFirstCheck = 2 * kLook;
constexpr Duration kLongestCheck = std::chrono::seconds(16);
constexpr Duration kLongestRetry = std::chrono::minutes(1);
// Tasks in a run: a queue has formed, so it is not the clients that wait for pauses to end.
constexpr int kQueue = 8;

}  // namespace

void Coalescing::NoteRun(SteadyTime now, int tasks, absl::FunctionRef<Duration()> cpu_time) {
  ++runs_;
  tasks_ += tasks;
  const bool queued = state_ == State::kCheck && tasks >= kQueue;
  if (now - looked_ < kLook && !queued) return;
  const Duration cpu_now = cpu_time();
  if (queued) {
    Resume(now);
  } else if (looked_ != SteadyTime{}) {
    const double passed = Seconds(now - looked_);
    Look(now, tasks_ / passed, Seconds(cpu_now - cpu_time_) / passed);
  }
  looked_ = now;
  cpu_time_ = cpu_now;
  runs_ = tasks_ = 0;
}

void Coalescing::Look(SteadyTime now, double rate, double busy) {
  switch (state_) {
    case State::kOff:
      if (busy < kTooBusy || tasks_ >= kBurst * runs_ || now < next_try_) return;
      state_ = State::kOn;
      task_seconds_ = busy / rate;
      rate_ = 0;
      check_after_ = kFirstCheck;
      next_check_ = now + check_after_;
      return;
    case State::kOn:
      rate_ = rate_ == 0 ? rate : (rate_ + rate) / 2;
      if (now >= next_check_ || rate * task_seconds_ < kBusyNoMore) state_ = State::kCheck;
      return;
    case State::kCheck:
      if (rate > kMoreWithout * rate_ || tasks_ >= kBurst * runs_) {
        state_ = State::kOff;
        next_try_ = now + retry_after_;
        retry_after_ = std::min(2 * retry_after_, kLongestRetry);
        return;
      }
      Resume(now);
      if (rate * task_seconds_ < kBusyNoMore) state_ = State::kOff;  // until more come again
      return;
  }
}

void Coalescing::Resume(SteadyTime now) {
  state_ = State::kOn;
  retry_after_ = kRetryAfter;
  check_after_ = std::min(2 * check_after_, kLongestCheck);
  next_check_ = now + check_after_;
}

}  // namespace baton::api

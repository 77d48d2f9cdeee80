// Coalescing: whether a network thread should sleep for a moment between requests, so that the next
// ones come together. Small requests that come one by one cost several times as much each as in a
// burst (a wake-up, a read, a reply and a wake-up of the client for every one); where they take
// most of the thread's time, a pause of a tenth of a millisecond is less than the queue they would
// wait in. Clients that wait for every reply are only slowed down by it, so now and then a moment
// without pauses shows whether more requests are served then, or whether they come together by
// themselves. Reads no clock. Not thread-safe: one thread, one Coalescing.
#pragma once

#include "absl/functional/function_ref.h"
#include "engine/base/clock.h"

namespace baton::api {

class Coalescing {
 public:
  // The thread runs, at `now`, so many tasks that it has at hand. `cpu_time`: how much the thread
  // has used; called now and then.
  void NoteRun(SteadyTime now, int tasks, absl::FunctionRef<Duration()> cpu_time);

  // Whether there are pauses, so that requests come together.
  bool on() const { return state_ == State::kOn; }
  // How long to pause after a run of so many tasks.
  Duration PauseAfter(int tasks) const { return on() && tasks < kEnough ? kPause : Duration(0); }

 private:
  enum class State { kOff, kOn, kCheck };  // kCheck: off for one look
  static constexpr Duration kPause = std::chrono::microseconds(100);
  static constexpr int kEnough = 4;  // tasks in a run: more are waiting anyway
  static constexpr Duration kRetryAfter = std::chrono::seconds(1);

  // What was seen since the last look: tasks a second, and the share of the time that the thread
  // worked.
  void Look(SteadyTime now, double rate, double busy);
  // To pause after a check, too.
  void Resume(SteadyTime now);

  State state_ = State::kOff;
  // The last look, and what was seen since.
  SteadyTime looked_{};
  Duration cpu_time_{};
  int runs_ = 0;
  int tasks_ = 0;
  double task_seconds_ = 0;  // the thread's time for a task without pauses
  double rate_ = 0;          // with pauses, tasks a second
  SteadyTime next_check_{};
  Duration check_after_{};
  SteadyTime next_try_{};
  Duration retry_after_ = kRetryAfter;
};

}  // namespace baton::api

// BackgroundThread: one thread that runs jobs one after another, in the order they were posted,
// at its own priority. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace baton::serving {

class BackgroundThread {
 public:
  // `nice`: 0 (as other threads) to 19 (lowest priority). Threads that its jobs start inherit it.
  BackgroundThread(const std::string& name, int nice);
  ~BackgroundThread();  // Stop()
  BackgroundThread(const BackgroundThread&) = delete;
  BackgroundThread& operator=(const BackgroundThread&) = delete;

  // Never blocks. After Stop the job runs at once, on the calling thread.
  void Post(std::function<void()> job) ABSL_LOCKS_EXCLUDED(mu_);

  // Runs `job` between the others, every `interval` from now on, until Stop. REQUIRES: called at
  // most once.
  void Repeat(Duration interval, std::function<void()> job) ABSL_LOCKS_EXCLUDED(mu_);

  // Runs what has been posted, also by these jobs, and joins.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run(int nice) ABSL_LOCKS_EXCLUDED(mu_);

  Mutex mu_;
  CondVar wake_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mu_);
  std::function<void()> repeated_ ABSL_GUARDED_BY(mu_);
  Duration interval_ ABSL_GUARDED_BY(mu_){};
  SteadyTime next_ ABSL_GUARDED_BY(mu_) = kNoDeadline;  // of repeated_
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace baton::serving

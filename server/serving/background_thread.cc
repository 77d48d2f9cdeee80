#include "server/serving/background_thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/log.h"

namespace baton::serving {

BackgroundThread::BackgroundThread(const std::string& name, int nice)
    : thread_([this, nice] { Run(nice); }) {
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

BackgroundThread::~BackgroundThread() { Stop(); }

void BackgroundThread::Post(std::function<void()> job) {
  {
    MutexLock lock(mu_);
    if (!stopped_) {
      jobs_.push_back(std::move(job));
      wake_.Signal();
      return;
    }
  }
  job();
}

void BackgroundThread::Repeat(Duration interval, std::function<void()> job) {
  MutexLock lock(mu_);
  repeated_ = std::move(job);
  interval_ = interval;
  next_ = RealClock::Get().Now() + interval;
  wake_.Signal();
}

void BackgroundThread::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    wake_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void BackgroundThread::Run(int nice) {
  // On Linux the priority is each thread's own; 0 is the calling thread.
  if (nice > 0 && setpriority(PRIO_PROCESS, 0, nice) != 0) {
    BATON_LOG(Warning) << "cannot lower a background thread's priority: " << std::strerror(errno);
  }
  while (true) {
    std::function<void()> job;
    {
      MutexLock lock(mu_);
      while (jobs_.empty() && !stopping_ && RealClock::Get().Now() < next_) {
        if (next_ == kNoDeadline) {
          wake_.Wait(mu_);
        } else {
          wake_.WaitUntil(mu_, next_);
        }
      }
      if (!jobs_.empty()) {
        job = std::move(jobs_.front());
        jobs_.pop_front();
      } else if (stopping_) {
        stopped_ = true;
        return;
      } else {
        job = repeated_;
        next_ = RealClock::Get().Now() + interval_;
      }
    }
    job();
  }
}

}  // namespace baton::serving

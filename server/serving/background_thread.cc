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
      while (jobs_.empty() && !stopping_) wake_.Wait(mu_);
      if (jobs_.empty()) {
        stopped_ = true;
        return;
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace baton::serving

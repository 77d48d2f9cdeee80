#include "engine/base/interrupt.h"

#include <pthread.h>

#include <utility>

namespace baton {
namespace {
constexpr int kEndWaiter = SIGUSR1;  // from the destructor
}

Interrupt::Interrupt() {
  sigemptyset(&signals_);
  for (const int signal : {SIGINT, SIGTERM, kEndWaiter}) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, &old_mask_);
}

Interrupt::~Interrupt() {
  if (waiter_.joinable()) {
    pthread_kill(waiter_.native_handle(), kEndWaiter);
    waiter_.join();
  }
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

void Interrupt::Start(std::function<void()> action) {
  waiter_ = std::thread([this, action = std::move(action)] {
    int signal = 0;
    if (sigwait(&signals_, &signal) != 0 || signal == kEndWaiter) return;
    action();
    sigset_t deadly = signals_;
    sigdelset(&deadly, kEndWaiter);
    pthread_sigmask(SIG_UNBLOCK, &deadly, nullptr);  // the next one ends the process
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, kEndWaiter);
    sigwait(&end, &signal);
  });
}

}  // namespace baton

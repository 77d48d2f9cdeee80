// Interrupt: calls a function when the user presses Ctrl-C (SIGINT) or the process is told to end
// (SIGTERM). The second time the process ends as usual. Nothing runs in a signal handler: oneDNN's
// matrix products point the stack register into the heap, where a handler's frame would overwrite
// what lies before.
#pragma once

#include <signal.h>

#include <functional>
#include <thread>

namespace baton {

class Interrupt {
 public:
  // Blocks both signals in this thread and those it starts from now on: create it before others.
  Interrupt();
  // Puts this thread's signals back; joins its own.
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // From now on a signal, also one that came already, calls `action` on a thread of its own.
  // REQUIRES: called at most once; `action` may be called until the destructor returns.
  void Start(std::function<void()> action);

 private:
  sigset_t signals_;
  sigset_t old_mask_;
  std::thread waiter_;
};

}  // namespace baton

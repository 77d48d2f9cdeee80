// CallLoop: one completion queue and the one thread that polls it. Calls are objects that post
// themselves on the queue and get their events back through tags, all on that thread; only
// answering a call may happen on another.
//
// Life: construct with the queue → Start → (the gRPC server is shut down) → Stop. A call counts as
// alive from being posted to its last event; Stop closes the queue only when none is alive, since
// nothing may be posted on a closed queue.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "server/api/coalescing.h"
#include "server/api/gate.h"
#include "server/serving/executor.h"
#include "server/serving/inline_lane.h"

namespace baton::api {

// What a queue hands back. The object that owns a tag outlives its event.
class Tag {
 public:
  // Called on the loop's thread. `ok` as in grpc::CompletionQueue::Next.
  virtual void OnEvent(bool ok) = 0;

 protected:
  ~Tag() = default;
};

// A tag that calls a member function.
template <typename T>
class MemberTag final : public Tag {
 public:
  MemberTag(T& object, void (T::*handler)(bool ok)) : object_(object), handler_(handler) {}
  void OnEvent(bool ok) override { (object_.*handler_)(ok); }

 private:
  T& object_;
  void (T::*const handler_)(bool);
};

class CallLoop {
 public:
  // `gate` says who may make its calls, and outlives it. `spin`: how long the thread asks for the
  // next event before it sleeps until there is one.
  CallLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue, const Gate& gate, Duration spin);
  ~CallLoop();
  CallLoop(const CallLoop&) = delete;
  CallLoop& operator=(const CallLoop&) = delete;

  // `make_executor` is called on the loop's thread. REQUIRES: called at most once, before Stop.
  void Start(std::function<std::unique_ptr<serving::Executor>()> make_executor);
  // Waits until no call is alive, or `deadline`; false if some were. REQUIRES: the gRPC server has
  // been shut down.
  bool WaitForCalls(SteadyTime deadline) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits until no call is alive, closes the queue and joins the thread. Once more is no harm.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  grpc::ServerCompletionQueue* queue() { return queue_.get(); }
  // Where small models run. REQUIRES: called on the loop's thread.
  serving::InlineLane* lane() { return lane_.get(); }
  // As Gate::Check, for the caller of `context`.
  absl::Status CheckCaller(Access access, const grpc::ServerContext& context) const;

  void CallPosted() { alive_.fetch_add(1, std::memory_order_relaxed); }
  void CallGone() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run(const std::function<std::unique_ptr<serving::Executor>()>& make_executor);
  // As grpc::CompletionQueue::Next. Runs what the lane holds before it waits.
  bool Next(void** tag, bool* ok);

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  const Gate& gate_;
  const Duration spin_;
  std::unique_ptr<serving::InlineLane> lane_;  // the loop's thread only
  // When the lane ran last, and how many tasks it had; the loop's thread only.
  SteadyTime lane_ran_{};
  int collected_ = 0;
  Coalescing coalescing_;  // the loop's thread only
  std::thread thread_;
  bool closed_ = false;            // the owner's thread only
  std::atomic<int64_t> alive_{0};  // calls
  Mutex mu_;                       // held to signal, so that no waiter misses it
  CondVar none_alive_;
};

}  // namespace baton::api

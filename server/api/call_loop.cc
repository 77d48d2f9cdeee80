#include "server/api/call_loop.h"

#include <utility>

#include "engine/base/cpu.h"

namespace baton::api {
namespace {

// Tasks of tiny models that wait while there are other events.
constexpr int kMostCollected = 16;
// A request that comes so soon after another was run may have company, too.
constexpr Duration kBurst = std::chrono::microseconds(30);

}  // namespace

CallLoop::CallLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue, const Gate& gate,
                   Duration spin)
    : queue_(std::move(queue)), gate_(gate), spin_(spin) {}

CallLoop::~CallLoop() { Stop(); }

void CallLoop::Start(std::function<std::unique_ptr<serving::Executor>()> make_executor) {
  thread_ = std::thread([this, make_executor = std::move(make_executor)] { Run(make_executor); });
}

void CallLoop::Run(const std::function<std::unique_ptr<serving::Executor>()>& make_executor) {
  PreferShortTurns();
  lane_ = std::make_unique<serving::InlineLane>(make_executor());
  void* tag = nullptr;
  bool ok = false;
  while (Next(&tag, &ok)) static_cast<Tag*>(tag)->OnEvent(ok);
  lane_.reset();
}

bool CallLoop::Next(void** tag, bool* ok) {
  if (const int tasks = lane_->tasks(); tasks > 0) {
    const SteadyTime now = std::chrono::steady_clock::now();
    const bool has_company = coalescing_.on() || collected_ > 1 || now - lane_ran_ < kBurst;
    if (tasks < kMostCollected && has_company) {
      const auto next = queue_->AsyncNext(tag, ok, gpr_time_0(GPR_CLOCK_MONOTONIC));
      if (next == grpc::CompletionQueue::GOT_EVENT) return true;
    }
    lane_ran_ = now;
    collected_ = tasks;
    // A thread that spins is always busy, and meant to answer at once.
    if (spin_ == Duration(0)) coalescing_.NoteRun(now, tasks, ThreadCpuTime);
    lane_->Run();
    std::this_thread::sleep_for(coalescing_.PauseAfter(tasks));
  }
  if (spin_ > Duration(0)) {
    const SteadyTime end = std::chrono::steady_clock::now() + spin_;
    do {
      const auto next = queue_->AsyncNext(tag, ok, gpr_time_0(GPR_CLOCK_MONOTONIC));
      if (next != grpc::CompletionQueue::TIMEOUT) return next == grpc::CompletionQueue::GOT_EVENT;
    } while (std::chrono::steady_clock::now() < end);
  }
  return queue_->Next(tag, ok);
}

bool CallLoop::WaitForCalls(SteadyTime deadline) {
  MutexLock lock(mu_);
  while (alive_ > 0) {
    if (deadline == kNoDeadline) {
      none_alive_.Wait(mu_);
    } else if (!none_alive_.WaitUntil(mu_, deadline)) {
      return alive_ == 0;
    }
  }
  return true;
}

absl::Status CallLoop::CheckCaller(Access access, const grpc::ServerContext& context) const {
  if (gate_.IsOpenTo(access)) return absl::OkStatus();
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  const absl::string_view authorization =
      found == metadata.end() ? absl::string_view()
                              : absl::string_view(found->second.data(), found->second.size());
  return gate_.Check(access, context.peer(), authorization);
}

void CallLoop::Stop() {
  if (closed_) return;
  closed_ = true;
  if (thread_.joinable()) WaitForCalls(kNoDeadline);
  queue_->Shutdown();
  if (thread_.joinable()) {
    thread_.join();
    return;
  }
  // A queue has to be drained before it goes, also one that nobody polled.
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
  }
}

void CallLoop::CallGone() {
  if (alive_.fetch_sub(1) > 1) return;
  MutexLock lock(mu_);
  none_alive_.SignalAll();
}

}  // namespace baton::api

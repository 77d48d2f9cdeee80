// UnaryCall: one unary RPC on a CallLoop, from being posted to its last event. It owns itself. One
// template serves every unary method of every service:
//
//   ServeUnary(loop, service, &Service::RequestPredict, posted, [](auto& call) { … });
//
// The handler runs on the loop's thread and answers with Finish, there or later on any thread.
#pragma once

#include <google/protobuf/arena.h>
#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "server/api/call_loop.h"
#include "server/api/grpc_status.h"
#include "server/api/reply_metadata.h"
#include "server/api/run.h"

namespace baton::api {

// When the client gives up, as steady time.
inline SteadyTime DeadlineOf(const grpc::ServerContext& context) {
  // Of a call that has come gRPC keeps it in its monotonic clock, which is the steady one.
  const gpr_timespec deadline = gpr_convert_clock_type(context.raw_deadline(), GPR_CLOCK_MONOTONIC);
  if (deadline.tv_sec >=
      std::chrono::duration_cast<std::chrono::seconds>(Duration::max()).count()) {
    return kNoDeadline;
  }
  return SteadyTime(std::chrono::seconds(deadline.tv_sec) +
                    std::chrono::nanoseconds(deadline.tv_nsec));
}

template <typename RequestT, typename ResponseT>
class UnaryCall {
  static constexpr size_t kFirstBlock = 2048;  // of the arena: enough for most calls
  struct Memory;                               // of one call

 public:
  using Request = RequestT;
  using Response = ResponseT;
  using Writer = grpc::ServerAsyncResponseWriter<Response>;

  // What all calls of one method share.
  struct Method {
    CallLoop& loop;
    std::function<void(grpc::ServerContext*, Request*, Writer*, void* tag)> post;
    std::function<void(UnaryCall&)> handle;
    Access access;
    // Memory of calls that have ended, for the next: the allocator has no quick way for blocks of
    // this size. Used on the loop's thread, or before that starts.
    std::vector<std::unique_ptr<Memory>> free = {};
  };

  static void Post(std::shared_ptr<Method> method) {
    std::unique_ptr<Memory> memory;
    if (method->free.empty()) {
      memory = std::make_unique_for_overwrite<Memory>();
    } else {
      memory = std::move(method->free.back());
      method->free.pop_back();
    }
    auto* call = new (memory.release()) UnaryCall(std::move(method));
    call->context_.AsyncNotifyWhenDone(&call->done_tag_);
    call->method_->post(&call->context_, call->request_, &call->writer_, &call->arrived_tag_);
  }

  const Request& request() const { return *request_; }
  Response& response() { return *response_; }
  const grpc::ServerContext& context() const { return context_; }
  SteadyTime arrived() const { return arrived_; }

  // For a call for compute. REQUIRES: runs on the call's loop.
  CallTerms Terms(serving::Method method, size_t max_tensor_bytes) {
    // Owned by nobody: a flag of its own would be one more allocation for each call.
    std::shared_ptr<std::atomic<bool>> cancelled(std::shared_ptr<void>(), &cancelled_);
    return {method,
            arrived_,
            DeadlineOf(context_),
            /*priority=*/0,
            std::move(cancelled),
            method_->loop.lane(),
            max_tensor_bytes};
  }
  // Finish, for those who take a Done.
  Done Finisher() {
    return [this](const absl::Status& status) { Finish(status); };
  }

  // Answers with `response()`, or with the error alone. Exactly once; the call may be gone when
  // this returns.
  void Finish(const absl::Status& status) {
    if (status.ok()) {
      if (response_->ByteSizeLong() >= kLeastToCompress) ChooseCompression(context_);
      writer_.Finish(*response_, grpc::Status::OK, &finished_tag_);
    } else {
      AddRetryPushback(context_, status);
      writer_.FinishWithError(ToGrpcStatus(status), &finished_tag_);
    }
  }

 private:
  explicit UnaryCall(std::shared_ptr<Method> method)
      : method_(std::move(method)),
        writer_(&context_),
        arrived_tag_(*this, &UnaryCall::OnArrived),
        done_tag_(*this, &UnaryCall::OnDone),
        finished_tag_(*this, &UnaryCall::OnFinished) {
    method_->loop.CallPosted();
  }
  ~UnaryCall() { method_->loop.CallGone(); }
  void Delete() {
    const std::shared_ptr<Method> method = method_;
    this->~UnaryCall();
    method->free.emplace_back(reinterpret_cast<Memory*>(this));
  }

  void OnArrived(bool ok) {
    if (!ok) {  // the server is shutting down; no other event comes
      Delete();
      return;
    }
    Post(method_);
    arrived_ = std::chrono::steady_clock::now();
    const absl::Status allowed = method_->loop.CheckCaller(method_->access, context_);
    if (!allowed.ok()) return Finish(allowed);
    method_->handle(*this);
  }
  void OnDone(bool) {
    if (context_.IsCancelled()) cancelled_.store(true, std::memory_order_relaxed);
    OnLastButOne();
  }
  void OnFinished(bool) { OnLastButOne(); }
  // Done and finished come in any order, both on the loop's thread.
  void OnLastButOne() {
    if (--events_left_ == 0) Delete();
  }

  const std::shared_ptr<Method> method_;
  grpc::ServerContext context_;
  // The messages' small parts: without it each would be an allocation. Large tensors are strings,
  // whose bytes lie elsewhere.
  alignas(8) char first_block_[kFirstBlock];
  google::protobuf::Arena arena_{first_block_, sizeof(first_block_)};
  Request* const request_ = google::protobuf::Arena::CreateMessage<Request>(&arena_);
  Response* const response_ = google::protobuf::Arena::CreateMessage<Response>(&arena_);
  Writer writer_;
  SteadyTime arrived_;
  // Becomes true if the client hangs up or its deadline passes before the answer.
  std::atomic<bool> cancelled_{false};
  int events_left_ = 2;
  MemberTag<UnaryCall> arrived_tag_;
  MemberTag<UnaryCall> done_tag_;
  MemberTag<UnaryCall> finished_tag_;
};

template <typename Request, typename Response>
struct UnaryCall<Request, Response>::Memory {
  alignas(UnaryCall) char bytes[sizeof(UnaryCall)];
};

// Posts `posted` calls of `method` on `loop`; each one that arrives posts the next. `access`: what
// the call takes.
template <typename Service, typename Base, typename Request, typename Response, typename Handler>
void ServeUnary(CallLoop& loop, Service& service,
                void (Base::*method)(grpc::ServerContext*, Request*,
                                     grpc::ServerAsyncResponseWriter<Response>*,
                                     grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*),
                int posted, Handler handler, Access access = Access::kData) {
  using Call = UnaryCall<Request, Response>;
  auto shared = std::make_shared<typename Call::Method>(typename Call::Method{
      loop,
      [&loop, &service, method](grpc::ServerContext* context, Request* request,
                                typename Call::Writer* writer, void* tag) {
        (service.*method)(context, request, writer, loop.queue(), loop.queue(), tag);
      },
      std::move(handler), access});
  for (int i = 0; i < posted; ++i) Call::Post(shared);
}

// A method that Baton does not have: answers kUnimplemented with `text`, which outlives the loop.
template <typename Service, typename RequestMethod>
void RefuseUnary(CallLoop& loop, Service& service, RequestMethod method, const char* text) {
  ServeUnary(loop, service, method, 1,
             [text](auto& call) { call.Finish(absl::UnimplementedError(text)); });
}

}  // namespace baton::api

// RefusedStream: a streaming method that Baton does not have; each call is answered kUnimplemented
// with a text that outlives the loop.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "server/api/call_loop.h"
#include "server/api/grpc_status.h"

namespace baton::api {

template <typename Response, typename Request>
class RefusedStream {
 public:
  using Stream = grpc::ServerAsyncReaderWriter<Response, Request>;

  template <typename Service, typename Base>
  static void Serve(CallLoop& loop, Service& service,
                    void (Base::*method)(grpc::ServerContext*, Stream*, grpc::CompletionQueue*,
                                         grpc::ServerCompletionQueue*, void*),
                    const char* text) {
    Post(std::make_shared<const Method>(
        Method{loop,
               [&loop, &service, method](grpc::ServerContext* context, Stream* stream, void* tag) {
                 (service.*method)(context, stream, loop.queue(), loop.queue(), tag);
               },
               text}));
  }

 private:
  struct Method {
    CallLoop& loop;
    std::function<void(grpc::ServerContext*, Stream*, void* tag)> post;
    const char* text;
  };

  explicit RefusedStream(std::shared_ptr<const Method> method)
      : method_(std::move(method)),
        stream_(&context_),
        arrived_tag_(*this, &RefusedStream::OnArrived),
        finished_tag_(*this, &RefusedStream::OnFinished) {
    method_->loop.CallPosted();
  }
  ~RefusedStream() { method_->loop.CallGone(); }

  static void Post(std::shared_ptr<const Method> method) {
    auto* call = new RefusedStream(std::move(method));
    call->method_->post(&call->context_, &call->stream_, &call->arrived_tag_);
  }
  void OnArrived(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    Post(method_);
    stream_.Finish(ToGrpcStatus(absl::UnimplementedError(method_->text)), &finished_tag_);
  }
  void OnFinished(bool) { delete this; }

  const std::shared_ptr<const Method> method_;
  grpc::ServerContext context_;
  Stream stream_;
  MemberTag<RefusedStream> arrived_tag_;
  MemberTag<RefusedStream> finished_tag_;
};

}  // namespace baton::api

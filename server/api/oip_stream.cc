#include "server/api/oip_stream.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/api/grpc_status.h"
#include "server/api/oip_inference.h"
#include "server/api/reply_metadata.h"
#include "server/api/unary_call.h"

namespace baton::api {
namespace {

// Triton's clients look at it to know that no other reply to the same request comes.
const std::string& FinalResponse() {
  static const std::string name = "triton_final_response";
  return name;
}

}  // namespace

bool StreamSet::Add(StreamCall& stream) {
  MutexLock lock(mu_);
  if (closed_) return false;
  streams_.insert(&stream);
  return true;
}

void StreamSet::Remove(StreamCall& stream) {
  MutexLock lock(mu_);
  streams_.erase(&stream);
}

void StreamSet::Close() {
  MutexLock lock(mu_);
  closed_ = true;
  // A stream that goes waits in Remove meanwhile.
  for (StreamCall* stream : streams_) stream->Close();
}

void StreamCall::Post(std::shared_ptr<const Method> method) {
  auto* call = new StreamCall(std::move(method));
  const Method& m = *call->method_;
  call->context_.AsyncNotifyWhenDone(&call->done_tag_);
  m.service.RequestModelStreamInfer(&call->context_, &call->stream_, m.loop.queue(), m.loop.queue(),
                                    &call->arrived_tag_);
}

StreamCall::StreamCall(std::shared_ptr<const Method> method)
    : method_(std::move(method)),
      stream_(&context_),
      arrived_tag_(*this, &StreamCall::OnArrived),
      read_tag_(*this, &StreamCall::OnRead),
      written_tag_(*this, &StreamCall::OnWritten),
      finished_tag_(*this, &StreamCall::OnFinished),
      done_tag_(*this, &StreamCall::OnDone) {
  method_->loop.CallPosted();
}

StreamCall::~StreamCall() {
  method_->streams.Remove(*this);
  method_->loop.CallGone();
}

void StreamCall::OnArrived(bool ok) {
  if (!ok) {  // the server is shutting down; no other event comes
    delete this;
    return;
  }
  Post(method_);
  deadline_ = DeadlineOf(context_);
  ChooseCompression(context_);
  const absl::Status allowed = method_->loop.CheckCaller(Access::kData, context_);
  const bool serve = method_->streams.Add(*this);
  MutexLock lock(mu_);
  if (!allowed.ok()) {
    finishing_ = true;
    stream_.Finish(ToGrpcStatus(allowed), &finished_tag_);
    return;
  }
  closing_ = closing_ || !serve;
  MaybeRead();
  Continue();
}

void StreamCall::OnRead(bool ok) {
  Request* started = nullptr;
  bool over = false;
  {
    MutexLock lock(mu_);
    reading_ = false;
    if (!ok) {
      last_read_ = true;
    } else if (!finishing_) {
      started = next_.get();
      started->bytes = started->message.ByteSizeLong();
      bytes_ += started->bytes;
      ++running_;
      requests_.push_back(std::move(next_));
    }
    if (started == nullptr) Continue();
    over = Over();
  }
  if (over) {
    delete this;
    return;
  }
  if (started == nullptr) return;
  Start(*started);
  MutexLock lock(mu_);
  MaybeRead();
  Continue();
}

void StreamCall::Start(Request& request) {
  CallTerms terms;
  terms.method = serving::Method::kModelStreamInfer;
  terms.deadline = deadline_;
  terms.cancelled = cancelled_;
  terms.lane = method_->loop.lane();
  terms.max_tensor_bytes = method_->max_tensor_bytes;
  Infer(method_->server, request.message, std::move(terms), *request.reply.mutable_infer_response(),
        [this, &request](const absl::Status& status) { Answer(request, status); });
}

void StreamCall::Answer(Request& request, const absl::Status& status) {
  inference::ModelInferResponse& response = *request.reply.mutable_infer_response();
  if (!status.ok()) {
    const std::string text = ToGrpcStatus(status).error_message();
    request.reply.set_error_message(text.empty() ? absl::StatusCodeToString(status.code()) : text);
    response.Clear();
    response.set_id(request.message.id());
    response.set_model_name(request.message.model_name());
    response.set_model_version(request.message.model_version());
  }
  (*response.mutable_parameters())[FinalResponse()].set_bool_param(true);
  MutexLock lock(mu_);
  request.ready = true;
  --running_;
  Continue();
}

void StreamCall::OnWritten(bool ok) {
  bool over = false;
  {
    MutexLock lock(mu_);
    writing_ = false;
    bytes_ -= requests_.front()->bytes;
    requests_.pop_front();
    if (!ok) Break();
    MaybeRead();
    Continue();
    over = Over();
  }
  if (over) delete this;
}

void StreamCall::OnFinished(bool) {
  bool over = false;
  {
    MutexLock lock(mu_);
    finished_ = true;
    over = Over();
  }
  if (over) delete this;
}

void StreamCall::OnDone(bool) {
  bool over = false;
  {
    MutexLock lock(mu_);
    done_ = true;
    if (context_.IsCancelled()) Break();
    Continue();
    over = Over();
  }
  if (over) delete this;
}

void StreamCall::Close() {
  MutexLock lock(mu_);
  closing_ = true;
  Continue();
}

void StreamCall::Break() {
  broken_ = true;
  cancelled_->store(true, std::memory_order_relaxed);
}

void StreamCall::MaybeRead() {
  if (reading_ || last_read_ || closing_ || broken_ || finishing_) return;
  if (requests_.size() >= kMostRequests || bytes_ >= kMostBytes) return;
  reading_ = true;
  next_ = std::make_unique<Request>();
  stream_.Read(&next_->message, &read_tag_);
}

void StreamCall::Continue() {
  if (writing_ || finishing_) return;
  if (!broken_ && !requests_.empty() && requests_.front()->ready) {
    writing_ = true;
    stream_.Write(requests_.front()->reply, &written_tag_);
    return;
  }
  // A read that is still under way ends with the stream.
  const bool no_more = last_read_ || closing_ || broken_;
  if (!no_more || running_ > 0 || (!broken_ && !requests_.empty())) return;
  finishing_ = true;
  const absl::Status end = broken_      ? absl::CancelledError("the stream was cut off")
                           : last_read_ ? absl::OkStatus()
                                        : absl::UnavailableError("the server is shutting down");
  stream_.Finish(ToGrpcStatus(end), &finished_tag_);
}

bool StreamCall::Over() const {
  return finished_ && done_ && !reading_ && !writing_ && running_ == 0;
}

}  // namespace baton::api

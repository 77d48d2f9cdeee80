// StreamCall: one ModelStreamInfer on a CallLoop, from being posted to its last event. It owns
// itself.
//
// Each request that arrives is run as ModelInfer; they run at the same time, and their replies go
// out in the order of the requests, as Triton's do. What goes wrong with one is told in its reply's
// error_message, beside its id, and ends nothing else. A client that has more requests under way
// than kMostRequests, or kMostBytes of them, is read from again when some are answered. When the
// client hangs up, requests that have not run yet are not run.
//
// Threads: events and reading belong to the loop; replies are written by whichever thread has
// finished the one that is next.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <set>

#include "engine/base/mutex.h"
#include "proto/grpc_service.grpc.pb.h"
#include "server/api/call_loop.h"
#include "server/api/run.h"

namespace baton::api {

class StreamCall;

// The streams of a service, so that it can end them. Thread-safe; outlives them.
class StreamSet {
 public:
  // False if they are to end: then `stream` is not added.
  bool Add(StreamCall& stream) ABSL_LOCKS_EXCLUDED(mu_);
  void Remove(StreamCall& stream) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends every stream, now and later, once what has arrived on it is answered.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Mutex mu_;
  std::set<StreamCall*> streams_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;  // goes true once, never back
};

class StreamCall {
 public:
  static constexpr size_t kMostRequests = 1024;
  static constexpr size_t kMostBytes = size_t{128} << 20;

  // What all streams of one loop share; outlives them.
  struct Method {
    CallLoop& loop;
    inference::GRPCInferenceService::AsyncService& service;
    serving::ModelServer& server;
    size_t max_tensor_bytes;
    StreamSet& streams;
  };

  // Posts one stream; each that arrives posts the next.
  static void Post(std::shared_ptr<const Method> method);

  // Reads no more, answers what has arrived, and ends with kUnavailable.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Stream = grpc::ServerAsyncReaderWriter<inference::ModelStreamInferResponse,
                                               inference::ModelInferRequest>;
  struct Request {
    inference::ModelInferRequest message;
    inference::ModelStreamInferResponse reply;
    size_t bytes = 0;
    bool ready = false;  // `reply` is complete
  };

  explicit StreamCall(std::shared_ptr<const Method> method);
  ~StreamCall();

  void OnArrived(bool ok);
  void OnRead(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  void OnWritten(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  void OnFinished(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone(bool ok) ABSL_LOCKS_EXCLUDED(mu_);

  void Start(Request& request);
  void Answer(Request& request, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // Reads the next request, if there is room for one and one may come.
  void MaybeRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Writes the next reply, if it is ready, or ends the stream, if nothing is left to do.
  void Continue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // True if no event is to come any more and nobody holds a request: the stream can go.
  bool Over() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Break() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<const Method> method_;
  grpc::ServerContext context_;
  Stream stream_;
  MemberTag<StreamCall> arrived_tag_;
  MemberTag<StreamCall> read_tag_;
  MemberTag<StreamCall> written_tag_;
  MemberTag<StreamCall> finished_tag_;
  MemberTag<StreamCall> done_tag_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  SteadyTime deadline_ = kNoDeadline;

  Mutex mu_;
  std::unique_ptr<Request> next_ ABSL_GUARDED_BY(mu_);                  // being read
  std::deque<std::unique_ptr<Request>> requests_ ABSL_GUARDED_BY(mu_);  // read, in order
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;                               // of `requests_`
  size_t running_ ABSL_GUARDED_BY(mu_) = 0;                             // of `requests_`, not ready
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool last_read_ ABSL_GUARDED_BY(mu_) = false;  // the client sends no more
  bool closing_ ABSL_GUARDED_BY(mu_) = false;    // the server reads no more
  bool broken_ ABSL_GUARDED_BY(mu_) = false;     // nobody is there to take replies
  bool finishing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;  // gRPC has said how the call ended
};

}  // namespace baton::api

// FakeServer: an inference server in this process that speaks both protocols as a test tells it to.
// Its models: "affine", y = x + version over float x[?,4]; and "digits", ten scores for float
// image[?,784], highest at the label that the image's first pixel gives.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/mutex.h"

namespace baton::testing {

class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  std::string address() const;

  // The version that answers the n-th predict (from 0), and the status it gives. Set them before
  // the first call. Default: 1, and OK.
  std::function<int64_t(int64_t n)> version = [](int64_t) { return 1; };
  std::function<grpc::Status(int64_t n)> status = [](int64_t) { return grpc::Status::OK; };
  // Whether RepositoryIndex is served.
  std::atomic<bool> has_index{true};
  // While set, a predict waits until its caller gives up.
  std::atomic<bool> hold{false};

  // Waits until `n` predicts have come.
  void WaitForPredicts(int64_t n);
  int64_t predicts();

 private:
  class TensorFlowServing;
  class Models;
  class OpenInference;
  // Counts a predict; its version, or what it fails with.
  grpc::Status Begin(grpc::ServerContext* context, int64_t* version);

  Mutex mu_;
  CondVar came_;
  int64_t predicts_ ABSL_GUARDED_BY(mu_) = 0;
  std::unique_ptr<TensorFlowServing> tensorflow_serving_;
  std::unique_ptr<Models> models_;
  std::unique_ptr<OpenInference> open_inference_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace baton::testing

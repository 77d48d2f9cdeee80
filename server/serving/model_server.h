// ModelServer: the whole of serving behind one door, without any protocol. It watches a
// repository, loads versions, swaps them, runs requests. The API layer uses this, Registry,
// Servable and Metrics, and nothing else of this folder. Thread-safe after Start.
//
// Threads it owns: `workers` workers, one watcher, one loader (loads and frees versions), one
// compiler (plans for shapes first seen in traffic). All are joined by Stop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/model.h"
#include "server/serving/executor.h"
#include "server/serving/metrics.h"
#include "server/serving/registry.h"
#include "server/serving/runtime.h"

namespace baton::serving {

struct ModelServerOptions {
  struct NamedModel {
    std::string name;
    std::string base_path;  // holds the version directories
  };
  std::string repository;          // every sub-directory is a model; or:
  std::vector<NamedModel> models;  // exactly these

  double poll_seconds = 1;     // 0: the repository is read once, at Start
  int workers = 0;             // 0: AvailableCores()
  int threads_per_worker = 0;  // 0: 1, and all cores for a request that is alone
  engine::Precision precision = engine::Precision::kF32;
  bool enable_batching = true;
  int64_t max_batch_rows = 32;        // most rows that one execution takes from several requests
  int64_t max_request_rows = 16384;   // most rows of one request where its model sets no limit
  int max_queue_size = 4096;          // tasks waiting for one version, unless its config says
  double max_queue_seconds = 10;      // work waiting for one version, as estimated
  double max_inline_seconds = 20e-6;  // cheaper requests run on the thread that submits them
  int loader_nice = 10;               // scheduling priority of the loader, 0 … 19

  // kInvalidArgument, naming the option, its value and what is allowed.
  absl::Status Validate() const;
};

class ModelServer {
 public:
  explicit ModelServer(ModelServerOptions options);
  // For tests: with another engine.
  ModelServer(ModelServerOptions options, std::unique_ptr<Runtime> runtime);
  // Stop(). REQUIRES: nobody holds a servable any more.
  ~ModelServer();
  ModelServer(const ModelServer&) = delete;
  ModelServer& operator=(const ModelServer&) = delete;

  // Starts all threads. Does not wait for models. kInvalidArgument for wrong options, kNotFound or
  // kPermissionDenied for a repository that is not there or cannot be read; an empty one is fine.
  // REQUIRES: called once.
  absl::Status Start();

  // True from the moment on when every model found by the first scan serves or has failed, while
  // at least one model serves and BeginDrain has not been called. An empty repository is not
  // ready, and a server whose last model vanishes is not ready any more.
  bool Ready() const;

  // Not ready from now on; requests are still served, so that load balancers can go elsewhere.
  void BeginDrain();
  // Refuses new requests (Registry::Acquire gives kUnavailable) and waits until all that were
  // submitted are answered, or `deadline`. True if all were answered.
  bool Drain(SteadyTime deadline);
  // Joins all threads; what is still queued is answered with kUnavailable.
  void Stop();

  Registry& registry();
  Metrics& metrics();

  // For a thread that submits requests: put it into Task::executor. Made on that thread.
  std::unique_ptr<Executor> NewExecutor() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace baton::serving

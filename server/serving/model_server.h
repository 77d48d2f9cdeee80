// ModelServer: the whole of serving behind one door, without any protocol. It watches a
// repository, loads versions, swaps them, runs requests. The API layer uses this, Registry,
// Servable and Metrics, and nothing else of this folder. Thread-safe after Start.
//
// Threads it owns: `workers` workers, one watcher, one lifecycle (decides and frees),
// `load_threads` loaders, one compiler (plans for shapes first seen in traffic), one control
// (requests to change what is served, and the config file). All are joined by Stop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/model.h"
#include "server/repository/batching_parameters.h"
#include "server/repository/model_settings.h"
#include "server/repository/server_config.h"
#include "server/serving/executor.h"
#include "server/serving/metrics.h"
#include "server/serving/registry.h"
#include "server/serving/runtime.h"
#include "server/serving/version_load.h"

namespace baton::serving {

struct ModelServerOptions {
  // What a request may change, and what the server follows by itself.
  enum class Control {
    kPoll,      // models, versions and configs are followed
    kNone,      // everything is read once, at Start
    kExplicit,  // of the repository only what was asked for is loaded, and read only when asked
  };

  std::string repository;                       // every sub-directory is a model
  std::vector<repository::ModelSource> models;  // single ones, besides
  Control control = Control::kPoll;
  std::vector<std::string> load_models;  // kExplicit: of the repository, at Start
  std::string config_file;               // a ModelServerConfig of more models; "": none
  double config_poll_seconds = 0;        // between two readings of it; 0: once
  bool allow_labels_of_absent = false;   // requests may label versions that are not ready yet

  double poll_seconds = 1;     // between two looks at the models, with kPoll; 0: once
  int workers = 0;             // 0: AvailableCores()
  int threads_per_worker = 0;  // 0: 1, and all cores for a request that is alone
  engine::Precision precision = engine::Precision::kF32;
  bool enable_batching = true;
  repository::BatchingParameters batching_parameters = {};
  bool per_model_batching = false;    // versions may bring their own
  int64_t max_batch_rows = 32;        // most rows that one execution takes from several requests
  int64_t max_request_rows = 16384;   // most rows of one request where its model sets no limit
  int max_queue_size = 4096;          // tasks waiting for one version, unless its config says
  double max_queue_seconds = 10;      // work waiting for one version, as estimated
  double max_inline_seconds = 20e-6;  // cheaper requests run on the thread that submits them
  int loader_nice = 15;               // scheduling priority of the loader, 0 … 19
  int load_threads = 2;               // models that load at once
  int load_retries = 0;               // of a version that failed, with unchanged content
  double load_retry_seconds = 60;     // between these
  int64_t memory_limit_bytes = 0;     // of the process: loads that would pass it fail; 0: none
  // As in LoaderOptions.
  bool model_warmup = true;
  WarmUpRequests warm_up_requests = {};

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

  // Requests to change what is served. Each calls `done` once, when what it asks for has been done
  // or refused, on a thread of the server's (or inside the call after Stop); one is carried out
  // after the other. kUnavailable when the server stops meanwhile.
  using Done = std::function<void(const absl::Status&)>;
  // With Control::kExplicit: reads the model's directory anew and loads what its version policy
  // wants; `config`: JSON of a ModelConfig, instead of its config.pbtxt. The error of the load if
  // no version serves then, or one that was to be loaded failed; kFailedPrecondition without
  // explicit control; kNotFound if the repository has no such model.
  void LoadModel(const std::string& name, std::optional<std::string> config, Done done);
  // Hides all versions of the model; they are freed when their requests are answered.
  void UnloadModel(const std::string& name, Done done);
  // The models named by request from now on are those of `config`, which are loaded besides all
  // others; those named by earlier requests only are unloaded. kInvalidArgument, and nothing
  // changes, for a config that cannot be. Else waits until everything is loaded or has failed,
  // and gives the first failure of a model that has no version that serves.
  void ReloadConfig(repository::ServerConfig config, Done done);
  // Points a label of the model at a version, or takes it away (0). kNotFound: no such model or
  // version; kFailedPrecondition: the version is not ready, and allow_labels_of_absent is not set.
  void SetLabel(const std::string& model, const std::string& label, int64_t version, Done done);

  // Gives `done` the models of the repository, also those that are not loaded; with what is wrong
  // with them. Calls it once: with Control::kExplicit, where directories have to be read, on the
  // lifecycle's thread, else before it returns.
  void Index(std::function<void(std::vector<ModelStatus>)> done) const;

  Registry& registry();
  Metrics& metrics();

  // For the InlineLane of a thread that submits requests. Made on that thread.
  std::unique_ptr<Executor> NewExecutor() const;

 private:
  struct State;
  void Control(std::function<absl::Status(State&)> request, Done done);
  const std::unique_ptr<State> state_;
};

}  // namespace baton::serving

// LoadVersion: everything between a version's directory and a model that may serve: verify the
// manifest, parse, compare with the config, run the golden samples, compile and warm up. Needs
// nothing of a server: `baton-model verify` goes the same way and gives the same reasons.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/golden.h"
#include "engine/model.h"
#include "server/repository/batching_parameters.h"
#include "server/repository/manifest.h"
#include "server/repository/model_config.h"
#include "server/serving/plan_set.h"
#include "server/serving/runtime.h"
#include "server/serving/servable.h"
#include "server/serving/version_state.h"
#include "server/serving/warm_up.h"

namespace baton::serving {

// Runs the warm-up requests that a version's directory holds in the form of a protocol, of which
// this folder knows none. `servable` runs what is submitted inside Submit. An error fails the load.
using WarmUpRequests = std::function<absl::Status(const std::string& version_directory,
                                                  const std::shared_ptr<Servable>& servable)>;

struct LoaderOptions {
  engine::Precision precision = engine::Precision::kF32;  // unless the model's config says
  bool batching = true;                                   // false: every request runs alone
  int64_t max_batch_rows = 32;                            // of one execution, from several requests
  int64_t max_request_rows = 16384;                       // where the model's config sets no limit
  int max_queue_size = 4096;                              // where the model's config sets none
  double max_queue_seconds = 10;
  double max_inline_seconds = 20e-6;
  int workers = 1;                                          // that run batches
  int parallel_threads = 1;                                 // for a request that is alone
  repository::BatchingParameters batching_parameters = {};  // where the model's config says nothing
  bool per_model_batching = false;       // a version's kBatchingFile counts more than these
  bool model_warmup = true;              // run the requests that a model brings for its warm-up
  WarmUpRequests warm_up_requests = {};  // of these, those of a protocol; may be null
};

struct LoadRequest {
  std::string model;
  int64_t version = 0;
  std::string directory;  // of the version; the one above it is the model's
  repository::ModelConfig config;
  // Of the version being replaced: the shapes and sizes that it runs, and what they cost.
  std::map<ShapeKey, std::vector<int64_t>> sizes = {};
  std::optional<Measured> before = {};
  std::string model_file = repository::kModelFile;  // in `directory`
  // Of the golden samples, instead of the manifest's.
  std::optional<double> rtol = {};
  std::optional<double> atol = {};
};

struct LoadedVersion {
  std::shared_ptr<const engine::Model> model;
  WarmUpResult warm;
  repository::BatchingParameters batching;  // as they hold for this version
  int64_t max_batch_rows = 1;               // of one execution
  int64_t max_request_rows = 1;             // of one request
};

struct VersionLoad {
  std::optional<LoadedVersion> loaded;                  // no value: it failed,
  absl::Status error;                                   // this is why,
  std::string reason;                                   // and that in a word: "verify", "parse" …
  std::vector<std::pair<std::string, double>> seconds;  // by phase, of those that were completed
  std::vector<std::string> warnings;
  std::optional<engine::GoldenResult> golden;  // where there are samples and they were run
};

// `enter` is called as the load enters a state: kVerifying, kLoading, kWarming. Blocks; does
// nothing that serving waits for.
VersionLoad LoadVersion(const LoaderOptions& options, const LoadRequest& request, Runtime& runtime,
                        const Clock& clock, const std::function<void(VersionState)>& enter);

}  // namespace baton::serving

// Loader: makes one version directory into a servable, or says why not: verify the manifest,
// parse, compare with the config, run the golden samples, compile and warm up. Used by one thread,
// which does nothing that serving waits for.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "server/repository/batching_parameters.h"
#include "server/repository/model_config.h"
#include "server/serving/model_servable.h"
#include "server/serving/runtime.h"
#include "server/serving/version_state.h"

namespace baton::serving {

struct LoaderOptions {
  engine::Precision precision = engine::Precision::kF32;  // unless the model's config says
  bool batching = true;                                   // false: every request runs alone
  int64_t max_batch_rows = 32;                            // of one execution, from several requests
  int64_t max_request_rows = 16384;                       // where the model's config sets no limit
  int max_queue_size = 4096;                              // where the model's config sets none
  double max_queue_seconds = 10;
  double max_inline_seconds = 20e-6;
  int parallel_threads = 1;                                 // for a request that is alone
  repository::BatchingParameters batching_parameters = {};  // where the model's config says nothing
  bool per_model_batching = false;  // a version's kBatchingFile counts more than these
};

struct LoadRequest {
  std::string model;
  int64_t version = 0;
  std::string directory;
  repository::ModelConfig config;
  // Shapes and sizes that the version being replaced runs.
  std::map<ShapeKey, std::vector<int64_t>> sizes = {};
};

struct LoadResult {
  std::unique_ptr<ModelServable> servable;  // null if the load failed
  absl::Status error;                       // why
  std::string reason;                       // in a word, for metrics: "verify", "parse" …
};

class Loader {
 public:
  // `runtime` and what `context` refers to outlive the loader and its servables.
  Loader(const LoaderOptions& options, Runtime& runtime, const ServableContext& context);

  // Loads. `enter` is called as the load enters a state: kVerifying, kLoading, kWarming.
  LoadResult Load(const LoadRequest& request, const std::function<void(VersionState)>& enter) const;

 private:
  class Attempt;

  const LoaderOptions options_;
  Runtime& runtime_;
  const ServableContext context_;
};

}  // namespace baton::serving

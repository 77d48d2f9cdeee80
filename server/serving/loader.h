// Loader: makes one version directory into a servable, or says why not (see version_load.h). Used
// by one thread, which does nothing that serving waits for.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/serving/model_servable.h"
#include "server/serving/runtime.h"
#include "server/serving/version_load.h"
#include "server/serving/version_state.h"

namespace baton::serving {

struct LoadResult {
  std::unique_ptr<ModelServable> servable;  // null if the load failed
  absl::Status error;                       // why
  std::string reason;                       // in a word, for metrics: "verify", "parse" …
};

class Loader {
 public:
  // `runtime` and what `context` refers to outlive the loader and its servables.
  Loader(const LoaderOptions& options, Runtime& runtime, const ServableContext& context);

  // Loads. `enter` as for LoadVersion.
  LoadResult Load(const LoadRequest& request, const std::function<void(VersionState)>& enter) const;

 private:
  QueueLimits Limits(const repository::ModelConfig& config, const LoadedVersion& loaded) const;
  ServableOptions OptionsOfServable(const repository::ModelConfig& config,
                                    const LoadedVersion& loaded) const;

  const LoaderOptions options_;
  Runtime& runtime_;
  const ServableContext context_;
};

}  // namespace baton::serving

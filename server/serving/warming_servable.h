// WarmingServable: a version that does not serve yet, for the requests that it is warmed up with.
// What is submitted runs inside Submit, on the caller's thread and executor, so that it takes
// nothing from those who serve; and through plans that are compiled first and that requests will
// use later. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/clock.h"
#include "engine/model.h"
#include "server/repository/model_config.h"
#include "server/serving/executor.h"
#include "server/serving/metrics.h"
#include "server/serving/plan_set.h"
#include "server/serving/registry.h"
#include "server/serving/servable.h"
#include "server/serving/warm_up.h"

namespace baton::serving {

class WarmingServable final : public Servable {
 public:
  // `warm` is what WarmUp found out about `model`; it takes in the plans. `max_request_rows` as
  // in ServableOptions. What is given by reference outlives this.
  WarmingServable(std::string name, int64_t version, const engine::Model& model,
                  const repository::ModelConfig& config, int64_t max_request_rows,
                  WarmUpResult& warm, Executor& executor, const Clock& clock);

  const std::string& model() const override { return name_; }
  int64_t version() const override { return version_; }
  const engine::Signature& signature() const override { return model_.signature(); }
  const repository::ModelConfig& config() const override { return config_; }
  int64_t max_batch_size() const override { return warm_.batched ? max_request_rows_ : 0; }
  // Nobody's: warm-up is no traffic.
  VersionMetrics& metrics() override { return *version_metrics_; }
  // Runs `task` and calls its `done`. Errors of CheckTask and of Model::GetPlan.
  absl::Status Submit(Task task) override;

 private:
  absl::StatusOr<std::shared_ptr<const PlanSet>> PlansFor(const ShapeKey& key, int64_t rows);

  const std::string name_;
  const int64_t version_;
  const engine::Model& model_;
  const repository::ModelConfig& config_;
  const int64_t max_request_rows_;
  WarmUpResult& warm_;
  Executor& executor_;
  const Clock& clock_;
  Registry registry_;
  Metrics metrics_{registry_};
  const std::shared_ptr<VersionMetrics> version_metrics_;
};

}  // namespace baton::serving

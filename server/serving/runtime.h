// Runtime: the engine as the loader sees it. The real one is EngineRuntime; tests of loading and
// swapping put a fake in its place. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/golden.h"
#include "engine/model.h"
#include "server/serving/executor.h"

namespace baton::serving {

class Runtime {
 public:
  virtual ~Runtime() = default;
  // As engine::Model::Load.
  virtual absl::StatusOr<std::shared_ptr<const engine::Model>> Load(
      const std::string& path, const engine::ModelOptions& options) = 0;
  // As engine::ReadGoldenSamples.
  virtual absl::StatusOr<std::vector<engine::GoldenSample>> ReadSamples(
      const std::string& directory, const engine::Signature& signature) = 0;
  // As engine::RunGoldenSample, one sample after another; the first error, after all have run.
  virtual absl::Status CheckSamples(const engine::Model& model,
                                    const std::vector<engine::GoldenSample>& samples,
                                    const engine::Tolerance& tolerance, int threads,
                                    engine::GoldenResult& result) = 0;
  // Called on the thread that uses the executor.
  virtual std::unique_ptr<Executor> NewExecutor() = 0;
  // Bytes of memory that the process has in use now, all models included.
  virtual int64_t MemoryInUse() = 0;
};

class EngineRuntime final : public Runtime {
 public:
  absl::StatusOr<std::shared_ptr<const engine::Model>> Load(
      const std::string& path, const engine::ModelOptions& options) override;
  absl::StatusOr<std::vector<engine::GoldenSample>> ReadSamples(
      const std::string& directory, const engine::Signature& signature) override;
  absl::Status CheckSamples(const engine::Model& model,
                            const std::vector<engine::GoldenSample>& samples,
                            const engine::Tolerance& tolerance, int threads,
                            engine::GoldenResult& result) override;
  std::unique_ptr<Executor> NewExecutor() override;
  int64_t MemoryInUse() override;
};

}  // namespace baton::serving

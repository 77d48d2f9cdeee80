#include "server/serving/runtime.h"

#include "engine/session.h"
#include "server/serving/memory_budget.h"

namespace baton::serving {

absl::StatusOr<std::shared_ptr<const engine::Model>> EngineRuntime::Load(
    const std::string& path, const engine::ModelOptions& options) {
  return engine::Model::Load(path, options);
}

absl::StatusOr<std::vector<engine::GoldenSample>> EngineRuntime::ReadSamples(
    const std::string& directory, const engine::Signature& signature) {
  return engine::ReadGoldenSamples(directory, signature);
}

absl::Status EngineRuntime::CheckSamples(const engine::Model& model,
                                         const std::vector<engine::GoldenSample>& samples,
                                         const engine::Tolerance& tolerance, int threads,
                                         engine::GoldenResult& result) {
  engine::Session session;
  absl::Status status;
  for (const engine::GoldenSample& sample : samples) {
    status.Update(engine::RunGoldenSample(model, session, sample, tolerance, threads, &result));
  }
  return status;
}

int64_t EngineRuntime::MemoryInUse() { return ProcessMemoryInUse(); }

std::unique_ptr<Executor> EngineRuntime::NewExecutor() {
  return std::make_unique<SessionExecutor>();
}

}  // namespace baton::serving

// A fake engine for tests of serving: y = scale * x + offset over float[batch, 4], computed without
// oneDNN, with switches for everything that can go wrong.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/serving/executor.h"
#include "server/serving/runtime.h"

namespace baton::testing {

struct FakeModelOptions {
  float scale = 1;
  float offset = 0;
  bool mixes_rows = false;      // adds the mean of all rows to each
  bool mixes_columns = false;   // adds the mean of its row to each
  bool free_columns = false;    // x is float[batch, columns]
  bool fixed_batch = false;     // x is float[1, 4]
  int64_t reject_columns = -1;  // GetPlan refuses this many columns
  float reject_value = -1e30F;  // Run refuses x[row, 0] of this value
  uint64_t structure = 1;       // as Model::structure
  std::string fault = {};       // of every Run: "nan", "error", "slow" (by about 1 ms)
};

class FakeModel;

class FakePlan final : public engine::Plan {
 public:
  FakePlan(const FakeModelOptions& options, std::vector<Shape> shapes, int threads)
      : options(options), shapes_(std::move(shapes)), threads_(threads) {}
  int threads() const override { return threads_; }
  const std::vector<Shape>& input_shapes() const override { return shapes_; }
  const std::vector<Shape>& output_shapes() const override { return shapes_; }
  size_t arena_bytes() const override { return 0; }
  const std::vector<engine::StepInfo>& steps() const override { return steps_; }

  const FakeModelOptions options;

 private:
  const std::vector<Shape> shapes_;
  const int threads_;
  const std::vector<engine::StepInfo> steps_;
};

class FakeModel final : public engine::Model {
 public:
  explicit FakeModel(const FakeModelOptions& options = {});
  ~FakeModel() override;
  const engine::Signature& signature() const override { return signature_; }
  uint64_t structure() const override { return options_.structure; }
  absl::StatusOr<std::shared_ptr<const engine::Plan>> GetPlan(absl::Span<const Shape> shapes,
                                                              int threads) const override;
  std::shared_ptr<const engine::Plan> FindPlan(absl::Span<const Shape>, int) const override {
    return nullptr;
  }
  size_t weight_bytes() const override { return 1000; }
  size_t plan_bytes() const override { return 100; }

  int plans_made() const { return plans_made_; }

  static int alive() { return alive_; }
  // Models destroyed on a thread that is neither "loader" nor "lifecycle".
  static int freed_elsewhere() { return freed_elsewhere_; }

 private:
  static std::atomic<int> alive_;
  static std::atomic<int> freed_elsewhere_;
  const FakeModelOptions options_;
  engine::Signature signature_;
  mutable std::atomic<int> plans_made_{0};
};

class FakeExecutor final : public serving::Executor {
 public:
  void* InputBuffer(const engine::Plan& plan, size_t index) override;
  absl::StatusOr<absl::Span<const TensorView>> Run(const engine::Plan& plan,
                                                   absl::Span<const TensorView> inputs) override;

  // What was run, in order: rows and threads of the plan, and where the input was.
  struct Call {
    int64_t rows;
    int threads;
    const void* input;
  };
  std::vector<Call> calls;
  std::function<void(const FakePlan&)> on_run;  // may be null

 private:
  std::map<size_t, std::vector<float>> buffers_;
  std::vector<float> output_;
  std::vector<TensorView> views_;
};

// Loads files of the text "scale offset [fault]", for instance "1 7" or "1 7 slow"; any other
// content is kInvalidArgument. A directory with a file `golden` has one sample; its text, if not
// empty, is the error it gives.
class FakeRuntime final : public serving::Runtime {
 public:
  absl::StatusOr<std::shared_ptr<const engine::Model>> Load(const std::string& path,
                                                            const engine::ModelOptions&) override;
  absl::StatusOr<std::vector<engine::GoldenSample>> ReadSamples(
      const std::string& directory, const engine::Signature& signature) override;
  absl::Status CheckSamples(const engine::Model& model,
                            const std::vector<engine::GoldenSample>& samples,
                            const engine::Tolerance& tolerance, int threads,
                            engine::GoldenResult& result) override;
  std::unique_ptr<serving::Executor> NewExecutor() override {
    auto executor = std::make_unique<FakeExecutor>();
    executor->on_run = [this](const FakePlan&) { ++runs_; };
    return executor;
  }
  int loads() const { return loads_; }
  int runs() const { return runs_; }  // of plans
  int64_t MemoryInUse() override { return memory_per_model * FakeModel::alive(); }

  // Set before the server starts.
  int64_t memory_per_model = 0;
  std::function<void(const std::string& path)> on_load;  // at the beginning of Load; may be null

 private:
  std::atomic<int> loads_{0};
  std::atomic<int> runs_{0};
};

// A row of four values and its view.
TensorView ViewOf(const std::vector<float>& values, int64_t columns = 4);

}  // namespace baton::testing

#include "tests/serving/fake_engine.h"

#include <pthread.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <limits>
#include <sstream>

#include "engine/base/file.h"

namespace baton::testing {

std::atomic<int> FakeModel::alive_{0};
std::atomic<int> FakeModel::freed_elsewhere_{0};

FakeModel::FakeModel(const FakeModelOptions& options) : options_(options) {
  ++alive_;
  engine::ValueInfo info{"x", DataType::kFloat, true, {{-1, "batch"}, {4, ""}}};
  if (options.free_columns) info.dims[1] = {-1, "columns"};
  if (options.fixed_batch) info.dims[0] = {1, ""};
  signature_.inputs.push_back(info);
  info.name = "y";
  signature_.outputs.push_back(info);
}

FakeModel::~FakeModel() {
  --alive_;
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof(name));
  if (std::strcmp(name, "loader") != 0 && std::strcmp(name, "lifecycle") != 0) ++freed_elsewhere_;
}

absl::StatusOr<std::shared_ptr<const engine::Plan>> FakeModel::GetPlan(
    absl::Span<const Shape> shapes, int threads) const {
  if (shapes.size() != 1 || shapes[0].size() != 2 || shapes[0][1] == options_.reject_columns ||
      (options_.fixed_batch && shapes[0][0] != 1)) {
    return absl::InvalidArgumentError("the fake model refuses this shape");
  }
  ++plans_made_;
  return std::make_shared<const FakePlan>(
      options_, std::vector<Shape>(shapes.begin(), shapes.end()), threads);
}

void* FakeExecutor::InputBuffer(const engine::Plan& plan, size_t index) {
  std::vector<float>& buffer = buffers_[index];
  buffer.resize(static_cast<size_t>(NumElements(plan.input_shapes()[index])));
  return buffer.data();
}

absl::StatusOr<absl::Span<const TensorView>> FakeExecutor::Run(
    const engine::Plan& plan, absl::Span<const TensorView> inputs) {
  const auto& fake = dynamic_cast<const FakePlan&>(plan);
  const Shape& shape = fake.input_shapes()[0];
  if (inputs.size() != 1 || inputs[0].shape != shape) {
    return absl::InternalError("the input's shape is not the plan's");
  }
  calls.push_back({shape[0], fake.threads(), inputs[0].data});
  if (fake.options.reject_value != -1e30F) {
    for (int64_t row = 0; row < shape[0]; ++row) {
      if (inputs[0].values<float>()[static_cast<size_t>(row * shape[1])] ==
          fake.options.reject_value) {
        return absl::InvalidArgumentError("the fake model refuses this value");
      }
    }
  }
  if (on_run) on_run(fake);
  if (fake.options.fault == "slow") {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
    while (std::chrono::steady_clock::now() < until) {
    }
  }
  const auto x = inputs[0].values<float>();
  // Of a code that warm-up, which makes its inputs up, does not mind.
  if (fake.options.fault == "error") {
    return absl::InvalidArgumentError("the fake model is broken");
  }
  float mean = 0;
  if (fake.options.mixes_rows) {
    for (const float value : x) mean += value / static_cast<float>(x.size());
  }
  output_.clear();
  const auto columns = static_cast<size_t>(shape[1]);
  for (size_t i = 0; i < x.size(); ++i) {
    if (fake.options.mixes_columns && i % columns == 0) {
      mean = 0;
      for (const float value : x.subspan(i, columns)) mean += value / static_cast<float>(columns);
    }
    output_.push_back(fake.options.scale * x[i] + fake.options.offset + mean);
  }
  if (fake.options.fault == "nan") output_[0] = std::numeric_limits<float>::quiet_NaN();
  views_ = {{DataType::kFloat, shape, output_.data()}};
  return absl::Span<const TensorView>(views_);
}

absl::StatusOr<std::shared_ptr<const engine::Model>> FakeRuntime::Load(
    const std::string& path, const engine::ModelOptions&) {
  ++loads_;
  if (on_load) on_load(path);
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  FakeModelOptions options;
  std::istringstream in(*text);
  if (!(in >> options.scale >> options.offset)) {
    return absl::InvalidArgumentError("not a fake model: " + *text);
  }
  in >> options.fault;
  return std::make_shared<const FakeModel>(options);
}

absl::StatusOr<std::vector<engine::GoldenSample>> FakeRuntime::ReadSamples(
    const std::string& directory, const engine::Signature&) {
  if (!std::filesystem::exists(directory + "/golden")) {
    return std::vector<engine::GoldenSample>{};
  }
  absl::StatusOr<std::string> text = ReadFile(directory + "/golden");
  if (!text.ok()) return text.status();
  return std::vector<engine::GoldenSample>{{*text, {Tensor(DataType::kFloat, {1, 4})}, {}}};
}

absl::Status FakeRuntime::CheckSamples(const engine::Model&,
                                       const std::vector<engine::GoldenSample>& samples,
                                       const engine::Tolerance&, int, engine::GoldenResult&) {
  for (const engine::GoldenSample& sample : samples) {
    if (!sample.name.empty()) return absl::FailedPreconditionError(sample.name);
  }
  return absl::OkStatus();
}

TensorView ViewOf(const std::vector<float>& values, int64_t columns) {
  return {
      DataType::kFloat, {static_cast<int64_t>(values.size()) / columns, columns}, values.data()};
}

}  // namespace baton::testing

// Whole networks against ONNX Runtime, which shares no code with the engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <ostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/model.h"
#include "engine/session.h"
#include "tests/support/nets.h"
#include "tests/support/onnxruntime.h"

namespace baton::engine {
namespace {

using testing::OnnxRuntime;
using testing::OrtSession;

struct Net {
  const char* name;
  std::string (*onnx)();
  Shape row;  // of the input, without the batch
  float low, high;
};

// How GoogleTest names a parameter that fails.
void PrintTo(const Net& net, std::ostream* out) { *out << net.name; }

const Net kMlp = {"Mlp", [] { return testing::MlpModel(); }, {784}, 0, 1};
const Net kResNet50 = {"ResNet50", [] { return testing::ResNet50Model(); }, {3, 224, 224}, -2, 2};
const Net kMobileNetV2 = {
    "MobileNetV2", [] { return testing::MobileNetV2Model(); }, {3, 224, 224}, -2, 2};
const Net kSqueezeNet = {
    "SqueezeNet", [] { return testing::SqueezeNetModel(); }, {3, 224, 224}, -2, 2};

Shape InputShape(const Net& net, int64_t batch) {
  Shape shape = {batch};
  shape.insert(shape.end(), net.row.begin(), net.row.end());
  return shape;
}

// Each network is made and loaded once for all tests: ResNet-50's file has 100 MB.
struct Loaded {
  std::string onnx;
  std::shared_ptr<const Model> model;
};
const Loaded& Load(const Net& net) {
  static auto& loaded = *new std::map<std::string, Loaded>;
  Loaded& entry = loaded[net.name];
  if (entry.model == nullptr) {
    entry.onnx = net.onnx();
    auto model = Model::Parse(entry.onnx, "", {});
    EXPECT_TRUE(model.ok()) << model.status();
    if (model.ok()) entry.model = *std::move(model);
  }
  return entry;
}

class OracleTest : public ::testing::TestWithParam<std::tuple<Net, int64_t, int>> {
 protected:
  static void SetUpTestSuite() {
    auto runtime = OnnxRuntime::Load();
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = runtime->release();
  }
  static void TearDownTestSuite() {
    delete runtime_;
    runtime_ = nullptr;
  }
  static OnnxRuntime* runtime_;
};
OnnxRuntime* OracleTest::runtime_ = nullptr;

TEST_P(OracleTest, ResultsEqualOnnxRuntimes) {
  const auto& [net, batch, threads] = GetParam();
  ASSERT_NE(runtime_, nullptr);
  const Loaded& loaded = Load(net);
  ASSERT_NE(loaded.model, nullptr);
  const Tensor x = testing::RandomTensor(InputShape(net, batch), net.low, net.high,
                                         static_cast<uint64_t>(batch));

  auto oracle = runtime_->NewSession(loaded.onnx, threads);
  ASSERT_TRUE(oracle.ok()) << oracle.status();
  const auto expected = (*oracle)->Run({x.view()});
  ASSERT_TRUE(expected.ok()) << expected.status();

  const auto plan = loaded.model->GetPlan({x.shape()}, threads);
  ASSERT_TRUE(plan.ok()) << plan.status();
  Session session;
  // Twice: the second run uses memory that the first has left behind.
  for (int run = 0; run < 2; ++run) {
    const auto actual = session.Run(**plan, {x.view()});
    ASSERT_TRUE(actual.ok()) << actual.status();
    ASSERT_EQ(actual->size(), 1u);
    ASSERT_EQ((*actual)[0].shape, (*expected)[0].shape());
    const auto want = (*expected)[0].values<float>();
    const auto got = (*actual)[0].values<float>();
    float scale = 0;
    for (const float value : want) scale = std::max(scale, std::abs(value));
    ASSERT_GT(scale, 0.05f) << "the network's output says nothing";
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-4f * scale) << "element " << i << ", run " << run;
    }
  }
}

template <typename Info>
std::string NameOf(const Info& info) {
  const auto& [net, batch, threads] = info.param;
  return absl::StrCat(net.name, "Batch", batch, "Threads", threads);
}

INSTANTIATE_TEST_SUITE_P(Nets, OracleTest,
                         ::testing::Combine(::testing::Values(kMlp, kResNet50, kMobileNetV2,
                                                              kSqueezeNet),
                                            ::testing::Values(1, 3, 8), ::testing::Values(1, 2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
// Where our own product gives way to oneDNN's, and where two threads share it.
INSTANTIATE_TEST_SUITE_P(LargeBatches, OracleTest,
                         ::testing::Combine(::testing::Values(kMlp),
                                            ::testing::Values(13, 31, 33, 64, 65),
                                            ::testing::Values(1, 2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);

// oneDNN falls back to these without a word, at a tenth of the speed or less.
class ConvolutionTest : public ::testing::TestWithParam<std::tuple<Net, int64_t, int>> {};

TEST_P(ConvolutionTest, UsesNoSlowImplementation) {
  const auto& [net, batch, threads] = GetParam();
  const Loaded& loaded = Load(net);
  ASSERT_NE(loaded.model, nullptr);
  const auto plan = loaded.model->GetPlan({InputShape(net, batch)}, threads);
  ASSERT_TRUE(plan.ok()) << plan.status();
  int convolutions = 0;
  for (const StepInfo& step : (*plan)->steps()) {
    if (!absl::StartsWith(step.op, "Conv")) continue;
    ++convolutions;
    EXPECT_FALSE(absl::StrContains(step.implementation, "ref") ||
                 absl::StrContains(step.implementation, "gemm:jit"))
        << step.node << " (" << step.op << "): " << step.implementation;
  }
  EXPECT_GE(convolutions, 26) << "steps are not named as expected";
}

INSTANTIATE_TEST_SUITE_P(Nets, ConvolutionTest,
                         ::testing::Combine(::testing::Values(kResNet50, kMobileNetV2, kSqueezeNet),
                                            ::testing::Values(1, 8), ::testing::Values(1, 2)),
                         NameOf<::testing::TestParamInfo<ConvolutionTest::ParamType>>);

TEST(ThreadsTest, RunningStartsThemCompilingDoesNotAndReleaseThreadsEndsThem) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  const Shape shape = InputShape(kSqueezeNet, 1);
  ReleaseThreads();  // those of tests before
  const auto at_first = threads();
  const auto model = Model::Parse(Load(kSqueezeNet).onnx, "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto plan = (*model)->GetPlan({shape}, 2);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(threads(), at_first);

  const Tensor x = testing::RandomTensor(shape, kSqueezeNet.low, kSqueezeNet.high, 1);
  Session session;
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(session.Run(**plan, {x.view()}).ok());
    EXPECT_EQ(threads(), at_first + 1);
    ReleaseThreads();
#ifndef __clang__  // whose OpenMP only puts them to sleep
    EXPECT_EQ(threads(), at_first);
#endif
  }
}

}  // namespace
}  // namespace baton::engine

// Whole networks against ONNX Runtime, which shares no code with the engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <ostream>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/dnnl_util.h"
#include "engine/model.h"
#include "engine/session.h"
#include "engine/tensor_types.h"
#include "tests/support/nets.h"
#include "tests/support/onnxruntime.h"

namespace baton::engine {
namespace {

using testing::OnnxRuntime;
using testing::OrtSession;

struct Net {
  std::string name;
  std::function<std::string()> onnx;
  std::function<std::vector<Tensor>(int64_t batch)> inputs;
};

// How GoogleTest names a parameter that fails.
void PrintTo(const Net& net, std::ostream* out) { *out << net.name; }

// Inputs of one tensor: rows of `row` within [low, high).
std::function<std::vector<Tensor>(int64_t)> Rows(const Shape& row, float low, float high) {
  return [=](int64_t batch) {
    Shape shape = {batch};
    shape.insert(shape.end(), row.begin(), row.end());
    return std::vector<Tensor>{
        testing::RandomTensor(shape, low, high, static_cast<uint64_t>(batch))};
  };
}

// The class of image `i` of a batch; see `fitted` in tests/nets/export.py.
size_t ClassOf(int64_t i) { return static_cast<size_t>((i * 5 + 3) % 16); }

// Images of a class, with noise.
std::vector<Tensor> Patterns(int64_t batch) {
  constexpr int64_t kSize = 224;
  Tensor images =
      testing::RandomTensor({batch, 3, kSize, kSize}, -0.2f, 0.2f, static_cast<uint64_t>(batch));
  const auto values = images.mutable_values<float>();
  size_t at = 0;
  for (int64_t i = 0; i < batch; ++i) {
    const auto wanted = static_cast<double>(ClassOf(i));
    const double across = std::fmod(wanted, 4) + 1, down = std::floor(wanted / 4) + 1;
    for (int channel = 0; channel < 3; ++channel) {
      for (int64_t y = 0; y < kSize; ++y) {
        for (int64_t x = 0; x < kSize; ++x) {
          const double waves =
              (across * static_cast<double>(x) + down * static_cast<double>(y)) / kSize;
          values[at++] += static_cast<float>(std::sin(8 * M_PI * waves + channel));
        }
      }
    }
  }
  return {images};
}

template <typename To>
Tensor ConvertedTo(const Tensor& from) {
  Tensor to(DataTypeOf<To>(), from.shape());
  const auto convert = [&](const auto& values) {
    std::transform(values.begin(), values.end(), to.mutable_values<To>().begin(),
                   [](auto value) { return ConvertElement<To>(value); });
  };
  if (from.type() == DataType::kFloat16) {
    convert(from.values<Float16>());
  } else {
    convert(from.values<float>());
  }
  return to;
}

// Words, and which of them count: each text of a batch is shorter than the one before.
std::function<std::vector<Tensor>(int64_t)> Texts(int64_t length) {
  return [=](int64_t batch) {
    Tensor words(DataType::kInt64, {batch, length}), mask(DataType::kInt64, {batch, length});
    for (int64_t i = 0; i < batch * length; ++i) {
      const auto at = static_cast<size_t>(i);
      words.mutable_values<int64_t>()[at] = i * 7919 % 30522;
      mask.mutable_values<int64_t>()[at] = i % length < length - i / length ? 1 : 0;
    }
    return std::vector<Tensor>{words, mask};
  };
}

// Pictures of a word, black on white, with noise: each of a batch is of another size or elsewhere.
std::function<std::vector<Tensor>(int64_t)> Words(int64_t height, int64_t width) {
  static constexpr absl::string_view kWord[] = {
      "####...###..#####..###..#...#",  //
      "#...#.#...#...#...#...#.##..#",  //
      "#...#.#...#...#...#...#.#.#.#",  //
      "####..#####...#...#...#.#..##",  //
      "#...#.#...#...#...#...#.#...#",  //
      "#...#.#...#...#...#...#.#...#",  //
      "####..#...#...#....###..#...#",  //
  };
  return [=](int64_t batch) {
    Tensor images =
        testing::RandomTensor({batch, 3, height, width}, 0.9f, 1.1f, static_cast<uint64_t>(batch));
    const auto rows = static_cast<int64_t>(std::size(kWord));
    const auto columns = static_cast<int64_t>(kWord[0].size());
    size_t at = 0;
    for (int64_t i = 0; i < batch; ++i) {
      const int64_t dot = std::min(height / (rows + 2), width / (columns + 2)) - i % 2;
      const int64_t top = (height - rows * dot) / 2, left = (i % 3 + 1) * dot / 2;
      for (int channel = 0; channel < 3; ++channel) {
        for (int64_t y = 0; y < height; ++y) {
          for (int64_t x = 0; x < width; ++x, ++at) {
            const bool inside =
                y >= top && y < top + rows * dot && x >= left && x < left + columns * dot;
            if (!inside) continue;
            const auto row = static_cast<size_t>((y - top) / dot);
            if (kWord[row][static_cast<size_t>((x - left) / dot)] == '#') {
              images.mutable_values<float>()[at] -= 2;
            }
          }
        }
      }
    }
    return std::vector<Tensor>{images};
  };
}

// A network that tests/nets/nets.sh makes.
std::function<std::string()> Exported(const std::string& name) {
  return [name]() -> std::string {
    const char* directory = std::getenv("BATON_NETS");
    const std::string path =
        absl::StrCat(directory == nullptr ? "build/nets" : directory, "/", name, ".onnx");
    auto onnx = ReadFile(path);
    EXPECT_TRUE(onnx.ok()) << onnx.status() << "; make it with tests/nets/nets.sh " << name;
    return onnx.ok() ? *std::move(onnx) : "";
  };
}

const Net kMlp = {"Mlp", [] { return testing::MlpModel(); }, Rows({784}, 0, 1)};
const Net kResNet50 = {"ResNet50", [] { return testing::ResNet50Model(); },
                       Rows({3, 224, 224}, -2, 2)};
const Net kMobileNetV2 = {"MobileNetV2", [] { return testing::MobileNetV2Model(); },
                          Rows({3, 224, 224}, -2, 2)};
const Net kSqueezeNet = {"SqueezeNet", [] { return testing::SqueezeNetModel(); },
                         Rows({3, 224, 224}, -2, 2)};
const Net kMobileNetV3 = {"MobileNetV3", Exported("mobilenet_v3"), Rows({3, 224, 224}, -2, 2)};
const Net kEfficientNet = {"EfficientNet", Exported("efficientnet_b0"), Rows({3, 224, 224}, -2, 2)};
const Net kDetector = {"Detector", Exported("detector"), Rows({3, 320, 320}, -2, 2)};
const Net kMiniLm16 = {"MiniLm16", Exported("minilm"), Texts(16)};
const Net kMiniLm128 = {"MiniLm128", Exported("minilm"), Texts(128)};
const Net kMiniLm384 = {"MiniLm384", Exported("minilm"), Texts(384)};
// Too large for the sanitizers: CMakeLists.txt runs these, LargeNets/*, in a test of their own.
const Net kVit = {"Vit", Exported("vit"), Patterns};
const Net kBertBase = {"BertBase", Exported("bert_base"), Texts(128)};
// Finds text, tells which way up it is, and reads it.
const Net kPpOcrDet = {"PpOcrDet", Exported("ppocr_det"), Words(160, 320)};
const Net kPpOcrCls = {"PpOcrCls", Exported("ppocr_cls"), Words(48, 192)};
const Net kPpOcrRec = {"PpOcrRec", Exported("ppocr_rec"), Words(48, 320)};
const Net kResNet50Qdq = {"ResNet50Qdq", Exported("resnet50_qdq"), Patterns};
const Net kResNet50Qop = {"ResNet50Qop", Exported("resnet50_qop"), Patterns};
const Net kResNet50Dynamic = {"ResNet50Dynamic", Exported("resnet50_dynamic"), Patterns};
const Net kMobileNetV2Fp16 = {
    "MobileNetV2Fp16", Exported("mobilenet_v2_fp16"),
    [](int64_t batch) { return std::vector<Tensor>{ConvertedTo<Float16>(Patterns(batch)[0])}; }};
const Net kMiniLmFp16 = {"MiniLmFp16", Exported("minilm_fp16"), Texts(128)};
const Net kMobileNetV2Qdq = {"MobileNetV2Qdq", Exported("mobilenet_v2_qdq"), Patterns};
const Net kMiniLmQdq = {"MiniLmQdq", Exported("minilm_qdq"), Texts(128)};
const Net kMiniLmDynamic = {"MiniLmDynamic", Exported("minilm_dynamic"), Texts(128)};
const Net kBertBaseQdq = {"BertBaseQdq", Exported("bert_base_qdq"), Texts(128)};
const Net kBertBaseDynamic = {"BertBaseDynamic", Exported("bert_base_dynamic"), Texts(128)};

std::vector<TensorView> Views(const std::vector<Tensor>& tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

std::vector<Shape> ShapesOf(const std::vector<Tensor>& tensors) {
  std::vector<Shape> shapes;
  for (const Tensor& tensor : tensors) shapes.push_back(tensor.shape());
  return shapes;
}

// Networks come one after the other, so the last one is kept: BERT's file has 440 MB.
struct Loaded {
  std::string name, onnx;
  Precision precision = Precision::kF32;
  std::shared_ptr<const Model> model;
};
const Loaded& Load(const Net& net, Precision precision = Precision::kF32) {
  static auto& loaded = *new Loaded;
  if (loaded.name == net.name && loaded.precision == precision) return loaded;
  loaded = {net.name, net.onnx(), precision, nullptr};
  auto model = Model::Parse(loaded.onnx, "", {.precision = precision});
  EXPECT_TRUE(model.ok()) << model.status();
  if (model.ok()) loaded.model = *std::move(model);
  return loaded;
}

// Of each row: elements along the last dimension.
std::vector<size_t> ArgMaxes(const Tensor& tensor) {
  const auto values = tensor.values<float>();
  const auto width = static_cast<size_t>(tensor.shape().back());
  std::vector<size_t> result;
  for (size_t at = 0; at < values.size(); at += width) {
    const auto row = values.subspan(at, width);
    result.push_back(static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin()));
  }
  return result;
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

  // Runs the network on both sides. Stops the test that calls it (HasFatalFailure) where one fails.
  void RunBoth(Precision precision = Precision::kF32) {
    const auto& [net, batch, threads] = GetParam();
    ASSERT_NE(runtime_, nullptr);
    const Loaded& loaded = Load(net, precision);
    ASSERT_NE(loaded.model, nullptr);
    const std::vector<Tensor> inputs = net.inputs(batch);
    const std::vector<TensorView> views = Views(inputs);
    auto oracle = runtime_->NewSession(loaded.onnx, threads);
    ASSERT_TRUE(oracle.ok()) << oracle.status();
    const auto expected = (*oracle)->Run(views);
    ASSERT_TRUE(expected.ok()) << expected.status();
    const auto plan = loaded.model->GetPlan(ShapesOf(inputs), threads);
    ASSERT_TRUE(plan.ok()) << plan.status();
    plan_ = *plan;
    want_ = ConvertedTo<float>((*expected)[0]);
    Session session;
    // Twice: the second run uses memory that the first has left behind.
    for (Tensor& got : got_) {
      const auto actual = session.Run(*plan_, views);
      ASSERT_TRUE(actual.ok()) << actual.status();
      ASSERT_EQ(actual->size(), 1u);
      ASSERT_EQ((*actual)[0].type, (*expected)[0].type());
      ASSERT_EQ((*actual)[0].shape, want_.shape());
      got = ConvertedTo<float>(Tensor::Copy((*actual)[0]));
    }
  }

  // Of the results' second run: the root of the mean square of the difference, of that of the
  // expected.
  double RelativeError() const {
    const auto want = want_.values<float>(), got = got_[1].values<float>();
    double error = 0, size = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      error += std::pow(got[i] - want[i], 2);
      size += std::pow(want[i], 2);
    }
    return std::sqrt(error / size);
  }

  // The share of rows whose largest element is where the expected has it.
  double SameArgMax() const {
    const std::vector<size_t> want = ArgMaxes(want_), got = ArgMaxes(got_[1]);
    size_t same = 0;
    for (size_t i = 0; i < want.size(); ++i) same += want[i] == got[i] ? 1 : 0;
    return static_cast<double>(same) / static_cast<double>(want.size());
  }

  // Every element of both runs is that near, in terms of the largest expected.
  void ExpectNear(float tolerance) const {
    const auto want = want_.values<float>();
    float scale = 0;
    for (const float value : want) scale = std::max(scale, std::abs(value));
    ASSERT_GT(scale, 0.05f) << "the network's output says nothing";
    for (const Tensor& got : got_) {
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(got.values<float>()[i], want[i], tolerance * scale) << "element " << i;
      }
    }
  }

  static OnnxRuntime* runtime_;
  std::shared_ptr<const Plan> plan_;
  Tensor want_, got_[2];
};
OnnxRuntime* OracleTest::runtime_ = nullptr;

TEST_P(OracleTest, ResultsEqualOnnxRuntimes) {
  RunBoth();
  if (!HasFatalFailure()) ExpectNear(1e-4f);
}

// Networks of float16: ONNX Runtime rounds between operators, too.
class Float16Test : public OracleTest {};

TEST_P(Float16Test, ResultsAreNearOnnxRuntimes) {
  RunBoth();
  if (!HasFatalFailure()) ExpectNear(5e-3f);
}

// Weights and activations of 8 bits of precision, sums of 24.
class Bfloat16Test : public OracleTest {};

TEST_P(Bfloat16Test, ResultsAreNearOnnxRuntimes) {
  if (!HasBfloat16()) GTEST_SKIP() << "this processor has no AVX-512 BF16";
  RunBoth(Precision::kBf16);
  if (HasFatalFailure()) return;
  int halves = 0;
  for (const StepInfo& step : plan_->steps()) {
    halves += absl::StrContains(step.implementation, "bf16") ? 1 : 0;
    const bool product = absl::StartsWith(step.op, "Conv") || absl::StartsWith(step.op, "MatMul");
    EXPECT_FALSE(product && absl::StrContains(step.implementation, "ref")) << step.node;
  }
  EXPECT_GT(halves, 20);
  EXPECT_GT(RelativeError(), 0) << "nothing was rounded";
  // What is rounded grows from layer to layer where weights are random and not trained: in deep
  // networks with gates every engine's bfloat16 is that far from float (OpenVINO's, for one).
  static const auto& kGrows = *new absl::flat_hash_set<std::string>{"SqueezeNet", "MobileNetV3",
                                                                    "EfficientNet", "Detector"};
  // Single elements are further off than that: probabilities jump where letters end.
  static const auto& kJumps = *new absl::flat_hash_set<std::string>{"BertBase", "PpOcrDet"};
  const std::string& name = std::get<0>(GetParam()).name;
  if (kGrows.contains(name)) {
    EXPECT_LT(RelativeError(), 8e-2);
  } else if (kJumps.contains(name)) {
    EXPECT_LT(RelativeError(), 2e-2);
  } else if (name == "PpOcrRec") {
    EXPECT_LT(RelativeError(), 5e-2);
    EXPECT_GE(SameArgMax(), 0.98) << "it reads other letters";
  } else {
    ExpectNear(2e-2f);
  }
}

// Networks of integers round at other places than ONNX Runtime does, and a step of one value moves
// all that follow: both are about as far from each other as from what was quantized.
class QuantizedTest : public OracleTest {};

TEST_P(QuantizedTest, ResultsAreNearOnnxRuntimesAndSayTheSame) {
  RunBoth();
  if (HasFatalFailure()) return;
  const auto& [net, batch, threads] = GetParam();
  EXPECT_LT(RelativeError(), 0.1);
  // The others make no classes.
  if (!net.name.starts_with("ResNet") && !net.name.starts_with("MobileNet")) return;
  std::vector<size_t> classes;  // that the network was fitted to
  for (int64_t i = 0; i < batch; ++i) classes.push_back(ClassOf(i));
  EXPECT_EQ(ArgMaxes(want_), classes);
  EXPECT_EQ(ArgMaxes(got_[1]), classes);
}

template <typename Info>
std::string NameOf(const Info& info) {
  const auto& [net, batch, threads] = info.param;
  return absl::StrCat(net.name, "Batch", batch, "Threads", threads);
}

INSTANTIATE_TEST_SUITE_P(
    Nets, OracleTest,
    ::testing::Combine(::testing::Values(kMlp, kResNet50, kMobileNetV2, kSqueezeNet, kMobileNetV3,
                                         kEfficientNet, kDetector, kMiniLm16, kMiniLm128,
                                         kMiniLm384, kPpOcrDet, kPpOcrCls, kPpOcrRec),
                       ::testing::Values(1, 3, 8), ::testing::Values(1, 2)),
    NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
INSTANTIATE_TEST_SUITE_P(LargeNets, OracleTest,
                         ::testing::Combine(::testing::Values(kVit, kBertBase),
                                            ::testing::Values(1, 3, 8), ::testing::Values(2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
INSTANTIATE_TEST_SUITE_P(LargeNets, Bfloat16Test,
                         ::testing::Combine(::testing::Values(kVit, kBertBase),
                                            ::testing::Values(1, 3, 8), ::testing::Values(2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
INSTANTIATE_TEST_SUITE_P(LargeNets, QuantizedTest,
                         ::testing::Combine(::testing::Values(kBertBaseQdq, kBertBaseDynamic),
                                            ::testing::Values(1, 3, 8), ::testing::Values(2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
INSTANTIATE_TEST_SUITE_P(Nets, Bfloat16Test,
                         ::testing::Combine(::testing::Values(kResNet50, kMobileNetV2, kSqueezeNet,
                                                              kMobileNetV3, kEfficientNet,
                                                              kDetector, kMiniLm128, kPpOcrDet,
                                                              kPpOcrCls, kPpOcrRec),
                                            ::testing::Values(1, 3, 8), ::testing::Values(1, 2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
INSTANTIATE_TEST_SUITE_P(Nets, Float16Test,
                         ::testing::Combine(::testing::Values(kMobileNetV2Fp16, kMiniLmFp16),
                                            ::testing::Values(1, 3), ::testing::Values(2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
INSTANTIATE_TEST_SUITE_P(Nets, QuantizedTest,
                         ::testing::Combine(::testing::Values(kResNet50Qdq, kMobileNetV2Qdq,
                                                              kMiniLmQdq, kMiniLmDynamic),
                                            ::testing::Values(1, 3, 8), ::testing::Values(1, 2)),
                         NameOf<::testing::TestParamInfo<OracleTest::ParamType>>);
INSTANTIATE_TEST_SUITE_P(OtherForms, QuantizedTest,
                         ::testing::Combine(::testing::Values(kResNet50Qop, kResNet50Dynamic),
                                            ::testing::Values(8), ::testing::Values(1, 2)),
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
  const auto plan = loaded.model->GetPlan(ShapesOf(net.inputs(batch)), threads);
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
                         ::testing::Combine(::testing::Values(kResNet50, kMobileNetV2, kSqueezeNet,
                                                              kMobileNetV3, kEfficientNet,
                                                              kDetector),
                                            ::testing::Values(1, 8), ::testing::Values(1, 2)),
                         NameOf<::testing::TestParamInfo<ConvolutionTest::ParamType>>);

TEST(ThreadsTest, RunningStartsThemCompilingDoesNotAndReleaseThreadsEndsThem) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  const std::vector<Tensor> inputs = kSqueezeNet.inputs(1);
  ReleaseThreads();  // those of tests before
  const auto at_first = threads();
  const auto model = Model::Parse(Load(kSqueezeNet).onnx, "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto plan = (*model)->GetPlan(ShapesOf(inputs), 2);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(threads(), at_first);

  Session session;
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(session.Run(**plan, Views(inputs)).ok());
    EXPECT_EQ(threads(), at_first + 1);
    ReleaseThreads();
#ifndef __clang__  // whose OpenMP only puts them to sleep
    EXPECT_EQ(threads(), at_first);
#endif
  }
}

}  // namespace
}  // namespace baton::engine

#include "trainer/layer_pass.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "tests/trainer/reference.h"

namespace baton::trainer {
namespace {

using testing::NumericGradient;
using ::testing::Pointwise;
using testing::RandomValues;
using testing::ReferenceForward;
using testing::Values;

constexpr double kTolerance = 2e-5;  // of sums of up to a few hundred float products around 1

MATCHER(IsClose, "") {
  const double actual = std::get<0>(arg), expected = std::get<1>(arg);
  return std::abs(actual - expected) <= kTolerance * (1 + std::abs(expected));
}

enum class SourceLayout { kPlain, kBlocked };  // blocked: channels in groups of 16

struct Case {
  std::string name;
  LayerSpec spec;
  Shape item;
  int64_t batch;
  SourceLayout layout = SourceLayout::kPlain;
};

class LayerPassTest : public ::testing::TestWithParam<Case> {
 protected:
  // Everything a layer reads and writes, in row-major order.
  struct Run {
    Values output, source_gradient, weights_gradient, bias_gradient;
  };

  void SetUp() override {
    const Case& test = GetParam();
    // Flatten and Dense make any layer a whole network; only the first layer is tested.
    absl::StatusOr<Network> network =
        Network::Create(test.item, {test.spec, Flatten{}, Dense{2}}, 1);
    ASSERT_TRUE(network.ok()) << network.status();
    network_.emplace(*std::move(network));
    shape_ = {test.batch};
    shape_.insert(shape_.end(), test.item.begin(), test.item.end());
    source_ = RandomValues(NumElements(shape_), 2);
    if (!layer().parameters.empty()) {
      weights_ = Randomize(layer().parameters[0], 3);
      bias_ = Randomize(layer().parameters[1], 4);
    }
    output_gradient_ = RandomValues(test.batch * NumElements(layer().output_shape), 5);
  }

  Layer& layer() { return network_->layers()[0]; }

  static Values Randomize(Parameter& parameter, uint64_t seed) {
    const Values values = RandomValues(parameter.value.size(), seed);
    std::copy(values.begin(), values.end(), parameter.value.mutable_values<float>().begin());
    return {parameter.value.values<float>().begin(), parameter.value.values<float>().end()};
  }

  void Write(const Values& values, const Shape& shape, const dnnl::memory& memory) {
    Tensor plain(DataType::kFloat, shape);
    std::copy(values.begin(), values.end(), plain.mutable_values<float>().begin());
    Operation::Reorder(device_, MemoryOf(device_, plain), memory).Run(device_);
    device_.stream.wait();
  }
  Values Read(const dnnl::memory& memory, const Shape& shape) {
    Tensor plain(DataType::kFloat, shape);
    Operation::Reorder(device_, memory, MemoryOf(device_, plain)).Run(device_);
    device_.stream.wait();
    return {plain.values<float>().begin(), plain.values<float>().end()};
  }
  static Values Floats(const Tensor& tensor) {
    return {tensor.values<float>().begin(), tensor.values<float>().end()};
  }

  Value MakeSource() {
    Layout layout = PlainLayout(shape_);
    if (GetParam().layout == SourceLayout::kBlocked) {
      layout = Layout(dnnl::memory::dims(shape_.begin(), shape_.end()),
                      dnnl::memory::data_type::f32, dnnl::memory::format_tag::nChw16c);
    }
    Value source{shape_, dnnl::memory(layout, device_.engine),
                 dnnl::memory(layout, device_.engine)};
    Write(source_, shape_, source.data);
    return source;
  }

  Run ForwardAndBackward() {
    const Value source = MakeSource();
    const std::unique_ptr<LayerPass> pass =
        LayerPass::Make(device_, layer(), source, Purpose::kTraining);
    pass->Forward(device_);
    Write(output_gradient_, pass->output().shape, pass->output().gradient);
    pass->Backward(device_);
    device_.stream.wait();
    Run run{Read(pass->output().data, pass->output().shape), Read(source.gradient, shape_), {}, {}};
    if (!layer().parameters.empty()) {
      run.weights_gradient = Floats(layer().parameters[0].gradient);
      run.bias_gradient = Floats(layer().parameters[1].gradient);
    }
    return run;
  }

  // The output weighed with output_gradient_: a loss that has just that gradient.
  double Loss(const Values& source, const Values& weights, const Values& bias) {
    const Values output = ReferenceForward(layer(), GetParam().batch, source, weights, bias);
    return std::inner_product(output.begin(), output.end(), output_gradient_.begin(), 0.0);
  }

  Device device_;
  std::optional<Network> network_;
  Shape shape_;
  Values source_, weights_, bias_, output_gradient_;
};

TEST_P(LayerPassTest, ForwardEqualsReference) {
  const Run run = ForwardAndBackward();
  EXPECT_THAT(run.output, Pointwise(IsClose(), ReferenceForward(layer(), GetParam().batch, source_,
                                                                weights_, bias_)));
}

TEST_P(LayerPassTest, InferenceEqualsTraining) {
  const Run run = ForwardAndBackward();
  Value source = MakeSource();
  source.gradient = {};
  const std::unique_ptr<LayerPass> pass =
      LayerPass::Make(device_, layer(), source, Purpose::kInference);
  pass->Forward(device_);
  device_.stream.wait();
  EXPECT_THAT(Read(pass->output().data, pass->output().shape), Pointwise(IsClose(), run.output));
}

TEST_P(LayerPassTest, GradientsEqualFiniteDifferences) {
  const Run run = ForwardAndBackward();
  EXPECT_THAT(run.source_gradient,
              Pointwise(IsClose(),
                        NumericGradient([&](const Values& x) { return Loss(x, weights_, bias_); },
                                        source_)));
  EXPECT_THAT(
      run.weights_gradient,
      Pointwise(IsClose(), NumericGradient([&](const Values& w) { return Loss(source_, w, bias_); },
                                           weights_)));
  EXPECT_THAT(run.bias_gradient,
              Pointwise(IsClose(),
                        NumericGradient([&](const Values& b) { return Loss(source_, weights_, b); },
                                        bias_)));
}

class LayerWithParametersTest : public LayerPassTest {};

TEST_P(LayerWithParametersTest, ParametersChangedBetweenRunsCount) {
  const Value source = MakeSource();
  const std::unique_ptr<LayerPass> pass =
      LayerPass::Make(device_, layer(), source, Purpose::kTraining);
  pass->Forward(device_);
  weights_ = Randomize(layer().parameters[0], 6);
  pass->Forward(device_);
  device_.stream.wait();
  EXPECT_THAT(
      Read(pass->output().data, pass->output().shape),
      Pointwise(IsClose(), ReferenceForward(layer(), GetParam().batch, source_, weights_, bias_)));
}

constexpr Activation kSigmoid{Activation::Kind::kSigmoid};
constexpr Activation kTanh{Activation::Kind::kTanh};
constexpr Activation kRelu{Activation::Kind::kRelu};
constexpr auto kBlocked = SourceLayout::kBlocked;

INSTANTIATE_TEST_SUITE_P(
    Layers, LayerPassTest,
    ::testing::Values(Case{"Dense", Dense{7}, {11}, 5}, Case{"DenseOneItem", Dense{3}, {33}, 1},
                      Case{"DenseToOne", Dense{1}, {4}, 3},
                      Case{"Conv3", Conv2D{4, 3}, {2, 6, 5}, 3},
                      Case{"Conv5OneChannel", Conv2D{16, 5}, {1, 6, 5}, 2},
                      Case{"Conv1", Conv2D{3, 1}, {2, 4, 4}, 2},
                      Case{"ConvBlocked", Conv2D{16, 3}, {16, 3, 2}, 2, kBlocked},
                      Case{"ConvOddChannelsBlocked", Conv2D{5, 3}, {18, 2, 3}, 2, kBlocked},
                      Case{"MaxPool2", MaxPool{2}, {3, 6, 4}, 2},
                      Case{"MaxPoolLeavesARest", MaxPool{3}, {2, 7, 8}, 2},
                      Case{"MaxPoolBlocked", MaxPool{2}, {20, 4, 6}, 2, kBlocked},
                      Case{"Sigmoid", kSigmoid, {37}, 3}, Case{"Tanh", kTanh, {37}, 3},
                      Case{"Relu", kRelu, {37}, 3},
                      Case{"SigmoidBlocked", kSigmoid, {5, 3, 3}, 2, kBlocked},
                      Case{"ReluBlocked", kRelu, {5, 3, 3}, 2, kBlocked},
                      Case{"Flatten", Flatten{}, {3, 2, 4}, 3},
                      Case{"FlattenBlocked", Flatten{}, {18, 3, 2}, 2, kBlocked}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Layers, LayerWithParametersTest,
    ::testing::Values(Case{"Dense", Dense{7}, {11}, 5}, Case{"Conv", Conv2D{4, 3}, {2, 6, 5}, 3},
                      Case{"ConvBlocked", Conv2D{16, 3}, {16, 3, 2}, 2, kBlocked}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace baton::trainer

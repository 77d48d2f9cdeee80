#include "trainer/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "trainer/preset.h"

namespace baton::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

constexpr Activation kRelu{Activation::Kind::kRelu};

TEST(NetworkTest, WorksOutShapes) {
  const absl::StatusOr<Network> network =
      Network::Create({1, 28, 28}, {Conv2D{16, 5}, kRelu, MaxPool{3}, Flatten{}, Dense{10}}, 1);
  ASSERT_TRUE(network.ok()) << network.status();
  const std::vector<Layer>& layers = network->layers();
  EXPECT_THAT(layers[0].output_shape, ElementsAre(16, 28, 28));
  EXPECT_THAT(layers[2].output_shape, ElementsAre(16, 9, 9));
  EXPECT_THAT(layers[3].output_shape, ElementsAre(16 * 81));
  EXPECT_THAT(layers[0].parameters[0].value.shape(), ElementsAre(16, 1, 5, 5));
  EXPECT_THAT(layers[4].parameters[0].value.shape(), ElementsAre(10, 16 * 81));
  EXPECT_EQ(network->classes(), 10);
  EXPECT_EQ(network->parameter_count(), 16 * 25 + 16 + 10 * 16 * 81 + 10);
  EXPECT_EQ(layers[0].name, "conv_1");
  EXPECT_EQ(layers[1].name, "relu_2");
}

TEST(NetworkTest, WeightsStayInTheirLimitsAndBiasesAreZero) {
  const absl::StatusOr<Network> network = Network::Create({100}, {Dense{50}, kRelu, Dense{10}}, 1);
  ASSERT_TRUE(network.ok()) << network.status();
  const float he = std::sqrt(6.0f / 100), glorot = std::sqrt(6.0f / 60);
  EXPECT_THAT(network->layers()[0].parameters[0].value.values<float>(),
              AllOf(Each(AllOf(Ge(-he), Le(he))), Contains(Ge(0.9f * he))));
  EXPECT_THAT(network->layers()[2].parameters[0].value.values<float>(),
              AllOf(Each(AllOf(Ge(-glorot), Le(glorot))), Contains(Le(-0.9f * glorot))));
  EXPECT_THAT(network->layers()[2].parameters[1].value.values<float>(), Each(0));
}

TEST(NetworkTest, TheSeedDecidesTheWeights) {
  const auto weights = [](uint64_t seed) {
    const absl::StatusOr<Network> network = Network::Create({3}, {Dense{2}}, seed);
    const absl::Span<const float> values = network->layers()[0].parameters[0].value.values<float>();
    return std::vector<float>(values.begin(), values.end());
  };
  EXPECT_EQ(weights(1), weights(1));
  EXPECT_NE(weights(1), weights(2));
}

TEST(NetworkTest, NamesTheLayerThatDoesNotFit) {
  const auto error = [](Shape input, std::vector<LayerSpec> layers) {
    const absl::Status status = Network::Create(input, std::move(layers), 1).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error({1, 4, 4}, {kRelu, Dense{2}}),
              AllOf(HasSubstr("dense_2"), HasSubstr("[1,4,4]")));
  EXPECT_THAT(error({16}, {Conv2D{2, 3}}), HasSubstr("conv_1"));
  EXPECT_THAT(error({1, 4, 4}, {Conv2D{2, 2}}), HasSubstr("odd"));
  EXPECT_THAT(error({1, 4, 4}, {MaxPool{5}}), HasSubstr("size 5"));
  EXPECT_THAT(error({4}, {MaxPool{2}}), HasSubstr("maxpool_1"));
  EXPECT_THAT(error({4}, {Dense{0}}), HasSubstr("units"));
  EXPECT_THAT(error({1, 4, 4}, {MaxPool{2}}), HasSubstr("ends with [1,2,2]"));
  EXPECT_THAT(error({4}, {}), HasSubstr("ends with"));
}

TEST(PresetTest, EveryPresetMakesANetworkOfItsClasses) {
  for (const Preset& preset : Presets()) {
    const absl::StatusOr<Network> network = Network::Create(preset.input_shape, preset.layers, 1);
    ASSERT_TRUE(network.ok()) << preset.name << ": " << network.status();
    EXPECT_EQ(network->classes(), preset.classes) << preset.name;
    EXPECT_TRUE(preset.training.Validate().ok()) << preset.name;
  }
}

TEST(PresetTest, TheMlpIsTheOneOfTheContract) {
  const absl::StatusOr<Preset> preset = FindPreset("mnist-mlp");
  ASSERT_TRUE(preset.ok()) << preset.status();
  EXPECT_EQ(preset->model, "mnist");
  const absl::StatusOr<Network> network = Network::Create(preset->input_shape, preset->layers, 1);
  ASSERT_TRUE(network.ok()) << network.status();
  std::vector<std::string> names;
  for (const Layer& layer : network->layers()) names.push_back(layer.name);
  EXPECT_THAT(names, ElementsAre("dense_1", "sigmoid_2", "dense_3", "tanh_4", "dense_5"));
  EXPECT_EQ(network->parameter_count(), 784 * 64 + 64 + 64 * 16 + 16 + 16 * 10 + 10);
}

TEST(PresetTest, AnUnknownNameGetsTheNearest) {
  const absl::Status status = FindPreset("mnist-mpl").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean mnist-mlp?"));
}

}  // namespace
}  // namespace baton::trainer

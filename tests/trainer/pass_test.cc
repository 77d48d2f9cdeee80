#include "trainer/pass.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/trainer/reference.h"

namespace baton::trainer {
namespace {

using ::testing::Each;
using ::testing::FloatNear;
using testing::NumericGradient;
using ::testing::Pointwise;
using testing::RandomValues;
using testing::ReferenceCrossEntropy;
using testing::ReferenceForward;
using testing::Values;

Values Doubles(absl::Span<const float> values) { return {values.begin(), values.end()}; }

TEST(SoftmaxTest, RowsSumToOneAndKeepTheirOrder) {
  const float logits[] = {1, 2, 3, -1, 0, 5};
  float probabilities[6];
  Softmax(logits, 3, absl::MakeSpan(probabilities));
  EXPECT_NEAR(probabilities[0] + probabilities[1] + probabilities[2], 1, 1e-6);
  EXPECT_NEAR(probabilities[1] / probabilities[0], std::exp(1), 1e-5);
  EXPECT_NEAR(probabilities[5] / probabilities[4], std::exp(5), 1e-3);
}

TEST(SoftmaxTest, LargeLogitsDoNotOverflow) {
  const float logits[] = {1e4f, 0, -1e4f};
  float probabilities[3];
  Softmax(logits, 3, absl::MakeSpan(probabilities));
  EXPECT_THAT(probabilities, ::testing::ElementsAre(1, 0, 0));
}

TEST(SoftmaxCrossEntropyTest, GradientEqualsFiniteDifferences) {
  const std::vector<uint8_t> labels = {2, 0, 1, 1};
  const Values logits = RandomValues(12, 1);
  const std::vector<float> floats(logits.begin(), logits.end());
  std::vector<float> gradient(12);
  const Score score = SoftmaxCrossEntropy(floats, 3, labels, absl::MakeSpan(gradient));
  EXPECT_NEAR(score.mean_loss(), ReferenceCrossEntropy(logits, 3, labels), 1e-6);
  EXPECT_THAT(
      gradient,
      Pointwise(FloatNear(1e-6f),
                NumericGradient(
                    [&](const Values& x) { return ReferenceCrossEntropy(x, 3, labels); }, logits)));
}

TEST(SoftmaxCrossEntropyTest, CountsHits) {
  const float logits[] = {1, 2, 2, 1, 1, 2};
  const uint8_t labels[] = {1, 1, 1};
  const Score score = SoftmaxCrossEntropy(logits, 2, labels, {});
  EXPECT_EQ(score.correct, 2);
  EXPECT_EQ(score.items, 3);
}

TEST(SoftmaxCrossEntropyTest, AHopelessLogitGivesAFiniteLoss) {
  const float logits[] = {1000, 0};
  const uint8_t label[] = {1};
  float gradient[2];
  const Score score = SoftmaxCrossEntropy(logits, 2, label, absl::MakeSpan(gradient));
  EXPECT_DOUBLE_EQ(score.loss, 1000);
  EXPECT_THAT(gradient, ::testing::ElementsAre(1, -1));
}

TEST(SoftmaxCrossEntropyTest, ALogitThatIsNoNumberShowsInTheLoss) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const float logits[] = {0, bad, 1};
    const uint8_t label[] = {0};
    EXPECT_FALSE(std::isfinite(SoftmaxCrossEntropy(logits, 3, label, {}).loss)) << bad;
  }
}

// The whole chain: layouts that oneDNN chose are handed from layer to layer.
TEST(PassTest, ParameterGradientsOfAConvolutionalNetEqualFiniteDifferences) {
  constexpr int64_t kBatch = 3;
  const std::vector<uint8_t> labels = {1, 0, 2};
  absl::StatusOr<Network> network =
      Network::Create({1, 8, 8},
                      {Conv2D{4, 3}, Activation{Activation::Kind::kRelu}, MaxPool{2}, Conv2D{3, 3},
                       Activation{Activation::Kind::kTanh}, Flatten{}, Dense{5},
                       Activation{Activation::Kind::kSigmoid}, Dense{3}},
                      7);
  ASSERT_TRUE(network.ok()) << network.status();
  absl::StatusOr<std::unique_ptr<Pass>> pass = Pass::Create(*network, kBatch, Purpose::kTraining);
  ASSERT_TRUE(pass.ok()) << pass.status();
  const Values input = RandomValues(kBatch * 64, 8);
  std::copy(input.begin(), input.end(), (*pass)->input().begin());
  ASSERT_TRUE((*pass)->Forward().ok());
  SoftmaxCrossEntropy((*pass)->logits(), 3, labels, (*pass)->logits_gradient());
  ASSERT_TRUE((*pass)->Backward().ok());

  const std::vector<Parameter*> parameters = network->parameters();
  for (size_t changed = 0; changed < parameters.size(); ++changed) {
    const auto loss = [&](const Values& values) {
      Values data = input;
      size_t next = 0;
      for (const Layer& layer : network->layers()) {
        Values learned[2];
        for (size_t i = 0; i < layer.parameters.size(); ++i, ++next) {
          learned[i] =
              next == changed ? values : Doubles(layer.parameters[i].value.values<float>());
        }
        data = ReferenceForward(layer, kBatch, data, learned[0], learned[1]);
      }
      return ReferenceCrossEntropy(data, 3, labels);
    };
    const Values expected =
        NumericGradient(loss, Doubles(parameters[changed]->value.values<float>()));
    EXPECT_THAT(parameters[changed]->gradient.values<float>(),
                Pointwise(FloatNear(2e-6f), expected))
        << parameters[changed]->name;
  }
}

TEST(PassTest, AnItemsLogitsDoNotDependOnItsBatch) {
  absl::StatusOr<Network> network = Network::Create(
      {1, 6, 6}, {Conv2D{16, 3}, Activation{Activation::Kind::kRelu}, Flatten{}, Dense{4}}, 3);
  ASSERT_TRUE(network.ok()) << network.status();
  const Values items = RandomValues(3 * 36, 4);
  absl::StatusOr<std::unique_ptr<Pass>> batch = Pass::Create(*network, 3, Purpose::kInference);
  absl::StatusOr<std::unique_ptr<Pass>> single = Pass::Create(*network, 1, Purpose::kInference);
  ASSERT_TRUE(batch.ok() && single.ok());
  std::copy(items.begin(), items.end(), (*batch)->input().begin());
  ASSERT_TRUE((*batch)->Forward().ok());
  for (size_t i = 0; i < 3; ++i) {
    std::copy_n(items.begin() + static_cast<ptrdiff_t>(36 * i), 36, (*single)->input().begin());
    ASSERT_TRUE((*single)->Forward().ok());
    EXPECT_THAT((*batch)->logits().subspan(4 * i, 4),
                Pointwise(FloatNear(1e-5f), (*single)->logits()));
  }
}

}  // namespace
}  // namespace baton::trainer

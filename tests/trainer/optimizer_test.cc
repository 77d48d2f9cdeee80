#include "trainer/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

Parameter MakeParameter(Shape shape, std::initializer_list<float> value) {
  Parameter parameter{"p", Tensor::From<float>(shape, value), Tensor(DataType::kFloat, shape)};
  return parameter;
}

void SetGradient(Parameter& parameter, std::initializer_list<float> gradient) {
  std::copy(gradient.begin(), gradient.end(), parameter.gradient.mutable_values<float>().begin());
}

TEST(SgdTest, MomentumGathersGradients) {
  Parameter p = MakeParameter({2}, {1, -1});
  const auto sgd = Optimizer::Make({.kind = OptimizerKind::kSgd, .momentum = 0.9}, {&p});
  SetGradient(p, {1, 2});
  sgd->Step(0.1);  // v = 1, 2
  EXPECT_THAT(p.value.values<float>(),
              ElementsAre(FloatNear(0.9f, 1e-6f), FloatNear(-1.2f, 1e-6f)));
  SetGradient(p, {1, -1});
  sgd->Step(0.1);  // v = 0.9 + 1, 1.8 - 1
  EXPECT_THAT(p.value.values<float>(),
              ElementsAre(FloatNear(0.71f, 1e-6f), FloatNear(-1.28f, 1e-6f)));
}

TEST(AdamTest, FollowsThePaperForTwoSteps) {
  Parameter p = MakeParameter({2}, {1, 1});
  const auto adam = Optimizer::Make(
      {.kind = OptimizerKind::kAdam, .beta1 = 0.5, .beta2 = 0.75, .epsilon = 0}, {&p});
  // m/(1-0.5) = g and v/(1-0.75) = g², so the first step is the rate, by the gradient's sign.
  SetGradient(p, {4, -0.01f});
  adam->Step(0.1);
  EXPECT_THAT(p.value.values<float>(), ElementsAre(FloatNear(0.9f, 1e-6f), FloatNear(1.1f, 1e-6f)));
  // First element: m = 0.5·2 + 0.5·2 = 2, m̂ = 2/0.75; v = 0.75·4 + 0.25·4 = 4, v̂ = 4/0.4375.
  SetGradient(p, {2, 0});
  adam->Step(0.1);
  const float step = 0.1f * (2 / 0.75f) / std::sqrt(4 / 0.4375f);
  EXPECT_NEAR(p.value.values<float>()[0], 0.9f - step, 1e-6);
}

TEST(OptimizerTest, WeightDecayShrinksWeightsButNotBiases) {
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    Parameter weights = MakeParameter({1, 2}, {2, -4});
    Parameter bias = MakeParameter({2}, {2, -4});
    const auto optimizer = Optimizer::Make({.kind = kind, .weight_decay = 0.5}, {&weights, &bias});
    optimizer->Step(0.1);  // gradients are zero
    EXPECT_THAT(weights.value.values<float>(),
                ElementsAre(FloatNear(1.9f, 1e-6f), FloatNear(-3.8f, 1e-6f)));
    EXPECT_THAT(bias.value.values<float>(), ElementsAre(2, -4));
  }
}

TEST(OptimizerTest, ParsesNames) {
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    EXPECT_EQ(*ParseOptimizer(OptimizerName(kind)), kind);
  }
  const absl::Status status = ParseOptimizer("adagrad").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("adagrad"));
}

}  // namespace
}  // namespace baton::trainer

#include "engine/kernels/row_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/nets.h"

namespace baton::engine {
namespace {

using ::baton::testing::RandomTensor;
using Activation = VectorActivation::Kind;

std::vector<Isa> IsasHere() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= BestIsa()) isas.push_back(isa);
  }
  return isas;
}

VectorActivation Swish(float alpha) {
  return *ToVectorActivation({PostOp::Kind::kActivation, "Swish", alpha});
}

double Expected(const VectorActivation& activation, double sum) {
  switch (activation.kind) {
    case Activation::kNone:
      return sum;
    case Activation::kRelu:
      return std::max(sum, 0.0);
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-sum));
    case Activation::kTanh:
      return std::tanh(sum);
    case Activation::kLeakyRelu:
      return sum < 0 ? activation.alpha * sum : sum;
    case Activation::kClip:
      return std::clamp<double>(sum, activation.alpha, activation.beta);
    case Activation::kSwish:
      return sum / (1 + std::exp(-activation.alpha * sum));
    case Activation::kHardSwish:
      return sum * std::clamp(sum / 6 + 0.5, 0.0, 1.0);
  }
  return 0;
}

std::vector<float> OutputOf(const RowProduct& product, const std::vector<float>& x, size_t n,
                            int64_t rows = 1) {
  std::vector<float> y(static_cast<size_t>(rows) * n + 1, -77);
  product.Run(x.data(), y.data(), rows);
  EXPECT_EQ(y.back(), -77) << "wrote behind the end";
  y.pop_back();
  return y;
}

TEST(RowProduct, MultipliesMatricesOfAnySize) {
  for (const Isa isa : IsasHere()) {
    for (const int64_t n : {1, 10, 16, 17, 48, 63, 64, 65, 130, 200}) {
      for (const int64_t k : {1, 2, 7, 8, 9, 64, 785}) {
        for (const bool transposed : {false, true}) {
          const Shape shape = transposed ? Shape{n, k} : Shape{k, n};
          const Tensor weights = RandomTensor(shape, -1, 1, 1);
          const Tensor bias = n % 2 == 0 ? Tensor() : RandomTensor({n}, -1, 1, 2);
          const Tensor input = RandomTensor({k}, -1, 1, 3);
          const auto w = weights.values<float>();
          const auto x = input.values<float>();
          const RowProduct product(weights, transposed, bias, {Activation::kNone}, isa);
          const std::vector<float> y =
              OutputOf(product, {x.begin(), x.end()}, static_cast<size_t>(n));
          for (int64_t j = 0; j < n; ++j) {
            double sum = bias.empty() ? 0 : bias.values<float>()[j];
            for (int64_t i = 0; i < k; ++i) sum += x[i] * w[transposed ? j * k + i : i * n + j];
            ASSERT_NEAR(y[j], sum, 1e-4) << product.implementation() << " k " << k << " n " << n;
          }
        }
      }
    }
  }
}

TEST(RowProduct, EachOfSeveralRowsGivesWhatItGivesAlone) {
  for (const Isa isa : IsasHere()) {
    for (const int64_t n : {1, 10, 16, 17, 40, 64, 65, 200}) {
      for (const int64_t k : {1, 3, 64, 300}) {
        const RowProduct product(RandomTensor({k, n}, -1, 1, 1), false, RandomTensor({n}, -1, 1, 2),
                                 {Activation::kTanh}, isa);
        for (const int64_t rows : {2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 31, 32}) {
          if (rows > product.most_rows()) continue;
          const Tensor input = RandomTensor({rows, k}, -1, 1, 3);
          const auto x = input.values<float>();
          const std::vector<float> y =
              OutputOf(product, {x.begin(), x.end()}, static_cast<size_t>(n), rows);
          for (int64_t row = 0; row < rows; ++row) {
            const auto own = x.subspan(static_cast<size_t>(row * k), static_cast<size_t>(k));
            const std::vector<float> alone =
                OutputOf(product, {own.begin(), own.end()}, static_cast<size_t>(n));
            for (int64_t j = 0; j < n; ++j) {
              ASSERT_NEAR(y[row * n + j], alone[j], 1e-4)
                  << product.implementation() << " k " << k << " n " << n << " rows " << rows;
            }
          }
        }
      }
    }
  }
}

TEST(RowProduct, ActivationsAreExactToAFewUnitsInTheLastPlace) {
  std::vector<float> points;
  for (float x = -90; x <= 90; x += 0.0625f) points.push_back(x);
  for (const float x : {1e-6f, 1e-4f, 0.01f, 0.3f, 0.6f, 0.62f, 0.63f, 0.7f}) {
    points.insert(points.end(), {x, -x});
  }
  const auto n = static_cast<int64_t>(points.size());
  const Tensor weights = Tensor::From<float>({1, n}, absl::Span<const float>(points));
  for (const Isa isa : IsasHere()) {
    for (const VectorActivation activation :
         {VectorActivation{Activation::kRelu}, VectorActivation{Activation::kLeakyRelu, 0.1f},
          VectorActivation{Activation::kClip, -1.5f, 2}, VectorActivation{Activation::kSigmoid},
          VectorActivation{Activation::kTanh}, Swish(1), Swish(1.702f), Swish(-0.5f),
          VectorActivation{Activation::kHardSwish}}) {
      const RowProduct product(weights, false, Tensor(), activation, isa);
      const std::vector<float> y = OutputOf(product, {1}, points.size());
      for (size_t i = 0; i < points.size(); ++i) {
        const double expected = Expected(activation, points[i]);
        // e^x: 1e-6, and what rounding x costs.
        const double tolerance = 1e-6 + 2e-7 * std::abs(static_cast<double>(points[i]));
        ASSERT_NEAR(y[i], expected, std::abs(expected) * tolerance + 2e-36)
            << product.implementation() << " activation " << static_cast<int>(activation.kind)
            << " of " << points[i];
      }
    }
  }
}

TEST(RowProduct, NanAndInfinityArePassedOn) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const Tensor weights = Tensor::From<float>({1, 3}, {kNan, kInfinity, -kInfinity});
  for (const Isa isa : IsasHere()) {
    const auto run = [&](Activation activation) {
      return OutputOf(RowProduct(weights, false, Tensor(), {activation}, isa), {1}, 3);
    };
    for (const Activation activation :
         {Activation::kNone, Activation::kRelu, Activation::kLeakyRelu, Activation::kClip,
          Activation::kSigmoid, Activation::kTanh, Activation::kSwish, Activation::kHardSwish}) {
      EXPECT_TRUE(std::isnan(run(activation)[0])) << static_cast<int>(activation);
    }
    EXPECT_EQ(run(Activation::kRelu)[1], kInfinity);
    EXPECT_EQ(run(Activation::kRelu)[2], 0);
    EXPECT_EQ(run(Activation::kSigmoid)[1], 1);
    EXPECT_NEAR(run(Activation::kSigmoid)[2], 0, 1e-37);
    EXPECT_EQ(run(Activation::kTanh)[1], 1);
    EXPECT_EQ(run(Activation::kTanh)[2], -1);
  }
}

TEST(RowProduct, KnowsWhatItCanDoAfterTheProduct) {
  const PostOp relu{PostOp::Kind::kActivation, "Relu"};
  const PostOp add{PostOp::Kind::kAddInput, "", 0, 0, 2};
  const PostOp elu{PostOp::Kind::kActivation, "Elu", 1};
  EXPECT_EQ(RowProduct::ActivationOf({})->kind, Activation::kNone);
  EXPECT_EQ(RowProduct::ActivationOf({relu})->kind, Activation::kRelu);
  EXPECT_EQ(RowProduct::ActivationOf({elu}), std::nullopt);
  EXPECT_EQ(RowProduct::ActivationOf({add}), std::nullopt);
  EXPECT_EQ(RowProduct::ActivationOf({add, relu}), std::nullopt);
}

}  // namespace
}  // namespace baton::engine

// Softmax and LogSoftmax along any axis, against a naive reference in double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;

class SoftmaxTest : public ::testing::TestWithParam<std::tuple<Shape, int64_t, const char*, int>> {
};

TEST_P(SoftmaxTest, EqualsTheReference) {
  const auto& [shape, axis, op, threads] = GetParam();
  ModelBuilder m;
  std::vector<int64_t> dims(shape.begin(), shape.end());
  m.Input("x", DataType::kFloat, dims);
  SetInt(m.Node(op, {"x"}, {"y"}), "axis", axis);
  m.Node("Neg", {"x"}, {"negative"});
  SetInt(m.Node(op, {"negative"}, {"in_place"}), "axis", axis);
  m.Output("y", DataType::kFloat, dims);
  m.Output("in_place", DataType::kFloat, dims);
  Tensor x = RandomTensor(shape, 1);
  for (float& v : x.mutable_values<float>()) v *= 40;
  const auto y = RunModel(m.Build(), {x}, threads);
  ASSERT_TRUE(y.ok()) << y.status();
  const auto at = static_cast<size_t>(axis);
  const int64_t n = shape[at], inner = NumElements(absl::MakeConstSpan(shape).subspan(at + 1));
  const bool log = op == std::string("LogSoftmax");
  for (const size_t output : {0, 1}) {
    for (int64_t i = 0; i < x.size(); ++i) {
      const int64_t first = i / (n * inner) * n * inner + i % inner;
      const auto value = [&](int64_t k) -> double {
        const double v = x.values<float>()[static_cast<size_t>(first + k * inner)];
        return output == 0 ? v : -v;
      };
      double largest = value(0), sum = 0;
      for (int64_t k = 1; k < n; ++k) largest = std::max(largest, value(k));
      for (int64_t k = 0; k < n; ++k) sum += std::exp(value(k) - largest);
      const double exponent = value(i / inner % n) - largest;
      const double expected = log ? exponent - std::log(sum) : std::exp(exponent) / sum;
      ASSERT_NEAR((*y)[output].values<float>()[static_cast<size_t>(i)], expected, log ? 1e-4 : 1e-6)
          << output << ", " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Axes, SoftmaxTest,
    ::testing::Combine(::testing::Values(Shape{3, 17, 5, 7}, Shape{2, 16, 3, 50}, Shape{1, 1, 4, 1},
                                         Shape{2, 3, 32, 16}, Shape{1, 1, 1, 10},
                                         Shape{1, 2, 3, 197}),
                       ::testing::Values(0, 1, 2, 3), ::testing::Values("Softmax", "LogSoftmax"),
                       ::testing::Values(1, 2)));

// What is far below the rest, or masked with -infinity, gets nothing, not even a denormal number; a
// row of nothing else, or with NaN, becomes NaN, and its neighbours do not notice.
TEST(SoftmaxRowsTest, InfinityAndNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const int64_t n : {10, 16, 50}) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {4, n});
    m.Node("Softmax", {"x"}, {"y"});
    m.Output("y", DataType::kFloat, {4, n});
    Tensor x(DataType::kFloat, {4, n});
    float* row = x.mutable_values<float>().data();
    for (int64_t i = 0; i < n; ++i) {
      row[i] = i % 2 == 0 ? 3 : i % 4 == 1 ? -kInfinity : -80;
      row[n + i] = -kInfinity;
      row[2 * n + i] = 3;
      row[3 * n + i] = i == n - 2 ? NAN : 3;
    }
    const auto y = RunModel(m.Build(), {x});
    ASSERT_TRUE(y.ok()) << y.status();
    const float* result = (*y)[0].values<float>().data();
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(result[i], 2.0 / static_cast<double>(n) * (i % 2 == 0), i % 2 == 0 ? 1e-7 : 0)
          << i;
      EXPECT_TRUE(std::isnan(result[n + i])) << i;
      EXPECT_NEAR(result[2 * n + i], 1.0 / static_cast<double>(n), 1e-7) << i;
      EXPECT_TRUE(std::isnan(result[3 * n + i])) << i;
    }
  }
}

}  // namespace
}  // namespace baton::engine

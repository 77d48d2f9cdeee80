// Softmax and LogSoftmax along any axis, against a naive reference in double.
#include <gtest/gtest.h>

#include <cmath>

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
  m.Output("y", DataType::kFloat, dims);
  Tensor x = RandomTensor(shape, 1);
  for (float& v : x.mutable_values<float>()) v *= 40;
  const auto y = RunModel(m.Build(), {x}, threads);
  ASSERT_TRUE(y.ok()) << y.status();
  const auto at = static_cast<size_t>(axis);
  const int64_t n = shape[at], inner = NumElements(absl::MakeConstSpan(shape).subspan(at + 1));
  const bool log = op == std::string("LogSoftmax");
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t first = i / (n * inner) * n * inner + i % inner;
    const auto value = [&](int64_t k) -> double {
      return x.values<float>()[static_cast<size_t>(first + k * inner)];
    };
    double largest = value(0), sum = 0;
    for (int64_t k = 1; k < n; ++k) largest = std::max(largest, value(k));
    for (int64_t k = 0; k < n; ++k) sum += std::exp(value(k) - largest);
    const double exponent = value(i / inner % n) - largest;
    const double expected = log ? exponent - std::log(sum) : std::exp(exponent) / sum;
    ASSERT_NEAR((*y)[0].values<float>()[static_cast<size_t>(i)], expected, log ? 1e-4 : 1e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Axes, SoftmaxTest,
    ::testing::Combine(::testing::Values(Shape{3, 17, 5, 7}, Shape{2, 16, 3, 50}, Shape{1, 1, 4, 1},
                                         Shape{2, 3, 32, 16}),
                       ::testing::Values(0, 1, 2, 3), ::testing::Values("Softmax", "LogSoftmax"),
                       ::testing::Values(1, 2)));

}  // namespace
}  // namespace baton::engine

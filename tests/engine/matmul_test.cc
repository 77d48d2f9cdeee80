// Products with constant weights, shared out among threads.
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/dnnl_util.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;

constexpr int64_t kOutputs = 520;

// gelu(x · w + b) + r
std::string Dense(const Tensor& w, const Tensor& b) {
  ModelBuilder m(20);
  m.Input("x", DataType::kFloat, {-1, w.shape()[0]});
  m.Input("r", DataType::kFloat, {-1, kOutputs});
  m.Constant("w", w);
  m.Constant("b", b);
  m.Node("MatMul", {"x", "w"}, {"p"});
  m.Node("Add", {"p", "b"}, {"s"});
  m.Node("Gelu", {"s"}, {"g"});
  m.Node("Add", {"g", "r"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, kOutputs});
  return m.Build();
}

// Row `row` of that, in double.
std::vector<double> Reference(const Tensor& x, const Tensor& r, const Tensor& w, const Tensor& b,
                              size_t row) {
  const auto inputs = static_cast<size_t>(w.shape()[0]);
  std::vector<double> y;
  for (size_t j = 0; j < kOutputs; ++j) {
    double sum = b.values<float>()[j];
    for (size_t i = 0; i < inputs; ++i) {
      sum += static_cast<double>(x.values<float>()[row * inputs + i]) *
             w.values<float>()[i * kOutputs + j];
    }
    y.push_back(0.5 * sum * (1 + std::erf(sum / std::sqrt(2.0))) +
                r.values<float>()[row * kOutputs + j]);
  }
  return y;
}

// Of a matrix of 1 MiB and of one of 2, which is large.
class DenseTest : public ::testing::TestWithParam<std::tuple<Precision, int64_t>> {};

// Rows for each thread: few, as many as make parts of their own, and numbers that leave a rest.
TEST_P(DenseTest, RowsAreTheSameHoweverManyThreadsShareThem) {
  const auto& [precision, width] = GetParam();
  if (precision == Precision::kBf16 && !HasBfloat16()) {
    GTEST_SKIP() << "this processor has no AVX-512 BF16";
  }
  ModelOptions options;
  options.precision = precision;
  const Tensor w = RandomTensor({width, kOutputs}, 1), b = RandomTensor({kOutputs}, 2);
  const auto model = Model::Parse(Dense(w, b), "", options);
  ASSERT_TRUE(model.ok()) << model.status();
  const bool exact = precision == Precision::kF32;
  for (const int64_t rows : {1, 60, 128, 129, 197, 300, 1031}) {
    const std::vector<Tensor> inputs = {RandomTensor({rows, width}, 3),
                                        RandomTensor({rows, kOutputs}, 4)};
    const auto alone = RunModel(**model, inputs, 1);
    ASSERT_TRUE(alone.ok()) << alone.status();
    const auto expected = (*alone)[0].values<float>();
    const auto last = static_cast<size_t>(rows - 1);
    const std::vector<double> reference = Reference(inputs[0], inputs[1], w, b, last);
    for (size_t j = 0; j < kOutputs; ++j) {
      ASSERT_NEAR(expected[last * kOutputs + j], reference[j], exact ? 1e-4 : 0.5) << rows;
    }
    for (const int threads : {2, 3}) {
      SCOPED_TRACE(absl::StrCat(rows, " rows, ", threads, " threads"));
      const auto shared = RunModel(**model, inputs, threads);
      ASSERT_TRUE(shared.ok()) << shared.status();
      const auto y = (*shared)[0].values<float>();
      ASSERT_EQ(y.size(), expected.size());
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i], exact ? 1e-5 : 0.1) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, DenseTest,
                         ::testing::Combine(::testing::Values(Precision::kF32, Precision::kBf16),
                                            ::testing::Values(512, 1024)));

}  // namespace
}  // namespace baton::engine

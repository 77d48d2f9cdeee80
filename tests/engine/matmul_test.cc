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

constexpr int64_t kInputs = 512, kOutputs = 520;

// gelu(x · w + b) + r
std::string Dense() {
  ModelBuilder m(20);
  m.Input("x", DataType::kFloat, {-1, kInputs});
  m.Input("r", DataType::kFloat, {-1, kOutputs});
  m.Constant("w", RandomTensor({kInputs, kOutputs}, 1));
  m.Constant("b", RandomTensor({kOutputs}, 2));
  m.Node("MatMul", {"x", "w"}, {"p"});
  m.Node("Add", {"p", "b"}, {"s"});
  m.Node("Gelu", {"s"}, {"g"});
  m.Node("Add", {"g", "r"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, kOutputs});
  return m.Build();
}

// Rows for each thread: few, as many as make parts of their own, and numbers that leave a rest.
class DenseTest : public ::testing::TestWithParam<Precision> {};

TEST_P(DenseTest, RowsAreTheSameHoweverManyThreadsShareThem) {
  if (GetParam() == Precision::kBf16 && !HasBfloat16()) {
    GTEST_SKIP() << "this processor has no AVX-512 BF16";
  }
  ModelOptions options;
  options.precision = GetParam();
  const auto model = Model::Parse(Dense(), "", options);
  ASSERT_TRUE(model.ok()) << model.status();
  const double tolerance = GetParam() == Precision::kF32 ? 1e-5 : 0.1;
  for (const int64_t rows : {60, 128, 129, 197, 300, 1031}) {
    const std::vector<Tensor> inputs = {RandomTensor({rows, kInputs}, 3),
                                        RandomTensor({rows, kOutputs}, 4)};
    const auto alone = RunModel(**model, inputs, 1);
    ASSERT_TRUE(alone.ok()) << alone.status();
    for (const int threads : {2, 3}) {
      SCOPED_TRACE(absl::StrCat(rows, " rows, ", threads, " threads"));
      const auto shared = RunModel(**model, inputs, threads);
      ASSERT_TRUE(shared.ok()) << shared.status();
      const auto y = (*shared)[0].values<float>(), expected = (*alone)[0].values<float>();
      ASSERT_EQ(y.size(), expected.size());
      for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], tolerance) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, DenseTest,
                         ::testing::Values(Precision::kF32, Precision::kBf16));

}  // namespace
}  // namespace baton::engine

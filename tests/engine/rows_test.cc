// Which models treat the rows of a batch apart, and that a batch run in pieces gives what its rows
// give alone.
#include "engine/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "engine/kernel_table.h"
#include "engine/onnx_import.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;
using testing::SetInts;

struct RowsCase {
  const char* name;
  bool independent;
  // From "x", float[batch,4,6], to "y" of `rank`.
  std::function<void(ModelBuilder&)> build;
  size_t rank = 3;
};

void PrintTo(const RowsCase& c, std::ostream* out) { *out << c.name; }

std::string ModelOf(const RowsCase& c) {
  ModelBuilder m(18);
  m.Input("x", DataType::kFloat, {-1, 4, 6});
  m.Constant("zero", Tensor::From<int64_t>({1}, {0}));
  m.Constant("one", Tensor::From<int64_t>({1}, {1}));
  m.Constant("w", RandomTensor({6, 6}, 1));
  c.build(m);
  m.Output("y", DataType::kFloat, std::vector<int64_t>(c.rank, -1));
  return m.Build();
}

bool Independent(const std::string& onnx) {
  auto graph = ImportOnnx(*ParseOnnx(onnx), "");
  EXPECT_TRUE(graph.ok()) << graph.status();
  LoadedGraph loaded;
  loaded.graph = *std::move(graph);
  for (const Node& node : loaded.graph.nodes) {
    const KernelEntry* entry = FindKernel(node.domain, node.op, node.opset);
    EXPECT_NE(entry, nullptr) << node.op;
    auto kernel = entry->make(node, loaded.graph);
    EXPECT_TRUE(kernel.ok()) << kernel.status();
    loaded.kernels.push_back(*std::move(kernel));
  }
  return RowsAreIndependent(loaded);
}

const RowsCase kRows[] = {
    {"Elements", true, [](ModelBuilder& m) { m.Node("Relu", {"x"}, {"y"}); }},
    {"Product", true,
     [](ModelBuilder& m) {
       m.Node("MatMul", {"x", "w"}, {"y"});
     }},
    {"Squared", true,
     [](ModelBuilder& m) {
       m.Node("Mul", {"x", "x"}, {"y"});
     }},
    {"ProductOfEachRow", true,
     [](ModelBuilder& m) {
       SetInts(m.Node("Transpose", {"x"}, {"t"}), "perm", {0, 2, 1});
       m.Node("MatMul", {"x", "t"}, {"y"});
     }},
    {"Softmax", true, [](ModelBuilder& m) { SetInt(m.Node("Softmax", {"x"}, {"y"}), "axis", -1); }},
    {"SoftmaxOverRows", false,
     [](ModelBuilder& m) { SetInt(m.Node("Softmax", {"x"}, {"y"}), "axis", 0); }},
    {"MeanOfEachRow", true,
     [](ModelBuilder& m) {
       m.Node("ReduceMean", {"x", "one"}, {"mean"});
       m.Node("Sub", {"x", "mean"}, {"y"});
     }},
    {"MeanOfRows", false,
     [](ModelBuilder& m) {
       m.Node("ReduceMean", {"x", "zero"}, {"mean"});
       m.Node("Sub", {"x", "mean"}, {"y"});
     }},
    {"Flattened", true, [](ModelBuilder& m) { m.Node("Flatten", {"x"}, {"y"}); }, 2},
    {"ReshapedByItsShape", true,
     [](ModelBuilder& m) {
       m.Node("Shape", {"x"}, {"shape"});
       m.Node("Gather", {"shape", "zero"}, {"batch"});
       m.Constant("rest", Tensor::From<int64_t>({2}, {6, 4}));
       SetInt(m.Node("Concat", {"batch", "rest"}, {"wanted"}), "axis", 0);
       m.Node("Reshape", {"x", "wanted"}, {"y"});
     }},
    {"RowsBecomeOne", false,
     [](ModelBuilder& m) {
       m.Constant("wanted", Tensor::From<int64_t>({2}, {-1, 6}));
       m.Node("Reshape", {"x", "wanted"}, {"y"});
     },
     2},
    {"DividedByTheBatch", false,
     [](ModelBuilder& m) {
       m.Node("Shape", {"x"}, {"shape"});
       m.Node("Gather", {"shape", "zero"}, {"batch"});
       SetInt(m.Node("Cast", {"batch"}, {"number"}), "to", 1);
       m.Node("Div", {"x", "number"}, {"y"});
     }},
    {"DividedByAnotherDimension", true,
     [](ModelBuilder& m) {
       m.Node("Shape", {"x"}, {"shape"});
       m.Node("Gather", {"shape", "one"}, {"length"});
       SetInt(m.Node("Cast", {"length"}, {"number"}), "to", 1);
       m.Node("Div", {"x", "number"}, {"y"});
     }},
    {"DividedByANumberOfRankZero", true,
     [](ModelBuilder& m) {
       m.Constant("second", Tensor::From<int64_t>({}, {1}));
       m.Node("Shape", {"x"}, {"shape"});
       m.Node("Gather", {"shape", "second"}, {"length"});
       SetInt(m.Node("Cast", {"length"}, {"number"}), "to", 1);
       m.Node("Sqrt", {"number"}, {"root"});
       m.Node("Div", {"x", "root"}, {"y"});
     }},
    {"RowsReversed", false,
     [](ModelBuilder& m) {
       m.Constant("start", Tensor::From<int64_t>({1}, {-1}));
       m.Constant("end", Tensor::From<int64_t>({1}, {INT64_MIN}));
       m.Constant("step", Tensor::From<int64_t>({1}, {-1}));
       m.Node("Slice", {"x", "start", "end", "zero", "step"}, {"y"});
     }},
    {"APieceOfEachRow", true,
     [](ModelBuilder& m) {
       m.Constant("end", Tensor::From<int64_t>({1}, {3}));
       m.Node("Slice", {"x", "one", "end", "one"}, {"y"});
     }},
    {"OneRowForAll", false,
     [](ModelBuilder& m) {
       m.Node("Gather", {"x", "zero"}, {"first"});
       m.Node("Add", {"x", "first"}, {"y"});
     }},
    {"JoinedWithin", true,
     [](ModelBuilder& m) {
       SetInt(m.Node("Concat", {"x", "x"}, {"y"}), "axis", 1);
     }},
    {"JoinedRows", false,
     [](ModelBuilder& m) {
       SetInt(m.Node("Concat", {"x", "x"}, {"y"}), "axis", 0);
     }},
    {"RowsBecomeColumns", false,
     [](ModelBuilder& m) {
       SetInts(m.Node("Transpose", {"x"}, {"y"}), "perm", {1, 0, 2});
     }},
    {"SameRowAdded", true,
     [](ModelBuilder& m) {
       m.Constant("row", RandomTensor({1, 4, 6}, 2));
       m.Node("Shape", {"x"}, {"shape"});
       m.Node("Expand", {"row", "shape"}, {"rows"});
       m.Node("Add", {"x", "rows"}, {"y"});
     }},
    {"NumberOfTheRowAdded", false,
     [](ModelBuilder& m) {
       m.Constant("start", Tensor::From<int64_t>({}, {0}));
       m.Constant("step", Tensor::From<int64_t>({}, {1}));
       m.Constant("first", Tensor::From<int64_t>({}, {0}));
       m.Constant("column", Tensor::From<int64_t>({3}, {-1, 1, 1}));
       m.Node("Shape", {"x"}, {"shape"});
       m.Node("Gather", {"shape", "first"}, {"batch"});
       m.Node("Range", {"start", "batch", "step"}, {"numbers"});
       SetInt(m.Node("Cast", {"numbers"}, {"floats"}), "to", 1);
       m.Node("Reshape", {"floats", "column"}, {"rows"});
       m.Node("Add", {"x", "rows"}, {"y"});
     }},
    {"WordsOfATable", true,
     [](ModelBuilder& m) {
       SetInt(m.Node("Cast", {"x"}, {"words"}), "to", 7);
       m.Node("Gather", {"w", "words"}, {"y"});
     },
     4},
    {"RowsAsATable", false,
     [](ModelBuilder& m) {
       SetInt(m.Node("Cast", {"x"}, {"words"}), "to", 7);
       m.Node("Gather", {"x", "words"}, {"y"});
     },
     5},
};

class RowsTest : public ::testing::TestWithParam<RowsCase> {};

TEST_P(RowsTest, AreFoundIndependentOrNot) {
  EXPECT_EQ(Independent(ModelOf(GetParam())), GetParam().independent);
}

INSTANTIATE_TEST_SUITE_P(Models, RowsTest, ::testing::ValuesIn(kRows),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(RowsAreIndependentTest, NotWhereTheBatchIsFixed) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {2, 4});
  m.Node("Relu", {"x"}, {"y"});
  m.Output("y", DataType::kFloat, {2, 4});
  EXPECT_FALSE(Independent(m.Build()));
}

// Two convolutions, enough work for a piece; the mean of rows makes them depend on each other.
std::string Convolutions(bool mixes_rows) {
  ModelBuilder m(18);
  m.Input("x", DataType::kFloat, {-1, 16, 40, 40});
  m.Constant("w", RandomTensor({32, 16, 3, 3}, 1));
  m.Constant("v", RandomTensor({16, 32, 1, 1}, 2));
  m.Constant("zero", Tensor::From<int64_t>({1}, {0}));
  m.Node("Conv", {"x", "w"}, {"a"});
  m.Node("Conv", {"a", "v"}, {"b"});
  m.Node("GlobalAveragePool", {"a"}, {"z"});
  if (mixes_rows) m.Node("ReduceMean", {"b", "zero"}, {"mean"});
  m.Node("Sub", {"b", mixes_rows ? "mean" : "b"}, {"c"});
  m.Node("Add", {"b", "c"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 16, 38, 38});
  m.Output("z", DataType::kFloat, {-1, 32, 1, 1});
  return m.Build();
}

const Pieces* PiecesOf(const Model& model, int64_t batch, int threads) {
  const auto plan = model.GetPlan({{batch, 16, 40, 40}}, threads);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? static_cast<const PlanImpl&>(**plan).pieces() : nullptr;
}

// The same with a head: products of rows whose weights do not stay in a cache.
std::string Classifier() {
  ModelBuilder m(18);
  m.Input("x", DataType::kFloat, {-1, 16, 40, 40});
  m.Constant("w", RandomTensor({32, 16, 3, 3}, 1));
  m.Constant("hidden", RandomTensor({32, 2048}, 2));
  m.Constant("classes", RandomTensor({2048, 130}, 3));
  m.Node("Conv", {"x", "w"}, {"a"});
  m.Node("GlobalAveragePool", {"a"}, {"p"});
  m.Node("Flatten", {"p"}, {"f"});
  m.Node("MatMul", {"f", "hidden"}, {"h"});
  m.Node("Sigmoid", {"h"}, {"s"});
  m.Node("MatMul", {"s", "classes"}, {"y"});
  m.Node("Softmax", {"y"}, {"z"});
  m.Output("y", DataType::kFloat, {-1, 130});
  m.Output("z", DataType::kFloat, {-1, 130});
  return m.Build();
}

class PiecesTest : public ::testing::TestWithParam<bool> {};

TEST_P(PiecesTest, GiveWhatRowsGiveAlone) {
  const bool has_head = GetParam();
  const auto model = Model::Parse(has_head ? Classifier() : Convolutions(false), "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(PiecesOf(**model, 1, 2), nullptr);
  const Tensor x = RandomTensor({7, 16, 40, 40}, 3);
  constexpr size_t kRow = 16 * 40 * 40;
  std::vector<std::vector<Tensor>> alone;
  for (size_t i = 0; i < 7; ++i) {
    const TensorView row{DataType::kFloat, {1, 16, 40, 40}, x.values<float>().data() + i * kRow};
    auto result = RunModel(**model, {Tensor::Copy(row)});
    ASSERT_TRUE(result.ok()) << result.status();
    alone.push_back(*std::move(result));
  }
  Session session;
  for (const int threads : {1, 2, 3}) {
    for (int64_t batch = threads; batch <= 7; ++batch) {
      const TensorView view{DataType::kFloat, {batch, 16, 40, 40}, x.data()};
      const auto plan = (*model)->GetPlan({view.shape}, threads);
      ASSERT_TRUE(plan.ok()) << plan.status();
      const Pieces* const pieces = static_cast<const PlanImpl&>(**plan).pieces();
      if (batch > 1) {
        ASSERT_NE(pieces, nullptr) << batch << " rows, " << threads << " threads";
        EXPECT_EQ(pieces->rest != nullptr, batch % threads != 0);
        ASSERT_EQ(pieces->head != nullptr, has_head);
        if (has_head) {
          EXPECT_EQ(pieces->head->steps().size(), 3U);
        }
      }
      for (int run = 0; run < 2; ++run) {
        std::vector<double> seconds;
        const auto out = run == 0 ? session.Run(**plan, {&view, 1})
                                  : session.RunProfiled(**plan, {&view, 1}, seconds);
        ASSERT_TRUE(out.ok()) << out.status();
        EXPECT_EQ(seconds.size(), run == 0 ? 0 : (*plan)->steps().size());
        EXPECT_THAT(seconds, ::testing::Each(::testing::Gt(0)));
        for (size_t o = 0; o < 2; ++o) {
          ASSERT_EQ((*out)[o].shape, (*plan)->output_shapes()[o]);
          const auto values = (*out)[o].values<float>();
          const size_t row = values.size() / static_cast<size_t>(batch);
          for (size_t i = 0; i < values.size(); ++i) {
            ASSERT_NEAR(values[i], alone[i / row][o].values<float>()[i % row], 1e-3)
                << batch << " rows, " << threads << " threads, output " << o;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PiecesTest, ::testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "WithHead" : "WithoutHead");
});

TEST(PiecesChoiceTest, AreNotMadeWhereRowsDependOnEachOther) {
  const auto model = Model::Parse(Convolutions(true), "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(PiecesOf(**model, 4, 1), nullptr);
  EXPECT_EQ(PiecesOf(**model, 4, 2), nullptr);
}

// Two matrices of 16 MiB, which few words are less work than to read.
TEST(PiecesChoiceTest, AreNotMadeWhereEachWouldReadWeightsForLittle) {
  ModelBuilder m(18);
  m.Input("x", DataType::kFloat, {-1, -1, 1024});
  m.Constant("w", RandomTensor({1024, 4096}, 1));
  m.Constant("v", RandomTensor({4096, 1024}, 2));
  m.Node("MatMul", {"x", "w"}, {"a"});
  m.Node("MatMul", {"a", "v"}, {"b"});
  m.Node("Add", {"b", "x"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, -1, 1024});
  const auto model = Model::Parse(m.Build(), "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto in_pieces = [&](int64_t words, int threads) {
    const auto plan = (*model)->GetPlan({{6, words, 1024}}, threads);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() && static_cast<const PlanImpl&>(**plan).pieces() != nullptr;
  };
  EXPECT_FALSE(in_pieces(8, 2));
  EXPECT_TRUE(in_pieces(128, 2));
  EXPECT_TRUE(in_pieces(8, 1)) << "one thread reads them whatever it does";
}

TEST(PiecesChoiceTest, TheHookBetweenStepsIsCalled) {
  const auto model = Model::Parse(Convolutions(false), "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const Tensor x = RandomTensor({4, 16, 40, 40}, 3);
  for (const int threads : {1, 2}) {
    const auto plan = (*model)->GetPlan({x.shape()}, threads);
    ASSERT_TRUE(plan.ok()) << plan.status();
    Session session;
    int calls = 0;
    session.SetBetweenSteps([&] { ++calls; });
    ASSERT_TRUE(session.Run(**plan, {x.view()}).ok());
    // On two threads: between rounds.
    EXPECT_EQ(calls, threads == 1 ? 4 * static_cast<int>((*plan)->steps().size()) - 1 : 1);
  }
}

}  // namespace
}  // namespace baton::engine

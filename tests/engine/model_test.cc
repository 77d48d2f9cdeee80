#include "engine/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <thread>

#include "engine/dnnl_util.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"
#include "tests/support/temp_dir.h"

namespace baton::engine {
namespace {

using testing::AffineModel;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetFloat;
using testing::SetInt;
using testing::SetInts;

std::string LoadError(const std::string& onnx) {
  const auto model = Model::Parse(onnx, "", {});
  EXPECT_FALSE(model.ok());
  return std::string(model.status().message());
}

TEST(ModelTest, NamesAMissingFile) {
  const auto model = Model::Load("/nowhere/model.onnx", {});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("/nowhere/model.onnx"));
}

TEST(ModelTest, RefusesWhatIsNotOnnx) {
  EXPECT_THAT(LoadError(""), HasSubstr("no graph"));
  EXPECT_THAT(LoadError("hello, this is not a model"), HasSubstr("not a whole ONNX file"));
}

TEST(ModelTest, RefusesTruncatedFiles) {
  const std::string onnx = AffineModel(2, 1);
  size_t loaded = 0;
  for (size_t size = 0; size < onnx.size(); ++size) {
    loaded += Model::Parse(onnx.substr(0, size), "", {}).ok();
  }
  // A cut between the last two fields of the file (the graph and the operator sets) can leave a
  // message that is whole in itself; every other cut is seen.
  EXPECT_LE(loaded, 1u);
}

TEST(ModelTest, NamesAllUnsupportedOperatorsAtOnce) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 4});
  m.Node("Frobnicate", {"x"}, {"a"});
  m.Node("Relu", {"a"}, {"b"});
  m.Node("Defenestrate", {"b"}, {"y"}, "com.example");
  m.proto().add_opset_import()->set_domain("com.example");
  m.proto().mutable_opset_import(1)->set_version(3);
  m.Output("y", DataType::kFloat, {-1, 4});
  EXPECT_THAT(LoadError(m.Build()), AllOf(HasSubstr("Frobnicate"), HasSubstr("opset 17"),
                                          HasSubstr("com.example.Defenestrate, opset 3")));
}

TEST(ModelTest, NamesABrokenGraph) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {4});
  m.Node("Relu", {"nothing"}, {"y"});
  m.Output("y", DataType::kFloat, {4});
  EXPECT_THAT(LoadError(m.Build()), AllOf(HasSubstr("Relu_0"), HasSubstr("\"nothing\"")));

  ModelBuilder twice;
  twice.Input("x", DataType::kFloat, {4});
  twice.Node("Relu", {"x"}, {"x"});
  twice.Output("x", DataType::kFloat, {4});
  EXPECT_THAT(LoadError(twice.Build()), HasSubstr("defined twice"));

  ModelBuilder no_output;
  no_output.Input("x", DataType::kFloat, {4});
  EXPECT_THAT(LoadError(no_output.Build()), HasSubstr("no outputs"));
}

TEST(ModelTest, SaysWhichShapeItExpects) {
  const auto model = *Model::Parse(AffineModel(1, 0), "", {});
  const std::vector<Shape> wrong_size = {{2, 5}}, wrong_rank = {{4}};
  EXPECT_THAT(std::string(model->GetPlan(wrong_size, 1).status().message()),
              AllOf(HasSubstr("\"x\""), HasSubstr("[2,5]"), HasSubstr("float[batch,4]")));
  EXPECT_THAT(std::string(model->GetPlan(wrong_rank, 1).status().message()), HasSubstr("rank"));
  EXPECT_THAT(std::string(model->GetPlan({}, 1).status().message()), HasSubstr("got 0 inputs"));
}

TEST(ModelTest, HoldsOneSymbolToOneSize) {
  ModelBuilder m;
  m.Input("a", DataType::kFloat, {-1, 2});
  m.Input("b", DataType::kFloat, {-1, 2});
  m.Node("Add", {"a", "b"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 2});
  const auto model = *Model::Parse(m.Build(), "", {});
  const std::vector<Shape> shapes = {{2, 2}, {3, 2}};
  EXPECT_THAT(std::string(model->GetPlan(shapes, 1).status().message()),
              HasSubstr("\"batch\" is 2 in another input"));
}

TEST(ModelTest, ModelsWithOtherWeightsHaveTheSameStructure) {
  const auto structure = [](float weight, int64_t columns, int64_t axis, const char* op) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {-1, columns});
    m.Constant("w", Tensor::From<float>({}, {weight}));
    m.Constant("axes", Tensor::From<int64_t>({1}, {axis}));
    m.Node("Mul", {"x", "w"}, {"a"});
    m.Node("ReduceSum", {"a", "axes"}, {"b"});
    SetFloat(m.Node(op, {"b"}, {"y"}), "alpha", 1);
    m.Output("y", DataType::kFloat, {-1, -1});
    const auto model = Model::Parse(m.Build(), "", {});
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? (*model)->structure() : 0;
  };
  const uint64_t one = structure(1, 4, 0, "Elu");
  EXPECT_EQ(structure(2, 4, 0, "Elu"), one);
  EXPECT_NE(structure(1, 5, 0, "Elu"), one);
  EXPECT_NE(structure(1, 4, 1, "Elu"), one);
  EXPECT_NE(structure(1, 4, 0, "Celu"), one);
}

TEST(ModelTest, KeepsPlansByShapeAndThreads) {
  const auto model = *Model::Parse(AffineModel(1, 0), "", {});
  const std::vector<Shape> one = {{1, 4}}, two = {{2, 4}};
  EXPECT_EQ(model->FindPlan(one, 1), nullptr);
  const auto plan = *model->GetPlan(one, 1);
  EXPECT_EQ(model->FindPlan(one, 1), plan);
  EXPECT_EQ(*model->GetPlan(one, 1), plan);
  EXPECT_EQ(model->FindPlan(two, 1), nullptr);
  EXPECT_EQ(model->FindPlan(one, 2), nullptr);
}

TEST(ModelTest, DropsTheLeastRecentPlanWhenTheCacheIsFull) {
  ModelOptions options;
  options.plan_cache_bytes = 1;
  const auto model = *Model::Parse(AffineModel(1, 0), "", options);
  const std::vector<Shape> one = {{1, 4}}, two = {{2, 4}};
  ASSERT_TRUE(model->GetPlan(one, 1).ok());
  ASSERT_TRUE(model->GetPlan(two, 1).ok());
  EXPECT_EQ(model->FindPlan(one, 1), nullptr);
  EXPECT_NE(model->FindPlan(two, 1), nullptr);
}

TEST(ModelTest, APlanOutlivesItsModel) {
  auto model = *Model::Parse(AffineModel(3, 1), "", {});
  const std::vector<Shape> shapes = {{1, 4}};
  const auto plan = *model->GetPlan(shapes, 1);
  model.reset();
  Session session;
  const Tensor x = Tensor::From<float>({1, 4}, {0, 1, 2, 3});
  const auto outputs = session.Run(*plan, {x.view()});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_THAT((*outputs)[0].values<float>(), ::testing::ElementsAre(1, 4, 7, 10));
}

// A small net with a convolution, a product and a softmax.
std::string SmallNet() {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 3, 12, 12});
  m.Constant("w", RandomTensor({32, 3, 3, 3}, 1));
  SetInts(m.Node("Conv", {"x", "w"}, {"c"}), "pads", {1, 1, 1, 1});
  m.Node("Relu", {"c"}, {"r"});
  m.Constant("v", RandomTensor({32, 32, 3, 3}, 2));
  SetInts(m.Node("Conv", {"r", "v"}, {"d"}), "pads", {1, 1, 1, 1});
  m.Node("Add", {"d", "r"}, {"a"});
  m.Node("GlobalAveragePool", {"a"}, {"p"});
  m.Node("Flatten", {"p"}, {"f"});
  m.Constant("u", RandomTensor({32, 10}, 3));
  m.Node("MatMul", {"f", "u"}, {"g"});
  m.Node("Softmax", {"g"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 10});
  return m.Build();
}

// Attention over rows of any number, and products large enough for bfloat16.
std::string SmallTransformer() {
  ModelBuilder m(23);
  m.Input("x", DataType::kFloat, {-1, -1, 64}, {"batch", "length", ""});
  auto& attention = m.Node("Attention", {"x", "x", "x"}, {"a"});
  SetInt(attention, "q_num_heads", 4);
  SetInt(attention, "kv_num_heads", 4);
  m.Constant("scale", RandomTensor({64}, 1));
  m.Node("LayerNormalization", {"a", "scale"}, {"n"});
  m.Constant("v", RandomTensor({64, 2100}, 2));
  m.Node("MatMul", {"n", "v"}, {"h"});
  m.Node("Gelu", {"h"}, {"g"});
  m.Constant("w", RandomTensor({2100, 64}, 3));
  m.Node("MatMul", {"g", "w"}, {"d"});
  m.Node("Add", {"d", "n"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, -1, 64}, {"batch", "length", ""});
  return m.Build();
}

// A convolution and a product of integers, the latter with scales that come with each run.
std::string SmallQuantizedNet() {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 3, -1, -1}, {"batch", "", "height", "width"});
  m.Constant("scale", Tensor::From<float>({}, {0.01f}));
  m.Constant("zero", Tensor::From<uint8_t>({}, {128}));
  m.Node("QuantizeLinear", {"x", "scale", "zero"}, {"q"});
  m.Node("DequantizeLinear", {"q", "scale", "zero"}, {"x_left"});
  Tensor weights(DataType::kInt8, {32, 3, 3, 3});
  int value = 0;
  for (int8_t& w : weights.mutable_values<int8_t>())
    w = static_cast<int8_t>(++value * 37 % 255 - 127);
  m.Constant("w", weights);
  m.Node("DequantizeLinear", {"w", "scale"}, {"w_left"});
  m.Node("Conv", {"x_left", "w_left"}, {"c"});
  m.Node("Relu", {"c"}, {"r"});
  m.Node("GlobalAveragePool", {"r"}, {"p"});
  m.Node("Flatten", {"p"}, {"f"});
  m.Node("DynamicQuantizeLinear", {"f"}, {"d", "d_scale", "d_zero"});
  Tensor last(DataType::kInt8, {32, 10});
  for (int8_t& w : last.mutable_values<int8_t>()) w = static_cast<int8_t>(++value * 41 % 255 - 127);
  m.Constant("v", last);
  m.Node("MatMulInteger", {"d", "v", "d_zero"}, {"sums"});
  SetInt(m.Node("Cast", {"sums"}, {"floats"}), "to", 1);
  m.Node("Mul", {"d_scale", "scale"}, {"both"});
  m.Node("Mul", {"floats", "both"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 10});
  return m.Build();
}

struct SharedModel {
  const char* name;
  std::string (*onnx)();
  ModelOptions options;
  std::vector<Shape> shapes;
};
void PrintTo(const SharedModel& model, std::ostream* out) { *out << model.name; }

class SharedModelTest : public ::testing::TestWithParam<SharedModel> {};

TEST_P(SharedModelTest, GivesTheSameBitsToManyThreadsAtOnce) {
  const SharedModel& given = GetParam();
  if (given.options.precision == Precision::kBf16 && !HasBfloat16()) {
    GTEST_SKIP() << "this processor has no AVX-512 BF16";
  }
  const auto parsed = Model::Parse(given.onnx(), "", given.options);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Model& model = **parsed;
  std::vector<Tensor> inputs, expected;
  for (const Shape& shape : given.shapes) {
    inputs.push_back(RandomTensor(shape, static_cast<uint32_t>(inputs.size()) + 10));
    // Of another model: threads are to compile plans, too.
    const auto own = Model::Parse(given.onnx(), "", given.options);
    expected.push_back(RunModel(**own, {inputs.back()}).value()[0]);
  }
  std::vector<std::thread> threads;
  std::vector<int> wrong(8, 0);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      Session session;
      for (size_t round = 0; round < 20; ++round) {
        const size_t i = (t + round) % inputs.size();
        const std::vector<Shape> shapes = {inputs[i].shape()};
        const auto plan = model.GetPlan(shapes, 1);
        const auto outputs = session.Run(**plan, {inputs[i].view()});
        const auto same = Compare((*outputs)[0], expected[i].view(), 0, 0);
        wrong[t] += !same.ok() || !same->within;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(wrong, ::testing::Each(0));
}

const std::vector<Shape> kImageShapes = {
    {1, 3, 12, 12}, {2, 3, 12, 12}, {3, 3, 12, 12}, {4, 3, 12, 12}, {5, 3, 12, 12}};
const std::vector<Shape> kAnyImageShapes = {
    {1, 3, 12, 12}, {2, 3, 16, 12}, {3, 3, 9, 20}, {5, 3, 12, 12}, {8, 3, 7, 7}};
const std::vector<Shape> kTextShapes = {{1, 5, 64}, {2, 17, 64}, {3, 16, 64}, {8, 33, 64}};

INSTANTIATE_TEST_SUITE_P(
    Models, SharedModelTest,
    ::testing::Values(
        SharedModel{"Net", &SmallNet, {}, kImageShapes},
        SharedModel{"Transformer", &SmallTransformer, {}, kTextShapes},
        SharedModel{"Bfloat16Net", &SmallNet, {.precision = Precision::kBf16}, kImageShapes},
        SharedModel{
            "Bfloat16Transformer", &SmallTransformer, {.precision = Precision::kBf16}, kTextShapes},
        SharedModel{"QuantizedNet", &SmallQuantizedNet, {}, kAnyImageShapes}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ModelTest, ARunMayBeInterruptedByRunsOfOtherSessions) {
  const auto model = *Model::Parse(SmallNet(), "", {});
  const auto run = [&](Session& session, const Tensor& input, int threads) {
    const std::vector<Shape> shapes = {input.shape()};
    const auto plan = model->GetPlan(shapes, threads);
    return Tensor::Copy((*session.Run(**plan, {input.view()}))[0]);
  };
  const Tensor outer_input = RandomTensor({7, 3, 12, 12}, 1);
  const Tensor inner_input = RandomTensor({2, 3, 12, 12}, 2);
  Session outer, inner;
  const Tensor outer_expected = run(outer, outer_input, 2);
  const Tensor inner_expected = run(inner, inner_input, 1);
  size_t interruptions = 0;
  outer.SetBetweenSteps([&] {
    ++interruptions;
    EXPECT_TRUE(Compare(run(inner, inner_input, 1).view(), inner_expected.view(), 0, 0)->within);
  });
  EXPECT_TRUE(Compare(run(outer, outer_input, 2).view(), outer_expected.view(), 0, 0)->within);
  const std::vector<Shape> shapes = {outer_input.shape()};
  EXPECT_EQ(interruptions, (*model->GetPlan(shapes, 2))->steps().size() - 1);
  EXPECT_GT(interruptions, 2U);
  outer.SetBetweenSteps(nullptr);
  run(outer, outer_input, 2);
  EXPECT_EQ(interruptions, (*model->GetPlan(shapes, 2))->steps().size() - 1);
}

TEST(ModelTest, ReadsExternalDataBesideTheFile) {
  testing::TempDir directory;
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 2});
  m.Constant("w", Tensor::From<float>({2}, {10, 20}));
  m.Node("Add", {"x", "w"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 2});
  auto& w = *m.proto().mutable_graph()->mutable_initializer(0);
  const std::string raw = w.raw_data();
  w.clear_raw_data();
  w.set_data_location(onnx::TensorProto::EXTERNAL);
  auto& location = *w.add_external_data();
  location.set_key("location");
  location.set_value("w.bin");
  const auto write = [&](const std::string& name, const std::string& contents) {
    FILE* file = fopen((directory / name).c_str(), "wb");
    ASSERT_NE(file, nullptr);
    fwrite(contents.data(), 1, contents.size(), file);
    fclose(file);
  };
  write("model.onnx", m.Build());
  EXPECT_FALSE(Model::Load(directory / "model.onnx", {}).ok());
  write("w.bin", raw);
  const auto model = Model::Load(directory / "model.onnx", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto y = RunModel(**model, {Tensor::From<float>({1, 2}, {1, 2})});
  EXPECT_THAT((*y)[0].values<float>(), ::testing::ElementsAre(11, 22));
}

}  // namespace
}  // namespace baton::engine

// Resize where ONNX's own tests do not go: blocked layouts, other types, wrong attributes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;
using testing::SetInts;
using testing::SetString;
using testing::StepOps;

// x resized, with `attributes` as "name=value".
std::string ResizeModel(DataType type, const Shape& shape, const Shape& result,
                        const Tensor& scales,
                        const std::vector<std::pair<std::string, std::string>>& attributes) {
  ModelBuilder m(19);
  m.Input("x", type, {shape.begin(), shape.end()});
  m.Constant("scales", scales);
  auto& node = m.Node("Resize", {"x", "", "scales"}, {"y"});
  for (const auto& [name, value] : attributes) SetString(node, name, value);
  m.Output("y", type, {result.begin(), result.end()});
  return m.Build();
}

// A convolution, what comes between, and a convolution: 1×1, so that values stay apart.
std::string BetweenConvolutions(const std::string& mode, const Tensor& scales, bool resizes) {
  constexpr int64_t kChannels = 24;  // one and a half blocks
  ModelBuilder m(19);
  m.Input("x", DataType::kFloat, {-1, kChannels, 5, 7});
  m.Constant("w", RandomTensor({kChannels, kChannels, 1, 1}, 1));
  m.Constant("scales", scales);
  m.Node("Conv", {"x", "w"}, {"a"});
  if (resizes) {
    auto& resize = m.Node("Resize", {"a", "", "scales"}, {"b"});
    SetString(resize, "mode", mode);
    SetString(resize, "coordinate_transformation_mode", "asymmetric");
    SetString(resize, "nearest_mode", "floor");
  }
  m.Node("Conv", {resizes ? "b" : "a", "w"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, kChannels, -1, -1});
  return m.Build();
}

TEST(ResizeTest, KeepsChannelsInBlocksBetweenConvolutions) {
  const Tensor x = RandomTensor({2, 24, 5, 7}, 2);
  const Tensor scales = Tensor::From<float>({4}, {1, 1, 2, 3});
  const auto before = RunModel(BetweenConvolutions("nearest", scales, false), {x});
  ASSERT_TRUE(before.ok()) << before.status();
  const auto plain_ops = StepOps(BetweenConvolutions("nearest", scales, false), {x.shape()});
  for (const int threads : {1, 2}) {
    const std::string onnx = BetweenConvolutions("nearest", scales, true);
    // No further reorder.
    EXPECT_EQ(StepOps(onnx, {x.shape()}).size(), plain_ops.size() + 1);
    const auto y = RunModel(onnx, {x}, threads);
    ASSERT_TRUE(y.ok()) << y.status();
    ASSERT_EQ((*y)[0].shape(), (Shape{2, 24, 10, 21}));
    for (size_t c = 0; c < 2 * 24; ++c) {
      for (size_t i = 0; i < 10; ++i) {
        for (size_t j = 0; j < 21; ++j) {
          ASSERT_NEAR((*y)[0].values<float>()[(c * 10 + i) * 21 + j],
                      (*before)[0].values<float>()[(c * 5 + i / 2) * 7 + j / 3], 1e-4);
        }
      }
    }
  }
}

// A convolution of one pixel and an interpolation may change places.
TEST(ResizeTest, InterpolatesInBlocks) {
  const Tensor x = RandomTensor({1, 24, 5, 7}, 2);
  const Tensor scales = Tensor::From<float>({4}, {1, 1, 2.5f, 0.7f});
  for (const char* mode : {"linear", "cubic"}) {
    const auto actual = RunModel(BetweenConvolutions(mode, scales, true), {x});
    ASSERT_TRUE(actual.ok()) << actual.status();
    // Row-major: resized first, in a model of its own.
    const auto resized =
        RunModel(ResizeModel(DataType::kFloat, x.shape(), {1, 24, 12, 4}, scales,
                             {{"mode", mode}, {"coordinate_transformation_mode", "asymmetric"}}),
                 {x});
    ASSERT_TRUE(resized.ok()) << resized.status();
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {1, 24, 12, 4});
    m.Constant("w", RandomTensor({24, 24, 1, 1}, 1));
    m.Node("Conv", {"x", "w"}, {"a"});
    m.Node("Conv", {"a", "w"}, {"y"});
    m.Output("y", DataType::kFloat, {1, 24, 12, 4});
    const auto expected = RunModel(m.Build(), {(*resized)[0]});
    ASSERT_TRUE(expected.ok()) << expected.status();
    ASSERT_EQ((*actual)[0].shape(), (*expected)[0].shape());
    for (size_t i = 0; i < 24 * 12 * 4; ++i) {
      ASSERT_NEAR((*actual)[0].values<float>()[i], (*expected)[0].values<float>()[i], 1e-4);
    }
  }
}

TEST(ResizeTest, NearestTakesEveryType) {
  const Tensor scales = Tensor::From<float>({2}, {1, 2});
  const auto bytes = RunModel(ResizeModel(DataType::kUint8, {1, 3}, {1, 6}, scales, {}),
                              {Tensor::From<uint8_t>({1, 3}, {1, 2, 3})});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_THAT((*bytes)[0].values<uint8_t>(), ElementsAre(1, 1, 2, 2, 3, 3));
  const auto wide = RunModel(ResizeModel(DataType::kInt64, {1, 3}, {1, 6}, scales, {}),
                             {Tensor::From<int64_t>({1, 3}, {1, 2, 3})});
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_THAT((*wide)[0].values<int64_t>(), ElementsAre(1, 1, 2, 2, 3, 3));
}

TEST(ResizeTest, KeepsTheProportionWhereAsked) {
  const auto sized = [](const char* policy, const Shape& result) {
    ModelBuilder m(19);
    m.Input("x", DataType::kFloat, {1, 1, 2, 4});
    m.Constant("sizes", Tensor::From<int64_t>({2}, {6, 8}));
    auto& node = m.Node("Resize", {"x", "", "", "sizes"}, {"y"});
    SetString(node, "keep_aspect_ratio_policy", policy);
    SetInts(node, "axes", {2, 3});
    m.Output("y", DataType::kFloat, {result.begin(), result.end()});
    return RunModel(m.Build(), {RandomTensor({1, 1, 2, 4}, 1)});
  };
  for (const auto& [policy, result] :
       {std::pair<const char*, Shape>{"stretch", {1, 1, 6, 8}},
        std::pair<const char*, Shape>{"not_larger", {1, 1, 4, 8}},
        std::pair<const char*, Shape>{"not_smaller", {1, 1, 6, 12}}}) {
    const auto y = sized(policy, result);
    ASSERT_TRUE(y.ok()) << policy << ": " << y.status();
    EXPECT_EQ((*y)[0].shape(), result) << policy;
  }
}

TEST(ResizeTest, SaysWhatItDoesNotTake) {
  const Tensor scales = Tensor::From<float>({2}, {1, 2});
  const auto error = [&](DataType type, const Tensor& some_scales,
                         const std::vector<std::pair<std::string, std::string>>& attributes) {
    const auto y = RunModel(ResizeModel(type, {1, 3}, {1, 6}, some_scales, attributes),
                            {Tensor(type, {1, 3})});
    return y.ok() ? "" : std::string(y.status().message());
  };
  EXPECT_EQ(error(DataType::kFloat, scales, {}), "");
  EXPECT_THAT(error(DataType::kFloat, scales, {{"mode", "lanczos"}}),
              AllOf(HasSubstr("node \"Resize_0\""), HasSubstr("\"mode\" is \"lanczos\""),
                    HasSubstr("nearest, linear, cubic")));
  EXPECT_THAT(error(DataType::kInt32, scales, {{"mode", "linear"}}),
              HasSubstr("mode \"linear\" for int32 is not supported"));
  EXPECT_THAT(error(DataType::kFloat, Tensor::From<float>({3}, {1, 1, 2}), {}),
              HasSubstr("scales is float[3], expected float[2]"));
  EXPECT_THAT(error(DataType::kFloat, Tensor::From<float>({2}, {1, -2}), {}),
              HasSubstr("scale -2 of axis 1 is out of range"));
}

}  // namespace
}  // namespace baton::engine

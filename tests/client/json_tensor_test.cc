#include "client/json_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace baton {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Signature OneInput(DataType type) { return {"m", "1", {{"x", type, {-1, 2}}}, {}}; }

std::string MessageFor(const std::string& text, DataType type = DataType::kFloat) {
  const auto tensors = TensorsFromJson(text, OneInput(type));
  return tensors.ok() ? "read" : std::string(tensors.status().message());
}

TEST(JsonTensor, ReadsNestedListsByNameOrAlone) {
  for (const char* text : {R"({"x": [[1, 2.5], [-3, 4e1]]})", "[[1, 2.5], [-3, 4e1]]"}) {
    const auto tensors = TensorsFromJson(text, OneInput(DataType::kFloat));
    ASSERT_TRUE(tensors.ok()) << tensors.status();
    ASSERT_EQ(tensors->size(), 1U);
    EXPECT_EQ(tensors->front().first, "x");
    EXPECT_EQ(tensors->front().second.shape(), (Shape{2, 2}));
    EXPECT_THAT(tensors->front().second.values<float>(), ElementsAre(1, 2.5, -3, 40));
  }
  EXPECT_TRUE(TensorsFromJson("7", OneInput(DataType::kFloat))->front().second.shape().empty());
  EXPECT_EQ(TensorsFromJson("[[], []]", OneInput(DataType::kFloat))->front().second.shape(),
            (Shape{2, 0}));
}

TEST(JsonTensor, KeepsIntegersExact) {
  const auto wide =
      TensorsFromJson("[9223372036854775807, -9223372036854775808]", OneInput(DataType::kInt64));
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_THAT(wide->front().second.values<int64_t>(), ElementsAre(INT64_MAX, INT64_MIN));
  EXPECT_EQ(MessageFor("[18446744073709551615]", DataType::kUint64), "read");
  EXPECT_THAT(MessageFor("[18446744073709551615]", DataType::kInt64), HasSubstr("not of type"));
  EXPECT_THAT(MessageFor("[-1]", DataType::kUint64), HasSubstr("-1 is not of type uint64"));
  EXPECT_THAT(MessageFor("[256]", DataType::kUint8), HasSubstr("256 is not of type uint8"));
  EXPECT_THAT(MessageFor("[-129]", DataType::kInt8), HasSubstr("-129 is not of type int8"));
  EXPECT_THAT(MessageFor("[1.5]", DataType::kInt32), HasSubstr("1.5 is not of type int32"));
}

TEST(JsonTensor, RefusesWrongValues) {
  EXPECT_THAT(MessageFor("[[1, 2], [3]]"), HasSubstr("ragged"));
  EXPECT_THAT(MessageFor("[[1, 2], 3]"), HasSubstr("ragged"));
  EXPECT_THAT(MessageFor("[1, [2]]"), HasSubstr("ragged"));
  EXPECT_THAT(MessageFor("[\"a\"]"), HasSubstr("\"a\" is not of type float"));
  EXPECT_THAT(MessageFor("[null]"), HasSubstr("null is not of type float"));
  EXPECT_THAT(MessageFor("[1]", DataType::kBool), HasSubstr("not of type bool"));
  EXPECT_THAT(MessageFor("{\"y\": 1}"), HasSubstr("no input \"y\"; it has \"x\" float[?,2]"));
  EXPECT_THAT(MessageFor("[1, 2"), HasSubstr("not JSON"));
  EXPECT_THAT(MessageFor(""), HasSubstr("not JSON"));
  EXPECT_THAT(MessageFor("[{\"a\": 1}]"), HasSubstr("not of type float"));
}

TEST(JsonTensor, SurvivesHostileText) {
  EXPECT_THAT(MessageFor(std::string(100'000, '[')), HasSubstr("not JSON"));
  EXPECT_THAT(MessageFor(std::string(100'000, '[') + std::string(100'000, ']')),
              HasSubstr("nested more than"));
  // Claims 10^5 x 10^5 elements in a text of 600 KB.
  std::string text = "[[1";
  for (int i = 1; i < 100'000; ++i) text += ",1";
  text += "]";
  for (int i = 1; i < 100'000; ++i) text += ",[]";
  EXPECT_THAT(MessageFor(text + "]"), HasSubstr("ragged"));
  EXPECT_THAT(MessageFor("[\"\xff\xfe\"]"), HasSubstr("not JSON"));
}

TEST(JsonTensor, AsksForANameWhereThereAreSeveralInputs) {
  const Signature two{"m", "1", {{"a", DataType::kFloat, {1}}, {"b", DataType::kInt32, {1}}}, {}};
  EXPECT_THAT(std::string(TensorsFromJson("[1]", two).status().message()),
              HasSubstr("has 2 inputs"));
  const auto both = TensorsFromJson(R"({"b": [1], "a": [2]})", two);
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->size(), 2U);
}

TEST(JsonTensor, WritesWhatItReads) {
  const std::string text = "[[0.1,-3.0],[16777216.0,0.0]]";
  const auto tensors = TensorsFromJson(text, OneInput(DataType::kFloat));
  EXPECT_EQ(TensorToJson(tensors->front().second.view()).dump(), text);
  const Tensor strings = Tensor::From<std::string>({2}, {"a", "b"});
  EXPECT_EQ(TensorToJson(strings.view()).dump(), R"(["a","b"])");
  const Tensor odd =
      Tensor::From<float>({3}, {std::nanf(""), std::numeric_limits<float>::infinity(), -INFINITY});
  EXPECT_EQ(TensorToJson(odd.view()).dump(), R"(["NaN","Infinity","-Infinity"])");
  EXPECT_EQ(TensorToJson(Tensor::From<int64_t>({}, {5}).view()).dump(), "5");
  EXPECT_EQ(TensorToJson(Tensor::From<bool>({2}, {true, false}).view()).dump(), "[true,false]");
}

}  // namespace
}  // namespace baton

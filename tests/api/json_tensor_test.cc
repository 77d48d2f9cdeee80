// Elements of tensors out of JSON (json_tensor.h) and into it (json_writer.h).
#include "server/api/json_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/api/json_writer.h"

namespace baton::api {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Parsed {
  absl::Status status;
  JsonElements elements;
  Shape shape;

  template <typename T>
  std::vector<T> values() const {
    std::vector<T> out(elements.bytes.size() / sizeof(T));
    std::memcpy(out.data(), elements.bytes.data(), elements.bytes.size());
    return out;
  }
};

Parsed Parse(absl::string_view text, DataType type, bool base64 = true) {
  Parsed out;
  out.elements.type = type;
  out.elements.base64 = base64;
  out.elements.most = 1000;
  JsonReader reader(text);
  out.status = ReadElements(reader, out.elements, &out.shape);
  return out;
}

std::string Fault(absl::string_view text, DataType type) {
  const Parsed parsed = Parse(text, type);
  EXPECT_EQ(parsed.status.code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(parsed.status.message());
}

std::string Print(const TensorView& view, JsonStrings strings = JsonStrings::kText) {
  std::string out;
  AppendJsonValues(view, view.shape, 0, strings, out);
  return out;
}

TEST(JsonTensor, ReadsShapesOfNestedArrays) {
  const Parsed matrix = Parse("[[1, 2, 3],\n [4, 5, 6]]", DataType::kFloat);
  ASSERT_TRUE(matrix.status.ok()) << matrix.status;
  EXPECT_THAT(matrix.shape, ElementsAre(2, 3));
  EXPECT_THAT(matrix.values<float>(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Parse("7", DataType::kInt8).shape, ElementsAre());
  EXPECT_THAT(Parse("[]", DataType::kInt8).shape, ElementsAre(0));
  EXPECT_THAT(Parse("[[],[]]", DataType::kInt8).shape, ElementsAre(2, 0));
  EXPECT_THAT(Parse("[[[1]],[[2]]]", DataType::kInt8).shape, ElementsAre(2, 1, 1));
}

TEST(JsonTensor, RefusesRaggedArrays) {
  EXPECT_THAT(Fault("[[1,2],[3]]", DataType::kFloat),
              AllOf(HasSubstr("column 8"), HasSubstr("1 values where others have 2")));
  EXPECT_THAT(Fault("[[1,2],3]", DataType::kFloat), HasSubstr("1 deep where others are 2 deep"));
  EXPECT_THAT(Fault("[1,[2]]", DataType::kFloat), HasSubstr("1 deep"));
  EXPECT_THAT(Fault("[[],1]", DataType::kFloat), HasSubstr("1 deep where others are 2 deep"));
  EXPECT_THAT(Fault("[[],[[]]]", DataType::kFloat), HasSubstr("1 values where others have 0"));
}

TEST(JsonTensor, FlattensWhereNoShapeIsAsked) {
  JsonElements elements;
  elements.type = DataType::kInt32;
  elements.most = 10;
  JsonReader reader("[[1,2],[[3]],4]");
  ASSERT_TRUE(ReadElements(reader, elements, nullptr).ok());
  EXPECT_EQ(elements.count, 4);
}

TEST(JsonTensor, ReadsEveryType) {
  EXPECT_THAT(Parse("[-128,127]", DataType::kInt8).values<int8_t>(), ElementsAre(-128, 127));
  EXPECT_THAT(Parse("[0,255]", DataType::kUint8).values<uint8_t>(), ElementsAre(0, 255));
  EXPECT_THAT(Parse("[-32768,-0]", DataType::kInt16).values<int16_t>(), ElementsAre(-32768, 0));
  EXPECT_THAT(Parse("[65535,-0]", DataType::kUint16).values<uint16_t>(), ElementsAre(65535, 0));
  EXPECT_THAT(Parse("[-2147483648]", DataType::kInt32).values<int32_t>(),
              ElementsAre(std::numeric_limits<int32_t>::min()));
  EXPECT_THAT(Parse("[4294967295]", DataType::kUint32).values<uint32_t>(),
              ElementsAre(std::numeric_limits<uint32_t>::max()));
  EXPECT_THAT(Parse("[-9223372036854775808]", DataType::kInt64).values<int64_t>(),
              ElementsAre(std::numeric_limits<int64_t>::min()));
  EXPECT_THAT(Parse("[18446744073709551615]", DataType::kUint64).values<uint64_t>(),
              ElementsAre(std::numeric_limits<uint64_t>::max()));
  EXPECT_THAT(Parse("[true,false]", DataType::kBool).values<uint8_t>(), ElementsAre(1, 0));
  EXPECT_THAT(Parse("[1.5,-2]", DataType::kDouble).values<double>(), ElementsAre(1.5, -2));
  EXPECT_EQ(Parse("1.5", DataType::kFloat16).values<uint16_t>()[0], Float16::From(1.5f).bits);
  EXPECT_EQ(Parse("1.5", DataType::kBfloat16).values<uint16_t>()[0], Bfloat16::From(1.5f).bits);
  EXPECT_THAT(Parse(R"(["a", {"b64": "aGk="}])", DataType::kString).elements.strings,
              ElementsAre("a", "hi"));
}

TEST(JsonTensor, RoundsFloatsOnceAndReadsWhatJsonLacks) {
  const auto floats =
      Parse("[0.1, 1e-50, -1e-50, 3.4028235e38, NaN, Infinity, -Infinity, 16777217]",
            DataType::kFloat)
          .values<float>();
  ASSERT_EQ(floats.size(), 8u);
  EXPECT_EQ(floats[0], 0.1f);
  EXPECT_EQ(floats[1], 0.0f);
  EXPECT_EQ(floats[2], 0.0f);
  EXPECT_EQ(floats[3], std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isnan(floats[4]));
  EXPECT_EQ(floats[5], std::numeric_limits<float>::infinity());
  EXPECT_EQ(floats[6], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(floats[7], 16777216.0f);
}

TEST(JsonTensor, RefusesWhatTheTypeCannotHold) {
  EXPECT_THAT(Fault("[1, 128]", DataType::kInt8),
              AllOf(HasSubstr("column 5"), HasSubstr("128 is not an integer")));
  EXPECT_THAT(Fault("-1", DataType::kUint64), HasSubstr("-1 is not an integer"));
  EXPECT_THAT(Fault("1.0", DataType::kInt32), HasSubstr("1.0 is not an integer"));
  EXPECT_THAT(Fault("1e2", DataType::kInt32), HasSubstr("1e2 is not an integer"));
  EXPECT_THAT(Fault("NaN", DataType::kInt32), HasSubstr("NaN is not an integer"));
  EXPECT_THAT(Fault("1e39", DataType::kFloat), HasSubstr("1e39 is not a number"));
  EXPECT_THAT(Fault("1e400", DataType::kDouble), HasSubstr("1e400 is not a number"));
  EXPECT_THAT(Fault("[1, \"2\"]", DataType::kFloat),
              HasSubstr("found a string, expected a number"));
  EXPECT_THAT(Fault("true", DataType::kFloat), HasSubstr("found a boolean"));
  EXPECT_THAT(Fault("null", DataType::kFloat), HasSubstr("found null"));
  EXPECT_THAT(Fault("[{}]", DataType::kFloat), HasSubstr("found an object"));
  EXPECT_THAT(Fault("1", DataType::kBool), HasSubstr("found a number, expected true or false"));
  EXPECT_THAT(Fault("1", DataType::kString), HasSubstr("found a number, expected a string"));
  EXPECT_THAT(Fault(R"({"b65": "aGk="})", DataType::kString), HasSubstr("found an object"));
  EXPECT_THAT(Fault(R"({"b64": "a", "c": 1})", DataType::kString), HasSubstr("found an object"));
  EXPECT_THAT(Fault(R"({"b64": "a*b"})", DataType::kString), HasSubstr("not valid base64"));
  EXPECT_THAT(Fault("[1, x]", DataType::kFloat), HasSubstr("malformed JSON"));
  EXPECT_FALSE(Parse(R"({"b64": "aGk="})", DataType::kString, /*base64=*/false).status.ok());
}

TEST(JsonTensor, BoundsTheNumberOfElements) {
  JsonElements elements;
  elements.type = DataType::kString;
  elements.most = 2;
  JsonReader reader(R"(["a","b","c"])");
  Shape shape;
  EXPECT_THAT(std::string(ReadElements(reader, elements, &shape).message()),
              HasSubstr("more than 2 values"));
}

TEST(JsonWriter, PrintsTheShortestDigitsThatReadBack) {
  const auto print = [](auto value) {
    std::string out;
    AppendJsonNumber(value, out);
    return out;
  };
  EXPECT_EQ(print(0.1f), "0.1");
  EXPECT_EQ(print(0.1), "0.1");
  EXPECT_EQ(print(1.0f), "1.0");
  EXPECT_EQ(print(-0.0f), "-0.0");
  EXPECT_EQ(print(16777216.0f), "16777216.0");
  EXPECT_EQ(print(std::nanf("")), "NaN");
  EXPECT_EQ(print(std::numeric_limits<float>::infinity()), "Infinity");
  EXPECT_EQ(print(-std::numeric_limits<double>::infinity()), "-Infinity");
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const uint32_t bits = random();
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    const std::string text = print(value);
    EXPECT_TRUE(nlohmann::json::accept(text)) << text;
    EXPECT_EQ(Parse(text, DataType::kFloat).values<float>()[0], value) << text;
  }
}

TEST(JsonWriter, NestsAsTheShapeSays) {
  const Tensor matrix = Tensor::From<int32_t>({2, 2}, {1, -2, 3, 4});
  EXPECT_EQ(Print(matrix.view()), "[[1,-2],[3,4]]");
  EXPECT_EQ(Print(Tensor::From<bool>({2}, {true, false}).view()), "[true,false]");
  EXPECT_EQ(Print(Tensor::From<uint8_t>({}, {200}).view()), "200");
  EXPECT_EQ(Print(Tensor(DataType::kFloat, {2, 0}).view()), "[[],[]]");
  EXPECT_EQ(Print(Tensor::From<Float16>({1}, {Float16::From(0.5f)}).view()), "[0.5]");
  std::string row;
  AppendJsonValues(matrix.view(), {2}, 2, JsonStrings::kText, row);
  EXPECT_EQ(row, "[3,4]");
}

TEST(JsonWriter, EscapesStringsAndEncodesBytes) {
  const Tensor strings = Tensor::From<std::string>({2}, {"a\"\\\n\u00e9", "\xFF\x01"});
  EXPECT_EQ(Print(strings.view()), "[\"a\\\"\\\\\\u000a\u00e9\",{\"b64\":\"/wE=\"}]");
  EXPECT_EQ(Print(Tensor::From<std::string>({}, {"hi"}).view(), JsonStrings::kBase64),
            "{\"b64\":\"aGk=\"}");
  const std::string error = ErrorJson("bad \xC3( byte");
  EXPECT_EQ(nlohmann::json::parse(error)["error"], "bad \uFFFD( byte");
}

TEST(JsonWriter, KnowsUtf8) {
  for (const char* text : {"", "a", "\u00e9", "\u20ac", "\U0001F600"}) EXPECT_TRUE(IsUtf8(text));
  for (const char* text : {"\x80", "\xC3", "\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80",
                           "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF8\x80\x80\x80"}) {
    EXPECT_FALSE(IsUtf8(text));
  }
}

}  // namespace
}  // namespace baton::api

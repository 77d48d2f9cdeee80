#include "server/api/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace baton::api {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The message of what is wrong with `text` as a whole; "" if nothing is.
std::string Fault(absl::string_view text) {
  JsonReader reader(text);
  if (reader.Skip()) reader.ReadEnd();
  return std::string(reader.status().message());
}

std::string ReadString(absl::string_view text) {
  JsonReader reader(text);
  std::string out;
  EXPECT_TRUE(reader.ReadString(out)) << reader.status();
  return out;
}

TEST(JsonReader, ReadsObjectsAndArraysInOrder) {
  JsonReader reader(R"( {"a" : [1, -2.5e3,true] , "b":{}, "c": [ ], "d": null} )");
  std::vector<std::string> seen;
  std::string key;
  ASSERT_TRUE(reader.EnterObject());
  ASSERT_TRUE(reader.NextKey(key));
  EXPECT_EQ(key, "a");
  ASSERT_EQ(reader.Peek(), JsonKind::kArray);
  ASSERT_TRUE(reader.EnterArray());
  absl::string_view number;
  bool boolean = false;
  ASSERT_TRUE(reader.NextElement() && reader.ReadNumber(number));
  EXPECT_EQ(number, "1");
  ASSERT_TRUE(reader.NextElement() && reader.ReadNumber(number));
  EXPECT_EQ(number, "-2.5e3");
  ASSERT_TRUE(reader.NextElement() && reader.ReadBool(boolean));
  EXPECT_TRUE(boolean);
  EXPECT_FALSE(reader.NextElement());
  for (const char* expected : {"b", "c", "d"}) {
    ASSERT_TRUE(reader.NextKey(key));
    EXPECT_EQ(key, expected);
    EXPECT_TRUE(reader.Skip());
  }
  EXPECT_FALSE(reader.NextKey(key));
  EXPECT_TRUE(reader.ReadEnd()) << reader.status();
}

TEST(JsonReader, ReadsStringsWithEveryEscape) {
  EXPECT_EQ(ReadString(R"("a\"\\\/\b\f\n\r\tz")"), "a\"\\/\b\f\n\r\tz");
  EXPECT_EQ(ReadString(R"("\u0041\u00e9\u20AC\uD83D\uDE00")"), "A\u00e9\u20ac\U0001F600");
  EXPECT_EQ(ReadString("\"\xFF raw\""), "\xFF raw");
}

TEST(JsonReader, ReadsWhatTensorFlowServingWritesForNumbersThatJsonLacks) {
  for (const char* text : {"NaN", "Infinity", "-Infinity", "Inf", "-Inf", "0", "-0", "1E+2"}) {
    JsonReader reader(text);
    absl::string_view number;
    EXPECT_TRUE(reader.ReadNumber(number)) << text;
    EXPECT_EQ(number, text);
    EXPECT_TRUE(reader.ReadEnd()) << text;
  }
}

TEST(JsonReader, SaysWhatIsWrongAndWhere) {
  const struct {
    const char* text;
    const char* place;
    const char* what;
  } kCases[] = {
      {"", "line 1, column 1", "expected a value, found the end of the text"},
      {"{\"a\": 1,}", "column 9", "expected a key in quotes, found \"}\""},
      {"{\"a\" 1}", "column 6", "expected \":\""},
      {"{\"a\":}", "column 6", "expected a value"},
      {"{a: 1}", "column 2", "expected a key in quotes"},
      {"[1 2]", "column 4", "expected \",\" or \"]\", found \"2]\""},
      {"[1,", "column 4", "expected a value, found the end of the text"},
      {"[1,\n  2,\n  x]", "line 3, column 3", "found \"x]\""},
      {"[01]", "column 3", "expected \",\" or \"]\""},
      {"[1.]", "column 4", "digits after its point"},
      {"[.5]", "column 2", "expected a value"},
      {"[1e]", "column 4", "digits in its exponent"},
      {"[-]", "column 3", "malformed number"},
      {"[-NaN]", "column 3", "malformed number"},
      {"[+1]", "column 2", "expected a value"},
      {"tru", "column 1", "expected true or false"},
      {"nul", "column 1", "expected null"},
      {"Nan", "column 1", "malformed number"},
      {"\"a", "column 3", "a string has no end"},
      {"\"a\nb\"", "column 3", "control characters"},
      {R"("\x")", "column 3", "unknown escape"},
      {R"("\u12g4")", "column 6", "four hexadecimal digits"},
      {R"("\ud800")", "column 8", "surrogate"},
      {R"("\ud800\u0041")", "column 14", "surrogate"},
      {R"("\udc00")", "column 8", "surrogate"},
      {"{} {}", "column 4", "expected the end of the text"},
      {"[1]]", "column 4", "expected the end of the text"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(Fault(c.text),
                AllOf(HasSubstr("malformed JSON"), HasSubstr(c.place), HasSubstr(c.what)))
        << c.text;
  }
}

TEST(JsonReader, RefusesDepthThatWouldExhaustTheStack) {
  EXPECT_EQ(Fault(std::string(64, '[') + std::string(64, ']')), "");
  EXPECT_THAT(Fault(std::string(1'000'000, '[')), HasSubstr("64 deep"));
}

TEST(JsonReader, TheFirstFaultStays) {
  JsonReader reader("[x");
  std::string key;
  ASSERT_TRUE(reader.EnterArray());
  EXPECT_FALSE(reader.NextElement());
  const std::string first(reader.status().message());
  EXPECT_FALSE(reader.EnterArray());
  EXPECT_FALSE(reader.NextKey(key));
  EXPECT_FALSE(reader.ReadEnd());
  EXPECT_EQ(reader.Peek(), JsonKind::kNothing);
  EXPECT_EQ(reader.status().message(), first);
}

TEST(JsonReader, BeginsInTheMiddleAndStillCountsFromTheStart) {
  const std::string text = "{\"data\": [1, oops]}";
  JsonReader reader(text, 9);
  EXPECT_FALSE(reader.Skip());
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("line 1, column 14"));
}

}  // namespace
}  // namespace baton::api

#include "server/serving/padded_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace baton::serving {
namespace {

using ::testing::ElementsAre;

template <typename T>
std::vector<T> Padded(Shape from, std::vector<T> values, Shape to, T pad) {
  std::vector<T> out(static_cast<size_t>(NumElements(to)), T(99));
  CopyPadded({DataTypeOf<T>(), std::move(from), values.data()}, to, &pad, out.data());
  return out;
}

TEST(CopyPaddedTest, FillsTheEndOfADimension) {
  EXPECT_THAT(Padded<int32_t>({2, 2}, {1, 2, 3, 4}, {2, 3}, 7), ElementsAre(1, 2, 7, 3, 4, 7));
  EXPECT_THAT(Padded<int32_t>({1, 2, 2}, {1, 2, 3, 4}, {1, 3, 2}, 7),
              ElementsAre(1, 2, 3, 4, 7, 7));
}

TEST(CopyPaddedTest, FillsSeveralDimensions) {
  EXPECT_THAT(Padded<uint8_t>({2, 1, 2}, {1, 2, 3, 4}, {2, 2, 3}, 7),
              ElementsAre(1, 2, 7, 7, 7, 7, 3, 4, 7, 7, 7, 7));
}

TEST(CopyPaddedTest, FillsElementsOfEverySize) {
  EXPECT_THAT(Padded<int8_t>({1, 1}, {1}, {1, 3}, -2), ElementsAre(1, -2, -2));
  EXPECT_THAT(Padded<int16_t>({1, 1}, {1}, {1, 3}, -2), ElementsAre(1, -2, -2));
  EXPECT_THAT(Padded<float>({1, 1}, {1}, {1, 3}, -2.5f), ElementsAre(1, -2.5f, -2.5f));
  EXPECT_THAT(Padded<double>({1, 1}, {1}, {1, 3}, -2.5), ElementsAre(1, -2.5, -2.5));
}

TEST(CopyPaddedTest, CutsWhereTheTargetIsSmaller) {
  EXPECT_THAT(Padded<int32_t>({2, 3}, {1, 2, 3, 4, 5, 6}, {2, 2}, 7), ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(Padded<int32_t>({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}, {2, 1, 1}, 9),
              ElementsAre(1, 5));
}

TEST(CopyPaddedTest, CopiesEqualShapesAsTheyAre) {
  EXPECT_THAT(Padded<int32_t>({2, 2}, {1, 2, 3, 4}, {2, 2}, 7), ElementsAre(1, 2, 3, 4));
}

TEST(CopyPaddedTest, CopiesFromBytesThatAreNotAligned) {
  const int32_t values[] = {1, 2};
  char bytes[9];
  std::memcpy(bytes + 1, values, 8);
  int32_t out[3];
  CopyPadded({DataType::kInt32, {1, 2}, bytes + 1}, {1, 3}, bytes + 1, out);
  EXPECT_THAT(out, ElementsAre(1, 2, 1));
}

TEST(CopyPaddedTest, PadsStrings) {
  const std::string values[] = {"a", "b"};
  const std::string pad = "a long text that needs memory of its own";
  std::string out[4];
  CopyPadded({DataType::kString, {2, 1}, values}, {2, 2}, &pad, out);
  EXPECT_THAT(out, ElementsAre("a", pad, "b", pad));
}

TEST(CopyPaddedTest, ReadsNoPadWhereNothingIsAdded) {
  const float value = 3;
  float out = 0;
  CopyPadded({DataType::kFloat, {1, 1}, &value}, {1, 1}, nullptr, &out);
  EXPECT_EQ(out, 3);
  CopyPadded({DataType::kFloat, {0, 1}, nullptr}, {0, 4}, nullptr, nullptr);
}

}  // namespace
}  // namespace baton::serving

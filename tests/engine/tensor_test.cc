#include "engine/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "engine/random_tensor.h"

namespace baton {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Lt;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(DataTypeTest, NamesAndSizes) {
  EXPECT_EQ(DataTypeName(DataType::kFloat), "float");
  EXPECT_EQ(DataTypeName(DataType::kBfloat16), "bfloat16");
  EXPECT_EQ(DataTypeName(static_cast<DataType>(17)), "type 17");
  EXPECT_EQ(DataTypeSize(DataType::kInt64), 8u);
  EXPECT_EQ(DataTypeSize(DataType::kFloat16), 2u);
  EXPECT_EQ(DataTypeSize(static_cast<DataType>(17)), 0u);
}

TEST(Float16Test, ConvertsKnownValues) {
  EXPECT_EQ(Float16::From(1.0f).bits, 0x3c00);
  EXPECT_EQ(Float16::From(-2.0f).bits, 0xc000);
  EXPECT_EQ(Float16::From(65504.0f).bits, 0x7bff);
  EXPECT_EQ(Float16::From(65520.0f).bits, 0x7c00) << "rounds up to infinity";
  EXPECT_EQ(Float16::From(-kInf).bits, 0xfc00);
  EXPECT_EQ(Float16::From(0x1p-24f).bits, 0x0001) << "smallest subnormal";
  EXPECT_EQ(Float16::From(0x1p-26f).bits, 0x0000);
  EXPECT_EQ(Float16::From(-0.0f).bits, 0x8000);
  EXPECT_TRUE(std::isnan(Float16::From(kNan).ToFloat()));
}

TEST(Float16Test, RoundsToNearestEven) {
  EXPECT_EQ(Float16::From(1.0f + 0x1p-11f).bits, 0x3c00) << "a tie goes to the even one below";
  EXPECT_EQ(Float16::From(1.0f + 3 * 0x1p-11f).bits, 0x3c02) << "a tie goes to the even one above";
  EXPECT_EQ(Float16::From(1.0f + 0x1.8p-11f).bits, 0x3c01);
}

TEST(Float16Test, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const Float16 half{static_cast<uint16_t>(bits)};
    const float value = half.ToFloat();
    if (std::isnan(value)) continue;
    ASSERT_EQ(Float16::From(value).bits, bits);
  }
}

TEST(Bfloat16Test, RoundsToNearestEven) {
  EXPECT_EQ(Bfloat16::From(1.0f).bits, 0x3f80);
  EXPECT_EQ(Bfloat16::From(1.0f + 0x1p-8f).bits, 0x3f80);
  EXPECT_EQ(Bfloat16::From(1.0f + 3 * 0x1p-8f).bits, 0x3f82);
  EXPECT_EQ(Bfloat16::From(kInf).ToFloat(), kInf);
  EXPECT_TRUE(std::isnan(Bfloat16::From(kNan).ToFloat()));
  EXPECT_TRUE(std::isnan(Bfloat16::From(std::bit_cast<float>(0x7f800001u)).ToFloat()));
}

TEST(ShapeTest, Prints) {
  EXPECT_EQ(ShapeToString(Shape{}), "[]");
  EXPECT_EQ(ShapeToString(Shape{2, -1, 3}), "[2,?,3]");
}

TEST(ShapeTest, CountsElementsAndRefusesOverflow) {
  EXPECT_EQ(*CheckedNumElements(Shape{}), 1);
  EXPECT_EQ(*CheckedNumElements(Shape{2, 3, 4}), 24);
  EXPECT_EQ(*CheckedNumElements(Shape{0, 3}), 0);
  EXPECT_EQ(*CheckedNumElements(Shape{int64_t{1} << 48}), int64_t{1} << 48);
  const int64_t max = std::numeric_limits<int64_t>::max();
  for (const Shape& bad :
       {Shape{-1, 2}, Shape{(int64_t{1} << 48) + 1}, Shape{max, max}, Shape{max, 0},
        Shape{int64_t{1} << 32, int64_t{1} << 32}, Shape{0, int64_t{1} << 40, 1 << 20}}) {
    EXPECT_EQ(CheckedNumElements(bad).status().code(), absl::StatusCode::kInvalidArgument)
        << ShapeToString(bad);
  }
}

TEST(TensorTest, AllocatesZeroedAndAligned) {
  const Tensor t(DataType::kFloat, {3, 5});
  EXPECT_EQ(t.size(), 15);
  EXPECT_EQ(t.bytes(), 60u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data()) % 64, 0u);
  for (const float value : t.values<float>()) EXPECT_EQ(value, 0.0f);
}

TEST(TensorTest, CopiesShareTheBufferUntilCopied) {
  Tensor t = Tensor::From<int32_t>({2}, {1, 2});
  const Tensor shared = t;
  const Tensor copy = Tensor::Copy(t.view());
  t.mutable_values<int32_t>()[0] = 9;
  EXPECT_THAT(shared.values<int32_t>(), ElementsAre(9, 2));
  EXPECT_THAT(copy.values<int32_t>(), ElementsAre(1, 2));
}

TEST(TensorTest, HoldsStrings) {
  const Tensor t = Tensor::From<std::string>({2}, {"a", std::string(100, 'b')});
  const Tensor copy = Tensor::Copy(t.view());
  EXPECT_THAT(copy.values<std::string>(), ElementsAre("a", std::string(100, 'b')));
}

TEST(TensorTest, BorrowKeepsTheOwnerAlive) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2});
  const std::weak_ptr<std::vector<float>> watch = owner;
  {
    const Tensor t = Tensor::Borrow(DataType::kFloat, {2}, owner->data(), owner);
    owner.reset();
    EXPECT_FALSE(watch.expired());
    EXPECT_THAT(t.Reshaped({2, 1}).values<float>(), ElementsAre(1, 2));
  }
  EXPECT_TRUE(watch.expired());
}

TEST(CompareTest, MeasuresTheLargestDifferences) {
  const Tensor expected = Tensor::From<float>({3}, {1, 10, 0});
  const Tensor actual = Tensor::From<float>({3}, {1.5, 10.25, 0.125});
  const auto d = Compare(actual.view(), expected.view(), 0.1, 0.2);
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_FALSE(d->within);
  EXPECT_EQ(d->first_bad, 0);
  EXPECT_DOUBLE_EQ(d->max_abs, 0.5);
  EXPECT_DOUBLE_EQ(d->max_rel, 0.5);
  EXPECT_TRUE(Compare(actual.view(), expected.view(), 0.0, 0.5)->within);
}

TEST(CompareTest, NanEqualsOnlyNan) {
  const Tensor nan = Tensor::From<float>({1}, {kNan}), one = Tensor::From<float>({1}, {1});
  EXPECT_TRUE(Compare(nan.view(), nan.view(), 0, 0)->within);
  const auto d = Compare(nan.view(), one.view(), 1e9, 1e9);
  EXPECT_FALSE(d->within);
  EXPECT_TRUE(std::isinf(d->max_abs));
  EXPECT_FALSE(Compare(one.view(), nan.view(), 1e9, 1e9)->within);
}

TEST(CompareTest, InfinityEqualsOnlyItself) {
  const Tensor inf = Tensor::From<float>({1}, {kInf}), minus = Tensor::From<float>({1}, {-kInf});
  EXPECT_TRUE(Compare(inf.view(), inf.view(), 0, 0)->within);
  EXPECT_FALSE(Compare(inf.view(), minus.view(), 0.5, 1)->within);
  const Tensor one = Tensor::From<float>({1}, {1});
  EXPECT_FALSE(Compare(one.view(), inf.view(), 1e-3, 1e-5)->within)
      << "a finite value is not near an infinite one";
}

TEST(CompareTest, StringsMustBeEqual) {
  const Tensor a = Tensor::From<std::string>({2}, {"x", "y"});
  const Tensor b = Tensor::From<std::string>({2}, {"x", "z"});
  EXPECT_TRUE(Compare(a.view(), a.view(), 0, 0)->within);
  EXPECT_EQ(Compare(a.view(), b.view(), 1, 1)->first_bad, 1);
}

TEST(CompareTest, RefusesOtherTypeOrShape) {
  const Tensor a = Tensor::From<float>({2}, {1, 2});
  const Tensor b = Tensor::From<int32_t>({2}, {1, 2});
  const auto d = Compare(a.view(), b.view(), 0, 0);
  EXPECT_EQ(d.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(d.status().message()), HasSubstr("got float[2], expected int32[2]"));
  EXPECT_FALSE(Compare(a.view(), a.Reshaped({2, 1}).view(), 0, 0).ok());
}

TEST(FillRandomTest, GivesValuesThatModelsTakeAndTheSameAgain) {
  const auto fill = [](DataType type) {
    std::mt19937 random(7);
    Tensor tensor(type, {100});
    FillRandom(tensor, random);
    return tensor;
  };
  const Tensor floats = fill(DataType::kFloat);
  EXPECT_THAT(floats.values<float>(), Each(AllOf(Ge(-1.0f), Lt(1.0f))));
  EXPECT_NE(floats.values<float>()[0], floats.values<float>()[1]);
  EXPECT_EQ(floats.values<float>(), fill(DataType::kFloat).values<float>());
  EXPECT_THAT(fill(DataType::kInt64).values<int64_t>(), Each(AnyOf(0, 1)));
  EXPECT_THAT(fill(DataType::kInt64).values<int64_t>(), Contains(1));
  EXPECT_THAT(fill(DataType::kInt8).values<int8_t>(), Contains(Lt(-1)));
  EXPECT_THAT(fill(DataType::kFloat16).values<Float16>()[3].ToFloat(), AllOf(Ge(-1.0f), Lt(1.1f)));
  EXPECT_THAT(fill(DataType::kString).values<std::string>(), Each(""));
}

}  // namespace
}  // namespace baton

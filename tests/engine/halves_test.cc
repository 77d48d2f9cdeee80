// Models stored as float16 or bfloat16: computed on floats, with inputs and outputs as they say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "engine/model.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::ElementsAre;
using testing::ModelBuilder;
using testing::RunModel;
using testing::SetInt;

std::vector<uint16_t> BitsOf(const Tensor& halves) {
  const auto* bits = static_cast<const uint16_t*>(halves.data());
  return {bits, bits + halves.size()};
}

template <typename Half>
Tensor Halves(Shape shape, const std::vector<float>& values) {
  Tensor t(DataTypeOf<Half>(), std::move(shape));
  for (size_t i = 0; i < values.size(); ++i) t.mutable_values<Half>()[i] = Half::From(values[i]);
  return t;
}

std::string CastTo(DataType from, DataType to) {
  ModelBuilder m;
  m.Input("x", from, {-1});
  SetInt(m.Node("Cast", {"x"}, {"y"}), "to", static_cast<int64_t>(to));
  m.Output("y", to, {-1});
  return m.Build();
}

TEST(Float16CastTest, WidensAllNumbers) {
  constexpr int64_t kAll = 1 << 16;
  Tensor x(DataType::kFloat16, {kAll});
  for (size_t i = 0; i < kAll; ++i) x.mutable_values<Float16>()[i].bits = static_cast<uint16_t>(i);
  const auto y = RunModel(CastTo(DataType::kFloat16, DataType::kFloat), {x});
  ASSERT_TRUE(y.ok()) << y.status();
  for (size_t i = 0; i < kAll; ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>((*y)[0].values<float>()[i]),
              std::bit_cast<uint32_t>(x.values<Float16>()[i].ToFloat()))
        << "bits " << i;
  }
}

// All exponents and signs; what follows the bits that float16 keeps is 0, below, at and above half.
TEST(Float16CastTest, RoundsToNearestEven) {
  std::vector<float> numbers;
  for (uint32_t upper = 0; upper < 1 << 19; upper += 3) {
    for (const uint32_t lower : {0U, 1U, 0xFFFU, 0x1000U, 0x1001U, 0x1FFFU}) {
      numbers.push_back(std::bit_cast<float>(upper << 13 | lower));
    }
  }
  numbers.push_back(65519.9f);  // the largest that does not become infinite
  const auto n = static_cast<int64_t>(numbers.size());
  const auto y =
      RunModel(CastTo(DataType::kFloat, DataType::kFloat16), {Tensor::From<float>({n}, numbers)});
  ASSERT_TRUE(y.ok()) << y.status();
  for (size_t i = 0; i < numbers.size(); ++i) {
    ASSERT_EQ((*y)[0].values<Float16>()[i].bits, Float16::From(numbers[i]).bits) << numbers[i];
  }
}

// Weights, a cast, and a shape filled with a number, all of the type.
template <typename Half>
class HalvesTest : public ::testing::Test {};
using HalfTypes = ::testing::Types<Float16, Bfloat16>;
TYPED_TEST_SUITE(HalvesTest, HalfTypes);

TYPED_TEST(HalvesTest, AreComputedOnFloats) {
  constexpr DataType kHalf = DataTypeOf<TypeParam>();
  ModelBuilder m;
  m.Input("x", kHalf, {-1, 2});
  m.Input("n", DataType::kInt64, {-1, 2});
  m.Constant("w", Halves<TypeParam>({2, 2}, {1, 2, 3, 4}));
  m.Node("MatMul", {"x", "w"}, {"product"});
  SetInt(m.Node("Cast", {"n"}, {"numbers"}), "to", static_cast<int64_t>(kHalf));
  m.Node("Add", {"product", "numbers"}, {"sum"});
  m.Node("Shape", {"sum"}, {"shape"});
  auto& filled = m.Node("ConstantOfShape", {"shape"}, {"halves"});
  auto& value = *filled.add_attribute();
  value.set_name("value");
  value.set_type(onnx::AttributeProto::TENSOR);
  *value.mutable_t() = TensorToProto(Halves<TypeParam>({1}, {0.5f}).view(), "");
  m.Node("Mul", {"sum", "halves"}, {"y"});
  SetInt(m.Node("Cast", {"y"}, {"z"}), "to", static_cast<int64_t>(DataType::kFloat));
  m.Output("y", kHalf, {-1, 2});
  m.Output("z", DataType::kFloat, {-1, 2});
  const auto out = RunModel(
      m.Build(), {Halves<TypeParam>({1, 2}, {1, 0.5f}), Tensor::From<int64_t>({1, 2}, {10, 20})});
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ((*out)[0].type(), kHalf);
  EXPECT_EQ(BitsOf((*out)[0]), BitsOf(Halves<TypeParam>({1, 2}, {6.25f, 12})));
  EXPECT_THAT((*out)[1].template values<float>(), ElementsAre(6.25f, 12));
}

TYPED_TEST(HalvesTest, MayBeBothGivenAndReturned) {
  constexpr DataType kHalf = DataTypeOf<TypeParam>();
  ModelBuilder m;
  m.Input("x", kHalf, {-1});
  m.Constant("c", Halves<TypeParam>({1}, {7}));
  m.Node("Identity", {"x"}, {"y"});
  m.Node("Identity", {"c"}, {"z"});
  m.Output("y", kHalf, {-1});
  m.Output("z", kHalf, {1});
  const Tensor x = Halves<TypeParam>({3}, {1, -2, 3});
  const auto out = RunModel(m.Build(), {x});
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(BitsOf((*out)[0]), BitsOf(x));
  EXPECT_EQ(BitsOf((*out)[1]), BitsOf(Halves<TypeParam>({1}, {7})));
}

}  // namespace
}  // namespace baton::engine

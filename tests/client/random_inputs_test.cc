#include "client/random_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton {
namespace {

using ::testing::HasSubstr;

const Signature kSignature{"m",
                           "1",
                           {{"x", DataType::kFloat, {-1, 3}},
                            {"ids", DataType::kInt64, {-1, -1}},
                            {"s", DataType::kString, {2}}},
                           {}};

TEST(RandomInputs, FollowSignatureRowsAndShapes) {
  const auto inputs = RandomInputs(kSignature, 5, {{"ids", {5, 7}}}, 1);
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  ASSERT_EQ(inputs->size(), 3U);
  EXPECT_EQ((*inputs)[0].tensor.shape(), (Shape{5, 3}));
  EXPECT_EQ((*inputs)[1].tensor.shape(), (Shape{5, 7}));
  for (const float value : (*inputs)[0].tensor.values<float>()) {
    EXPECT_GE(value, 0);
    EXPECT_LT(value, 1);
  }
  for (const int64_t value : (*inputs)[1].tensor.values<int64_t>()) EXPECT_EQ(value & 1, value);
  EXPECT_EQ((*inputs)[2].tensor.values<std::string>()[0].size(), 8U);
}

TEST(RandomInputs, DependOnTheSeedAlone) {
  const Signature signature{"m", "1", {{"x", DataType::kFloat, {-1, 3}}}, {}};
  const auto values = [&](uint64_t seed) {
    const auto inputs = RandomInputs(signature, 2, {}, seed);
    const auto span = (*inputs)[0].tensor.values<float>();
    return std::vector<float>(span.begin(), span.end());
  };
  EXPECT_EQ(values(3), values(3));
  EXPECT_NE(values(3), values(4));
}

TEST(RandomInputs, SayWhatIsMissingOrWrong) {
  const auto message = [](const Signature& signature, const std::map<std::string, Shape>& shapes) {
    return std::string(RandomInputs(signature, 1, shapes, 1).status().message());
  };
  EXPECT_THAT(message(kSignature, {}), HasSubstr("--shape ids=N,N"));
  EXPECT_THAT(message(kSignature, {{"ids", {1}}}), HasSubstr("shape [1] for input \"ids\""));
  EXPECT_THAT(message(kSignature, {{"ids", {1, 1}}, {"x", {1, 4}}}), HasSubstr("float[?,3]"));
  EXPECT_THAT(message(kSignature, {{"idz", {1, 1}}}), HasSubstr("no input \"idz\""));
  EXPECT_THAT(message(kSignature, {{"ids", {1LL << 40, 1LL << 40}}}), HasSubstr("2^48"));
  EXPECT_THAT(message(kSignature, {{"ids", {1LL << 20, 1LL << 20}}}), HasSubstr("larger than"));
}

}  // namespace
}  // namespace baton

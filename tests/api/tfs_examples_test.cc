#include "server/api/tfs_examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/api/test_servable.h"

namespace baton::api {
namespace {

using ::baton::testing::Info;
using ::baton::testing::TestServable;
using ::tensorflow::Example;
using ::tensorflow::Feature;
using ::tensorflow::serving::Input;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kMaxBytes = 1 << 20;

Feature Floats(std::initializer_list<float> values) {
  Feature feature;
  feature.mutable_float_list()->mutable_value()->Add(values.begin(), values.end());
  return feature;
}
Feature Ints(std::initializer_list<int64_t> values) {
  Feature feature;
  feature.mutable_int64_list()->mutable_value()->Add(values.begin(), values.end());
  return feature;
}
Feature Bytes(std::initializer_list<std::string> values) {
  Feature feature;
  for (const std::string& value : values) feature.mutable_bytes_list()->add_value(value);
  return feature;
}

class TfsExamples : public ::testing::Test {
 protected:
  void Model(DataType type, const std::vector<int64_t>& dims, int64_t max_batch_size = 8) {
    servable_.emplace("m", 1, engine::Signature{{Info("x", type, dims)}, {}}, max_batch_size);
  }
  Example& Add(const Feature& x) {
    Example& example = *input_.mutable_example_list()->add_examples();
    (*example.mutable_features()->mutable_feature())["x"] = x;
    return example;
  }
  absl::Status Decode() {
    auto decoded =
        DecodeExamples(input_, signature_ ? &*signature_ : nullptr, *servable_, kMaxBytes);
    if (decoded.ok()) decoded_ = *std::move(decoded);
    return decoded.status();
  }
  template <typename T>
  std::vector<T> Values(size_t input = 0) const {
    const auto values = decoded_.views.at(input).values<T>();
    return std::vector<T>(values.begin(), values.end());
  }
  void ExpectFault(const std::string& words) {
    const absl::Status status = Decode();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("model \"m\" version 1"), HasSubstr(words)));
    input_.Clear();
  }

  std::optional<TestServable> servable_;
  std::optional<repository::Signature> signature_;
  Input input_;
  DecodedInputs decoded_;
};

TEST_F(TfsExamples, EachExampleIsARow) {
  Model(DataType::kFloat, {-1, 2});
  Add(Floats({1, 2}));
  Add(Ints({3, -4}));
  Add(Floats({5, 6}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(decoded_.views.at(0).shape, ElementsAre(3, 2));
  EXPECT_THAT(Values<float>(), ElementsAre(1, 2, 3, -4, 5, 6));
  EXPECT_EQ(decoded_.rows, 3);
}

TEST_F(TfsExamples, ValuesBecomeTheInputsType) {
  Model(DataType::kUint8, {-1, 3});
  Add(Ints({0, 7, 255}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<uint8_t>(), ElementsAre(0, 7, 255));
  input_.Clear();
  Add(Bytes({std::string("\x01\x02\xff", 3)}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<uint8_t>(), ElementsAre(1, 2, 255));

  input_.Clear();
  Model(DataType::kString, {-1, 2});
  Add(Bytes({"a", std::string("b\0c", 3)}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<std::string>(), ElementsAre("a", std::string("b\0c", 3)));

  input_.Clear();
  Model(DataType::kBool, {-1});
  Add(Ints({1}));
  Add(Ints({0}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<bool>(), ElementsAre(true, false));

  input_.Clear();
  Model(DataType::kFloat16, {-1, 2});
  Add(Floats({0.5F, -2}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_EQ(decoded_.views.at(0).values<Float16>()[0].ToFloat(), 0.5F);
  EXPECT_EQ(decoded_.views.at(0).values<Float16>()[1].ToFloat(), -2);

  input_.Clear();
  Model(DataType::kInt64, {-1});
  Add(Ints({int64_t{1} << 60}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<int64_t>(), ElementsAre(int64_t{1} << 60));
}

TEST_F(TfsExamples, ContextFillsInAndAnExampleGoesBeforeIt) {
  Model(DataType::kFloat, {-1, 1});
  auto& list = *input_.mutable_example_list_with_context();
  (*list.mutable_context()->mutable_features()->mutable_feature())["x"] = Floats({9});
  list.add_examples();
  (*list.add_examples()->mutable_features()->mutable_feature())["x"] = Floats({2});
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<float>(), ElementsAre(9, 2));
  EXPECT_EQ(CountExamples(input_), 2);
}

TEST_F(TfsExamples, TheSignatureNamesFeaturesAndDefaults) {
  Model(DataType::kFloat, {-1, 2});
  signature_.emplace();
  signature_->inputs["x"] = {"image/raw", repository::DefaultValues(std::vector<double>{0.5})};
  Example& first = *input_.mutable_example_list()->add_examples();
  (*first.mutable_features()->mutable_feature())["image/raw"] = Floats({1, 2});
  input_.mutable_example_list()->add_examples();
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<float>(), ElementsAre(1, 2, 0.5F, 0.5F));
  signature_->inputs["x"].missing = repository::DefaultValues(std::vector<int64_t>{7, 8});
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<float>(), ElementsAre(1, 2, 7, 8));
}

TEST_F(TfsExamples, OneOpenDimensionFollowsFromTheValues) {
  Model(DataType::kInt64, {-1, -1});
  Add(Ints({1, 2, 3}));
  Add(Ints({4, 5, 6}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(decoded_.views.at(0).shape, ElementsAre(2, 3));
  Add(Ints({7, 8}));
  ExpectFault("example 2: feature \"x\" has 2 values, expected 3");
  Model(DataType::kInt64, {-1, -1, 4});
  Add(Ints({1, 2, 3}));
  ExpectFault("example 0: feature \"x\" has 3 values, expected a multiple of 4");
  Model(DataType::kInt64, {-1, -1, -1});
  Add(Ints({1}));
  ExpectFault("more than one dimension of a row is open");
}

TEST_F(TfsExamples, AModelWithoutABatchTakesOneExample) {
  Model(DataType::kFloat, {3, 2}, 0);
  Add(Floats({1, 2, 3, 4, 5, 6}));
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(decoded_.views.at(0).shape, ElementsAre(3, 2));
  EXPECT_EQ(decoded_.rows, 1);
  Add(Floats({1, 2, 3, 4, 5, 6}));
  ExpectFault("sent 2 examples, but the model has no batch dimension of any size");
  for (const float f : {1, 2, 3}) Add(Floats({f, f}));  // as many as its first dimension
  ASSERT_EQ(Decode(), absl::OkStatus());
  EXPECT_THAT(Values<float>(), ElementsAre(1, 1, 2, 2, 3, 3));
}

TEST_F(TfsExamples, FaultsNameExampleFeatureFoundAndExpected) {
  Model(DataType::kInt32, {-1, 2});
  ExpectFault("input has no examples");
  input_.mutable_example_list_with_context()->mutable_context();
  ExpectFault("input has no examples");
  Add(Ints({1, 2}));
  Add(Ints({1, 2, 3}));
  ExpectFault("input \"x\" (DT_INT32[?,2]): example 1: feature \"x\" has 3 values, expected 2");
  Add(Ints({}));
  ExpectFault("example 0: feature \"x\" has 0 values, expected 2");
  Add(Feature());
  ExpectFault("example 0: feature \"x\" is missing; send it, or give it a default");
  (*input_.mutable_example_list()->add_examples()->mutable_features()->mutable_feature())["X"] =
      Ints({1, 2});
  ExpectFault("feature \"x\" is missing; the example has \"X\"");
  Add(Floats({1, 2}));
  ExpectFault("feature \"x\" is a float_list, expected an int64_list");
  Add(Ints({1, int64_t{1} << 40}));
  ExpectFault("has the value 1099511627776 at 1, which DT_INT32 cannot hold");
  Add(Bytes({"abc"}));
  ExpectFault("is a bytes_list of one value of 3 bytes, expected numbers, or one value of the 8");
  for (int i = 0; i < 9; ++i) Add(Ints({1, 2}));
  ExpectFault("the batch has 9 rows, at most 8 are allowed");
  Model(DataType::kString, {-1});
  Add(Ints({1}));
  ExpectFault("feature \"x\" is an int64_list, expected a bytes_list");
  Model(DataType::kBool, {-1});
  Add(Ints({2}));
  ExpectFault("has the value 2 at 0, which DT_BOOL cannot hold");
  Model(DataType::kFloat, {-1, 1 << 20});
  Add(Floats({1}));
  ExpectFault("at most 1048576 are allowed (--max_message_mb)");
}

// Whatever arrives, the answer is a status.
TEST_F(TfsExamples, AnyMessageIsDecodedOrRefused) {
  Model(DataType::kFloat, {-1, 2});
  Add(Floats({1, 2}));
  Add(Ints({3, 4}));
  (*input_.mutable_example_list()->add_examples()->mutable_features()->mutable_feature())["x"] =
      Bytes({"01234567"});
  const std::string good = input_.SerializeAsString();
  std::mt19937 random(7);
  int decoded = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = good;
    for (int change = 0; change < 3; ++change) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (!input_.ParseFromString(bytes)) continue;
    decoded += Decode().ok();
  }
  EXPECT_GT(decoded, 0);
}

}  // namespace
}  // namespace baton::api

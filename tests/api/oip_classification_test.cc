#include "server/api/oip_classification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/api/test_servable.h"

namespace baton::api {
namespace {

using ::baton::testing::Info;
using ::baton::testing::TestServable;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Classification : public ::testing::Test {
 protected:
  // The elements of the reply.
  std::vector<std::string> Classes(const Tensor& tensor, int64_t count, int64_t max_batch_size) {
    TestServable servable("m", 1, {{}, {Info("y", tensor.type(), {-1})}}, max_batch_size);
    repository::ModelConfig config;
    config.class_labels["y"] = labels_;
    servable.set_config(std::move(config));
    response_.Clear();
    status_ = AddClasses(servable, 0, tensor.view(), count, response_);
    std::vector<std::string> elements;
    if (!status_.ok()) return elements;
    const std::string& raw = response_.raw_output_contents(0);
    for (size_t at = 0; at < raw.size();) {
      uint32_t length = 0;
      std::memcpy(&length, raw.data() + at, sizeof(length));
      elements.push_back(raw.substr(at + sizeof(length), length));
      at += sizeof(length) + length;
    }
    return elements;
  }

  std::vector<std::string> labels_;
  absl::Status status_;
  inference::ModelInferResponse response_;
};

TEST_F(Classification, HighestFirstOfEqualOnesTheFirstAndNanLast) {
  const Tensor y = Tensor::From<float>({1, 5}, {1, NAN, 3, -INFINITY, 3});
  EXPECT_THAT(Classes(y, 5, 8),
              ElementsAre("3.000000:2", "3.000000:4", "1.000000:0", "-inf:3", "nan:1"));
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(1, 5));
  EXPECT_THAT(Classes(y, 1, 8), ElementsAre("3.000000:2"));
}

TEST_F(Classification, RowsAreApartWhereThereIsABatch) {
  const Tensor y = Tensor::From<int32_t>({2, 2}, {1, 2, 40, 30});
  EXPECT_THAT(Classes(y, 1, 8), ElementsAre("2:1", "40:0"));
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(2, 1));
  EXPECT_THAT(Classes(y, 3, 0), ElementsAre("40:2", "30:3", "2:1"));
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(3));
}

TEST_F(Classification, EveryTypeThatHasAnOrder) {
  EXPECT_THAT(Classes(Tensor::From<int8_t>({2}, {-3, 5}), 2, 0), ElementsAre("5:1", "-3:0"));
  EXPECT_THAT(Classes(Tensor::From<uint64_t>({2}, {1, ~uint64_t{0}}), 1, 0),
              ElementsAre("18446744073709551615:1"));
  EXPECT_THAT(Classes(Tensor::From<double>({2}, {0.5, 0.25}), 1, 0), ElementsAre("0.500000:0"));
  EXPECT_THAT(Classes(Tensor::From<Float16>({2}, {Float16::From(1), Float16::From(2)}), 1, 0),
              ElementsAre("2.000000:1"));
  EXPECT_THAT(Classes(Tensor::From<bool>({2}, {true, false}), 1, 0), IsEmpty());
  EXPECT_TRUE(absl::IsInvalidArgument(status_));
  EXPECT_THAT(status_.message(), HasSubstr("output \"y\" (BOOL): parameter \"classification\""));
}

TEST_F(Classification, LabelsWhereThereAreSome) {
  labels_ = {"cat", "", "dog:big"};
  EXPECT_THAT(Classes(Tensor::From<int64_t>({4}, {1, 2, 3, 4}), 4, 0),
              ElementsAre("4:3", "3:2:dog:big", "2:1:", "1:0:cat"));
}

TEST_F(Classification, AnEmptyOutputHasNoClasses) {
  EXPECT_THAT(Classes(Tensor(DataType::kFloat, {0, 4}), 2, 8), IsEmpty());
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(0, 0));
  EXPECT_THAT(Classes(Tensor(DataType::kFloat, {2, 0}), 2, 8), IsEmpty());
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(2, 0));
}

}  // namespace
}  // namespace baton::api

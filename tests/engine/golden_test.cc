#include "engine/golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/tensor_io.h"
#include "tests/support/model_builder.h"
#include "tests/support/temp_dir.h"

namespace baton::engine {
namespace {

using ::baton::testing::ModelBuilder;
using ::baton::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GoldenTest : public ::testing::Test {
 protected:
  // sum = a + b, difference = a - b.
  GoldenTest() {
    ModelBuilder m;
    for (const char* name : {"a", "b"}) m.Input(name, DataType::kFloat, {-1, 2});
    m.Node("Add", {"a", "b"}, {"sum"});
    m.Node("Sub", {"a", "b"}, {"difference"});
    for (const char* name : {"sum", "difference"}) m.Output(name, DataType::kFloat, {-1, 2});
    auto model = Model::Parse(m.Build(), "", {});
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }
  void Write(const std::string& file, const std::string& name, float x, float y) {
    std::filesystem::create_directories(std::filesystem::path(dir_ / file).parent_path());
    ASSERT_TRUE(
        WriteTensorProtoFile(dir_ / file, Tensor::From<float>({1, 2}, {x, y}).view(), name).ok());
  }
  // A sample whose tensors have no names and so count by their files' numbers.
  void WriteSample(const std::string& name) {
    Write(name + "/input_0.pb", "", 3, 4);
    Write(name + "/input_1.pb", "", 1, 2);
    Write(name + "/output_0.pb", "", 4, 6);
    Write(name + "/output_1.pb", "", 2, 2);
  }
  absl::StatusOr<std::vector<GoldenSample>> Read() {
    return ReadGoldenSamples(dir_.path(), model_->signature());
  }
  std::string ReadError() {
    const auto samples = Read();
    EXPECT_EQ(samples.status().code(), absl::StatusCode::kInvalidArgument) << samples.status();
    return std::string(samples.status().message());
  }
  TempDir dir_;
  std::shared_ptr<const Model> model_;
  Session session_;
};

TEST_F(GoldenTest, ReadsSamplesInOrderAndIgnoresTheRest) {
  for (const char* name : {"test_data_set_10", "test_data_set_2", "other_0"}) WriteSample(name);
  Write("test_data_set_3", "a", 0, 0);  // a file, not a directory
  const auto samples = Read();
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 2u);
  EXPECT_EQ((*samples)[0].name, "test_data_set_2");
  EXPECT_EQ((*samples)[1].name, "test_data_set_10");
  EXPECT_THAT((*samples)[0].inputs[1].values<float>(), ElementsAre(1, 2));
}

TEST_F(GoldenTest, NoSamplesAreNoError) {
  ASSERT_TRUE(Read().ok());
  EXPECT_TRUE(Read()->empty());
  EXPECT_EQ(ReadGoldenSamples(dir_ / "none", model_->signature()).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(GoldenTest, NamesGoBeforeNumbers) {
  Write("test_data_set_0/input_0.pb", "b", 1, 2);
  Write("test_data_set_0/input_1.pb", "a", 3, 4);
  Write("test_data_set_0/output_0.pb", "difference", 2, 2);
  Write("test_data_set_0/output_7.pb", "sum", 4, 6);
  const auto samples = Read();
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_THAT((*samples)[0].inputs[0].values<float>(), ElementsAre(3, 4));
  EXPECT_TRUE(RunGoldenSample(*model_, session_, (*samples)[0], {}, 1, nullptr).ok());
}

TEST_F(GoldenTest, NamesWhatIsMissingDoubledOrTooMuch) {
  WriteSample("test_data_set_0");
  std::filesystem::remove(dir_ / "test_data_set_0/input_1.pb");
  EXPECT_THAT(ReadError(), HasSubstr("no file for \"b\"; expected input_1.pb"));
  Write("test_data_set_0/input_1.pb", "a", 1, 2);
  EXPECT_THAT(ReadError(), HasSubstr("input_1.pb: a second tensor for \"a\""));
  Write("test_data_set_0/input_1.pb", "b", 1, 2);
  Write("test_data_set_0/input_2.pb", "c", 1, 2);
  EXPECT_THAT(ReadError(), HasSubstr("input_2.pb: tensor \"c\" belongs to nothing"));
}

TEST_F(GoldenTest, RunsASampleAndMeasuresIt) {
  WriteSample("test_data_set_0");
  Write("test_data_set_0/output_1.pb", "", 2.5, 2);
  const auto samples = Read();
  ASSERT_TRUE(samples.ok()) << samples.status();
  GoldenResult result;
  const absl::Status status =
      RunGoldenSample(*model_, session_, (*samples)[0], {.rtol = 0, .atol = 0.25}, 1, &result);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("golden sample \"test_data_set_0\": output \"difference\": element [0,0] "
                        "is 2, expected 2.5 within rtol 0, atol 0.25"));
  EXPECT_DOUBLE_EQ(result.max_abs_error, 0.5);
  EXPECT_DOUBLE_EQ(result.max_rel_error, 0.2);
  EXPECT_TRUE(
      RunGoldenSample(*model_, session_, (*samples)[0], {.rtol = 0, .atol = 0.5}, 1, &result).ok());
}

TEST_F(GoldenTest, RefusesAnAnswerOfAnotherShape) {
  WriteSample("test_data_set_0");
  ASSERT_TRUE(WriteTensorProtoFile(dir_ / "test_data_set_0/output_0.pb",
                                   Tensor::From<float>({2}, {4, 6}).view(), "")
                  .ok());
  const auto samples = Read();
  const absl::Status status = RunGoldenSample(*model_, session_, (*samples)[0], {}, 1, nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("got float[1,2], expected float[2]"));
}

TEST_F(GoldenTest, NamesTheSampleWhoseInputTheModelRefuses) {
  WriteSample("test_data_set_0");
  ASSERT_TRUE(WriteTensorProtoFile(dir_ / "test_data_set_0/input_0.pb",
                                   Tensor::From<float>({3}, {1, 2, 3}).view(), "")
                  .ok());
  const auto samples = Read();
  const absl::Status status = RunGoldenSample(*model_, session_, (*samples)[0], {}, 1, nullptr);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("golden sample \"test_data_set_0\""));
}

}  // namespace
}  // namespace baton::engine

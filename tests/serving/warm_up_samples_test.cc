#include "server/serving/warm_up_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/base/check.h"
#include "tests/repository/write_file.h"
#include "tests/support/temp_dir.h"

namespace baton::serving {
namespace {

using ::baton::testing::TempDir;
using ::baton::testing::WriteAt;
using repository::WarmUpInput;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Remembers what it is given, and answers with `answer`.
class RecordingServable final : public Servable {
 public:
  const std::string& model() const override { return name_; }
  int64_t version() const override { return 1; }
  const engine::Signature& signature() const override { return signature_; }
  const repository::ModelConfig& config() const override { return config_; }
  int64_t max_batch_size() const override { return max_batch_size_; }
  VersionMetrics& metrics() override {
    BATON_CHECK_MSG(false, "nothing is counted here");
    __builtin_unreachable();
  }
  absl::Status Submit(Task task) override {
    std::vector<Tensor> inputs;
    for (const TensorView& view : task.inputs) inputs.push_back(Tensor::Copy(view));
    requests_.push_back(std::move(inputs));
    rows_.push_back(task.rows);
    task.done(answer_, {}, {});
    return absl::OkStatus();
  }

  std::string name_ = "m";
  engine::Signature signature_;
  repository::ModelConfig config_;
  int64_t max_batch_size_ = 8;
  absl::Status answer_;
  std::vector<std::vector<Tensor>> requests_;
  std::vector<int64_t> rows_;
};

class WarmUpSamplesTest : public ::testing::Test {
 protected:
  WarmUpSamplesTest() {
    AddInput("x", DataType::kFloat, {-1, 2});
    servable_.signature_.outputs = servable_.signature_.inputs;
  }
  void AddInput(const std::string& name, DataType type, const std::vector<int64_t>& dims) {
    engine::ValueInfo info{name, type, true, {}};
    for (const int64_t dim : dims) info.dims.push_back({dim, ""});
    servable_.signature_.inputs.push_back(info);
  }
  // The one sample, with the input "x" float[2] of zeros.
  repository::WarmUpSample& Sample() {
    auto& samples = servable_.config_.warm_ups;
    if (samples.empty()) {
      samples.push_back({"w", 1, {{"x", {DataType::kFloat, {2}}}}});
    }
    return samples.front();
  }
  WarmUpInput& Input() { return Sample().inputs.at("x"); }
  void GiveFile(const std::string& name, const std::string& contents) {
    WriteAt(dir_ / "m/warmup/" + name, contents);
    Input().data = WarmUpInput::Data::kFile;
    Input().file = name;
  }
  absl::Status Run() { return RunWarmUpSamples(dir_ / "m", servable_, warnings_); }
  std::string Error() {
    const absl::Status status = Run();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(), HasSubstr("model_warmup \"w\": "));
    EXPECT_THAT(servable_.requests_, IsEmpty());
    return std::string(status.message());
  }

  TempDir dir_;
  RecordingServable servable_;
  std::vector<std::string> warnings_;
};

TEST_F(WarmUpSamplesTest, RunsAsManyRowsAsOftenAsItSays) {
  Sample().batch_size = 3;
  Sample().count = 2;
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(servable_.rows_, ElementsAre(3, 3));
  const Tensor& x = servable_.requests_.front().front();
  EXPECT_EQ(x.shape(), (Shape{3, 2}));
  EXPECT_THAT(x.values<float>(), Each(0.0f));
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(WarmUpSamplesTest, RandomRowsAreAlike) {
  Sample().batch_size = 2;
  Input().data = WarmUpInput::Data::kRandom;
  ASSERT_TRUE(Run().ok());
  const auto x = servable_.requests_.front().front().values<float>();
  EXPECT_NE(x[0], x[1]);
  EXPECT_EQ(x[0], x[2]);
  EXPECT_EQ(x[1], x[3]);
}

TEST_F(WarmUpSamplesTest, TakesDataFromAFileForEveryRow) {
  Sample().batch_size = 2;
  const float values[] = {1.5f, -2};
  GiveFile("x.raw", std::string(reinterpret_cast<const char*>(values), sizeof(values)));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(servable_.requests_.front().front().values<float>(), ElementsAre(1.5f, -2, 1.5f, -2));
}

TEST_F(WarmUpSamplesTest, OfALongerFileTheFirstBytesCount) {
  GiveFile("x.raw", std::string(12, '\0'));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("x.raw has 12 bytes, float[2] takes 8")));
}

TEST_F(WarmUpSamplesTest, TakesStringsFromAFile) {
  servable_.signature_.inputs.front().type = DataType::kString;
  Input().type = DataType::kString;
  Sample().batch_size = 2;
  GiveFile("x.raw", std::string("\2\0\0\0hi\0\0\0\0", 10));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(servable_.requests_.front().front().values<std::string>(),
              ElementsAre("hi", "", "hi", ""));
  servable_.requests_.clear();
  GiveFile("x.raw", "\2");
  EXPECT_THAT(Error(), HasSubstr("too few for 2 BYTES elements"));
}

TEST_F(WarmUpSamplesTest, TakesShapesAsTheyAreWhereThereIsNoBatchDimension) {
  servable_.config_.max_batch_size = 0;
  servable_.max_batch_size_ = 0;
  Input().dims = {5, 2};
  for (const int64_t batch_size : {0, 1}) {
    Sample().batch_size = batch_size;
    servable_.requests_.clear();
    ASSERT_TRUE(Run().ok());
    EXPECT_EQ(servable_.requests_.at(0).front().shape(), (Shape{5, 2}));
    EXPECT_EQ(servable_.rows_.back(), 1);
  }
  Sample().batch_size = 2;
  servable_.requests_.clear();
  EXPECT_THAT(Error(), HasSubstr("batch_size is 2, but the model has no batch dimension"));
}

// Rows that depend on each other are one request, of the same shape.
TEST_F(WarmUpSamplesTest, KeepsTheBatchDimensionWhereRowsCannotBeRunTogether) {
  servable_.max_batch_size_ = 0;
  Sample().batch_size = 4;
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(servable_.rows_, ElementsAre(1));
  EXPECT_EQ(servable_.requests_.front().front().shape(), (Shape{4, 2}));
}

TEST_F(WarmUpSamplesTest, PassesOverASampleWithoutABatchSize) {
  Sample().batch_size = 0;
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(servable_.requests_, IsEmpty());
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("model_warmup \"w\": it is passed over")));
}

TEST_F(WarmUpSamplesTest, NamesWhatIsWrongWithTheInputs) {
  Sample();
  AddInput("z", DataType::kInt32, {-1});
  EXPECT_THAT(Error(), HasSubstr("input \"z\" is missing"));
  Sample().inputs["z"] = {DataType::kInt64, {}};
  EXPECT_THAT(Error(), HasSubstr("input \"z\": it is int64[] in the sample; the model has int32"));
  Sample().inputs["z"].type = DataType::kInt32;
  Sample().inputs["y"] = {DataType::kFloat, {}};
  EXPECT_THAT(Error(), HasSubstr("the model has no input \"y\"; it has \"x\", \"z\""));
  Sample().inputs.erase("y");
  Input().dims = {int64_t{1} << 29};
  EXPECT_THAT(Error(), HasSubstr("input \"x\": float[1,536870912] is more than 1073741824 bytes"));
  Input().dims = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THAT(Error(), HasSubstr("input \"x\": "));
}

TEST_F(WarmUpSamplesTest, NamesWhatIsWrongWithAFile) {
  GiveFile("short", "1234567");
  EXPECT_THAT(Error(), HasSubstr("input \"x\": "));
  EXPECT_THAT(Error(), HasSubstr("m/warmup/short has 7 bytes, float[2] takes 8"));
  Input().file = "none";
  EXPECT_THAT(Error(), HasSubstr("none"));
  Input().file = "";
  EXPECT_THAT(Error(), HasSubstr("input \"x\": "));
}

TEST_F(WarmUpSamplesTest, FilesMayNotLeaveTheirDirectory) {
  GiveFile("x.raw", "12345678");
  WriteAt(dir_ / "m/outside", "12345678");
  WriteAt(dir_ / "elsewhere/x.raw", "12345678");
  Input().file = "../outside";
  EXPECT_THAT(Error(), HasSubstr("\"../outside\""));
  Input().file = dir_ / "m/outside";
  EXPECT_THAT(Error(), HasSubstr("not a relative path"));
  std::filesystem::create_symlink(dir_ / "m/outside", dir_ / "m/warmup/link");
  Input().file = "link";
  EXPECT_THAT(Error(), HasSubstr("\"link\" is a link that leaves"));
  std::filesystem::remove_all(dir_ / "m/warmup");
  std::filesystem::create_symlink(dir_ / "elsewhere", dir_ / "m/warmup");
  Input().file = "x.raw";
  EXPECT_THAT(Error(), HasSubstr("\"warmup\" is a link that leaves"));
}

TEST_F(WarmUpSamplesTest, AnErrorOfTheModelIsTheSamples) {
  Sample().count = 3;
  servable_.answer_ = absl::InvalidArgumentError("bad value");
  const absl::Status status = Run();
  EXPECT_EQ(status.message(), "model_warmup \"w\": bad value");
  EXPECT_EQ(servable_.requests_.size(), 1u);
}

}  // namespace
}  // namespace baton::serving

#include "trainer/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "engine/base/file.h"
#include "engine/golden.h"
#include "engine/tensor_io.h"
#include "server/repository/manifest.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/synthetic_digits.h"

namespace baton::trainer {
namespace {

namespace fs = std::filesystem;

using baton::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using testing::SyntheticDigits;
using ::testing::UnorderedElementsAre;
using testing::WriteFile;
using testing::WriteMnist;

class Watcher : public TrainingObserver {
 public:
  void OnBatch(const Progress&) override { ++batches; }
  void OnEpoch(const Progress&) override {}
  int batches = 0;
};

class RunJobTest : public ::testing::Test {
 protected:
  RunJobTest() {
    fs::create_directory(dir_ / "data");
    WriteMnist(dir_ / "data", SyntheticDigits(300, 1), SyntheticDigits(100, 2));
    options_.preset = *FindPreset("mnist-mlp");
    options_.preset.training.epochs = 20;
    options_.data_directory = dir_ / "data";
    options_.repository = dir_ / "models";
    options_.model = "digits";
  }

  absl::StatusOr<JobResult> Run() { return RunJob(options_, watcher_, stop_); }
  std::string Error(absl::StatusCode code) {
    const absl::Status status = Run().status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }
  std::vector<std::string> Published() const {
    std::vector<std::string> names;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(dir_ / "models/digits", none)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  TempDir dir_;
  JobOptions options_;
  Watcher watcher_;
  std::atomic<bool> stop_ = false;
};

TEST_F(RunJobTest, PublishesAVersionThatServersAccept) {
  options_.min_accuracy = 0.9;
  const absl::StatusOr<JobResult> result = Run();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->version, 1);
  EXPECT_EQ(result->version_directory, dir_ / "models/digits/1");
  EXPECT_EQ(result->test.items, 100);

  const absl::StatusOr<repository::Manifest> manifest =
      repository::ReadManifest(result->version_directory);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_TRUE(repository::Verify(*manifest, result->version_directory).ok());
  EXPECT_EQ(manifest->rtol, 1e-3);
  EXPECT_EQ(manifest->atol, 1e-5);
  EXPECT_THAT(manifest->metrics,
              UnorderedElementsAre(Pair("accuracy", result->test.accuracy()),
                                   Pair("loss", result->test.mean_loss()), Pair("test_images", 100),
                                   Pair("epochs", 20), Pair("seed", 1), Pair("parameters", 51450)));

  const auto model = engine::Model::Load(result->version_directory + "/model.onnx", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto samples = engine::ReadGoldenSamples(result->version_directory, (*model)->signature());
  ASSERT_TRUE(samples.ok()) << samples.status();
  std::vector<int64_t> batches;
  engine::Session session;
  for (const engine::GoldenSample& sample : *samples) {
    batches.push_back(sample.inputs[0].shape()[0]);
    engine::GoldenResult worst;
    const absl::Status status =
        engine::RunGoldenSample(**model, session, sample, {1e-3, 1e-5}, 1, &worst);
    EXPECT_TRUE(status.ok()) << sample.name << ": " << status;
  }
  EXPECT_THAT(batches, UnorderedElementsAre(1, 1, 1, 1, 3));
}

TEST_F(RunJobTest, GoldenInputsAreRawPixelsOfTestImages) {
  const absl::StatusOr<JobResult> result = Run();
  ASSERT_TRUE(result.ok()) << result.status();
  const absl::StatusOr<NamedTensor> input =
      ReadTensorProtoFile(result->version_directory + "/test_data_set_0/input_0.pb");
  ASSERT_TRUE(input.ok()) << input.status();
  const Dataset test = SyntheticDigits(100, 2);
  EXPECT_EQ(input->name, "image");
  EXPECT_THAT(input->tensor.values<float>(), ::testing::ElementsAreArray(test.image(0)));
}

TEST_F(RunJobTest, VersionsFollowOneAnotherAndOldOnesGo) {
  options_.preset.training.epochs = 1;
  options_.keep_last = 2;
  for (int64_t version = 1; version <= 3; ++version) {
    const absl::StatusOr<JobResult> result = Run();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->version, version);
  }
  EXPECT_THAT(Published(), UnorderedElementsAre("2", "3"));
}

TEST_F(RunJobTest, TheSameSeedGivesTheSameModelAnotherAnother) {
  options_.preset.training.epochs = 1;
  for (const uint64_t seed : {1, 1, 2}) {
    options_.preset.training.seed = seed;
    ASSERT_TRUE(Run().ok());
  }
  const auto model = [&](const char* version) {
    return *Sha256OfFile(dir_ / "models/digits/" + version + "/model.onnx");
  };
  EXPECT_EQ(model("1"), model("2"));
  EXPECT_NE(model("1"), model("3"));
}

TEST_F(RunJobTest, TheGateRefusesAWorseModel) {
  options_.preset.training.epochs = 1;
  options_.preset.training.learning_rate = 1e-9;  // learns nothing
  options_.min_accuracy = 0.9;
  options_.export_path = dir_ / "model.onnx";
  EXPECT_THAT(Error(absl::StatusCode::kFailedPrecondition),
              AllOf(HasSubstr("test accuracy"), HasSubstr("under the 90.00 %")));
  EXPECT_FALSE(fs::exists(dir_ / "models"));
  EXPECT_FALSE(fs::exists(dir_ / "model.onnx"));
}

TEST_F(RunJobTest, DivergedTrainingPublishesNothing) {
  options_.preset.training.learning_rate = 1e30;
  EXPECT_THAT(Error(absl::StatusCode::kFailedPrecondition), HasSubstr("loss is"));
  EXPECT_FALSE(fs::exists(dir_ / "models"));
}

TEST_F(RunJobTest, AStopPublishesNothing) {
  stop_ = true;
  Error(absl::StatusCode::kCancelled);
  EXPECT_FALSE(fs::exists(dir_ / "models"));
}

TEST_F(RunJobTest, AStopAfterTrainingPublishesNothing) {
  class StopAtEnd : public TrainingObserver {
   public:
    explicit StopAtEnd(std::atomic<bool>& stop) : stop_(stop) {}
    void OnBatch(const Progress&) override {}
    void OnEpoch(const Progress& progress) override { stop_ = progress.epoch == progress.epochs; }

   private:
    std::atomic<bool>& stop_;
  } observer(stop_);
  EXPECT_EQ(RunJob(options_, observer, stop_).status().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(fs::exists(dir_ / "models"));
}

TEST_F(RunJobTest, ARepositoryThatCannotBeWrittenIsFoundBeforeTraining) {
  WriteFile(dir_ / "file", "");
  options_.repository = dir_ / "file/models";
  EXPECT_THAT(Error(absl::StatusCode::kInvalidArgument), HasSubstr("is not a directory"));
  EXPECT_EQ(watcher_.batches, 0);

  options_.repository = "/proc/self/models";  // not even root can make directories there
  EXPECT_THAT(Run().status().message(), HasSubstr("/proc/self"));
  EXPECT_EQ(watcher_.batches, 0);
}

TEST_F(RunJobTest, ExportsTheModelThatItPublishes) {
  options_.preset.training.epochs = 1;
  options_.export_path = dir_ / "model.onnx";
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(*Sha256OfFile(dir_ / "model.onnx"), *Sha256OfFile(dir_ / "models/digits/1/model.onnx"));
}

TEST_F(RunJobTest, ExportsWithoutARepository) {
  options_.preset.training.epochs = 1;
  options_.repository = "";
  options_.export_path = dir_ / "model.onnx";
  const absl::StatusOr<JobResult> result = Run();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->version, 0);
  EXPECT_TRUE(engine::Model::Load(dir_ / "model.onnx", {}).ok());
}

TEST_F(RunJobTest, DamagedDataIsAnError) {
  fs::resize_file(dir_ / "data/t10k-images-idx3-ubyte", 1000);
  EXPECT_THAT(Error(absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr("t10k-images-idx3-ubyte"), HasSubstr("damaged")));
}

TEST_F(RunJobTest, RejectsOptionsThatMakeNoSense) {
  JobOptions good = options_;
  options_.min_accuracy = 97;
  EXPECT_THAT(Error(absl::StatusCode::kInvalidArgument), HasSubstr("fraction from 0 to 1"));
  options_ = good;
  for (const char* name : {"", "a/b", ".hidden", ".."}) {
    options_.model = name;
    EXPECT_THAT(Error(absl::StatusCode::kInvalidArgument), HasSubstr("model is"));
  }
  options_ = good;
  options_.keep_last = -1;
  EXPECT_THAT(Error(absl::StatusCode::kInvalidArgument), HasSubstr("keep last is -1"));
  options_ = good;
  options_.repository = "";
  EXPECT_THAT(Error(absl::StatusCode::kInvalidArgument), HasSubstr("repository"));
  EXPECT_EQ(watcher_.batches, 0);
}

}  // namespace
}  // namespace baton::trainer

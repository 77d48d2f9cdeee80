// baton-train as its users see it: exit codes, and one clear line for each mistake.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/base/file.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/synthetic_digits.h"

namespace baton::trainer {
namespace {

namespace fs = std::filesystem;

using baton::testing::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using testing::SyntheticDigits;
using testing::WriteMnist;

class BatonTrainTest : public ::testing::Test {
 protected:
  BatonTrainTest() : data_(dir_ / "data"), models_(dir_ / "models") {
    fs::create_directory(data_);
    WriteMnist(data_, SyntheticDigits(200, 1), SyntheticDigits(50, 2));
  }

  // Starts the program, its output going to files.
  pid_t Start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), BATON_TRAIN_PATH);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const std::string out = dir_ / "stdout", err = dir_ / "stderr";
    const pid_t child = fork();
    if (child == 0) {
      dup2(open(out.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), STDOUT_FILENO);
      dup2(open(err.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    return child;
  }
  // Its exit code; -1 if a signal ended it.
  static int Wait(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int Run(const std::vector<std::string>& arguments) { return Wait(Start(arguments)); }
  int Train(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"--preset=mnist-mlp", "--repository=" + models_,
                                          "--data=" + data_, "--epochs=1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }
  std::string Out() { return *ReadFile(dir_ / "stdout"); }
  std::string Error() { return *ReadFile(dir_ / "stderr"); }
  // The one line of an error at the command line.
  std::string ErrorLine() {
    const std::string error = Error();
    EXPECT_THAT(error, StartsWith("baton-train: "));
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
    EXPECT_THAT(Out(), IsEmpty());
    return error;
  }

  TempDir dir_;
  const std::string data_, models_;
};

TEST_F(BatonTrainTest, PublishesUnderThePresetsName) {
  EXPECT_EQ(Train({}), 0) << Error();
  EXPECT_THAT(Out(), AllOf(StartsWith("test accuracy "),
                           HasSubstr("published mnist version 1 in " + models_ + "/mnist/1\n")));
  EXPECT_THAT(Error(), AllOf(HasSubstr("epoch 1/1"), HasSubstr("loss"), HasSubstr("accuracy")));
  EXPECT_TRUE(fs::exists(models_ + "/mnist/1/manifest.json"));
}

TEST_F(BatonTrainTest, EveryTrainingFlagReachesTheJob) {
  EXPECT_EQ(Train({"--model=digits", "--seed=7", "--learning-rate=0.02", "--weight-decay=0.5",
                   "--batch-size=25", "--optimizer=sgd", "--threads=1", "--keep-last=1",
                   "--min-accuracy=0", "--export=" + (dir_ / "copy.onnx")}),
            0)
      << Error();
  EXPECT_THAT(Error(), HasSubstr("batch 8/8"));
  EXPECT_THAT(
      *ReadFile(models_ + "/digits/1/model.onnx"),
      AllOf(HasSubstr("seed\x12\x01"
                      "7"),
            HasSubstr("0.02"), HasSubstr("weight_decay"), HasSubstr("0.5"), HasSubstr("sgd")));
  EXPECT_TRUE(fs::exists(dir_ / "copy.onnx"));
}

TEST_F(BatonTrainTest, ListsPresets) {
  EXPECT_EQ(Run({"--list-presets"}), 0);
  EXPECT_THAT(Out(), AllOf(HasSubstr("mnist-mlp: "), HasSubstr("mnist-cnn: ")));
  EXPECT_THAT(Error(), IsEmpty());
}

TEST_F(BatonTrainTest, HelpNamesEveryFlag) {
  EXPECT_EQ(Run({"--help"}), 0);
  for (const char* flag : {"--preset", "--list-presets", "--repository", "--model", "--data",
                           "--epochs", "--seed", "--learning-rate", "--batch-size", "--optimizer",
                           "--min-accuracy", "--keep-last", "--threads", "--version"}) {
    EXPECT_THAT(Out(), HasSubstr(flag));
  }
}

TEST_F(BatonTrainTest, WrongFlagsExitWithTwo) {
  const auto error = [&](std::vector<std::string> arguments) {
    EXPECT_EQ(Run(arguments), 2);
    return ErrorLine();
  };
  const std::string repository = "--repository=" + models_;
  EXPECT_THAT(error({}), HasSubstr("--preset is missing"));
  EXPECT_THAT(error({"--preset=mnist-mlp"}), HasSubstr("--repository is missing"));
  EXPECT_THAT(error({"--preset=mnist-cn", repository}), HasSubstr("did you mean mnist-cnn?"));
  EXPECT_THAT(error({"--epoch=1"}), HasSubstr("did you mean --epochs?"));
  EXPECT_THAT(error({"--preset=mnist-mlp", repository, "--epochs=many"}), HasSubstr("--epochs"));
  EXPECT_THAT(error({"--preset=mnist-mlp", repository, "--epochs=0"}), HasSubstr("epochs is 0"));
  EXPECT_THAT(error({"--preset=mnist-mlp", repository, "--threads=0"}), HasSubstr("threads is 0"));
  EXPECT_THAT(error({"--preset=mnist-mlp", repository, "--optimizer=adm"}),
              HasSubstr("expected sgd or adam"));
  EXPECT_THAT(error({"--preset=mnist-mlp", repository, "--min-accuracy=97"}),
              HasSubstr("fraction from 0 to 1"));
}

TEST_F(BatonTrainTest, FailuresExitWithOneAndSayThatNothingWasPublished) {
  EXPECT_EQ(Run({"--preset=mnist-mlp", "--repository=" + models_, "--data=" + (dir_ / "nowhere")}),
            1);
  EXPECT_THAT(ErrorLine(), AllOf(HasSubstr("nowhere"), HasSubstr("fetch-mnist.sh"),
                                 HasSubstr("nothing was published")));
  EXPECT_EQ(Train({"--min-accuracy=1", "--learning-rate=1e-9"}), 1);
  EXPECT_THAT(Error(), HasSubstr("under the 100.00 % asked for"));
  EXPECT_THAT(Out(), IsEmpty());
  EXPECT_FALSE(fs::exists(models_));
}

TEST_F(BatonTrainTest, ASignalStopsItAndPublishesNothing) {
  for (const int signal : {SIGINT, SIGTERM}) {
    // The pipe's writer is the program's stderr: a first progress line says that it is training.
    const std::string fifo = dir_ / "stderr";
    fs::remove(fifo);
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    const pid_t child = Start(
        {"--preset=mnist-mlp", "--repository=" + models_, "--data=" + data_, "--epochs=1000000"});
    FILE* progress = fopen(fifo.c_str(), "r");
    ASSERT_NE(progress, nullptr);
    char line[256];
    ASSERT_NE(fgets(line, sizeof(line), progress), nullptr);
    EXPECT_THAT(line, StartsWith("epoch 1/"));
    kill(child, signal);
    std::string last;
    while (fgets(line, sizeof(line), progress) != nullptr) last = line;
    fclose(progress);
    EXPECT_EQ(Wait(child), 1);
    EXPECT_EQ(last, "baton-train: interrupted; nothing was published\n");
    EXPECT_FALSE(fs::exists(models_));
  }
}

}  // namespace
}  // namespace baton::trainer

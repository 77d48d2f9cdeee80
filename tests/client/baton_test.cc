// The program `baton` as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/tensor_io.h"
#include "tests/client/fake_server.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace baton {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ProgramResult;
using ::testing::StartsWith;

// `baton` while it runs.
class RunningBaton {
 public:
  explicit RunningBaton(const std::vector<std::string>& args)
      : pid_(testing::StartProgram("baton", args, dir_ / "out", dir_ / "err")) {}
  void Signal(int signal) { kill(pid_, signal); }
  ProgramResult Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    return {testing::ExitCode(status), *ReadFile(dir_ / "out"), *ReadFile(dir_ / "err")};
  }

 private:
  testing::TempDir dir_;
  const pid_t pid_;
};

ProgramResult RunBaton(const std::vector<std::string>& args) {
  return testing::RunProgram("baton", args);
}

// One line on stderr, nothing on stdout.
void ExpectOneLine(const ProgramResult& result, int exit_code, const std::string& what) {
  EXPECT_EQ(result.exit_code, exit_code) << result.errors;
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.errors, AllOf(StartsWith("baton: "), HasSubstr(what)));
  EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
}

TEST(BatonProgram, ExplainsItself) {
  const ProgramResult help = RunBaton({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command : {"predict", "status", "metadata", "models", "bench"}) {
    EXPECT_THAT(help.output, HasSubstr(command));
    const ProgramResult own = RunBaton({command, "--help"});
    EXPECT_EQ(own.exit_code, 0);
    EXPECT_THAT(own.output, AllOf(HasSubstr("--server"), HasSubstr("Examples:")));
  }
  const ProgramResult version = RunBaton({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.output, BATON_VERSION "\n");
}

TEST(BatonProgram, RefusesWrongCommandLines) {
  ExpectOneLine(RunBaton({}), 2, "subcommand is required");
  ExpectOneLine(RunBaton({"stats"}), 2, "did you mean status?");
  ExpectOneLine(RunBaton({"predict", "--modle=m"}), 2, "did you mean --model?");
  ExpectOneLine(RunBaton({"bench", "--model=m", "--conncurrency=3"}), 2,
                "did you mean --concurrency?");
  ExpectOneLine(RunBaton({"predict", "--model=m"}), 2, "nothing to predict");
  ExpectOneLine(RunBaton({"predict", "--idx=a"}), 2, "--model is required");
  ExpectOneLine(RunBaton({"status", "--server=localhost"}), 2, "expected HOST:PORT");
  ExpectOneLine(RunBaton({"status", "--protocol=rest"}), 2, "rest not in {tfs,oip}");
  ExpectOneLine(RunBaton({"status", "--timeout=soon"}), 2, "--timeout");
  ExpectOneLine(RunBaton({"metadata", "--model=m", "--version=0"}), 2, "--version");
  ExpectOneLine(RunBaton({"metadata", "--model=m", "--version=1", "--label=a"}), 2, "excludes");
  ExpectOneLine(RunBaton({"metadata", "--model=m", "--label=a", "--protocol=oip"}), 2, "no labels");
  ExpectOneLine(RunBaton({"bench", "--model=m", "--rate=0"}), 2, "--rate");
  ExpectOneLine(RunBaton({"bench", "--model=m", "--rate=5", "--concurrency=5"}), 2, "excludes");
  ExpectOneLine(RunBaton({"bench", "--model=m", "--threads=9"}), 2, "9 threads");
  ExpectOneLine(RunBaton({"bench", "--model=m", "--shape=x"}), 2, "\"x\" is not NAME=VALUE");
  ExpectOneLine(RunBaton({"status", "--tls-ca=a", "--tls-cert=b"}), 2, "--tls-key");
  ExpectOneLine(RunBaton({"status", "--tls-ca=a", "--tls-key=b"}), 2, "--tls-cert");
  ExpectOneLine(RunBaton({"status", "--tls-cert=a", "--tls-key=b"}), 2, "--tls-ca");
}

TEST(BatonProgram, SaysWhichFileHoldsNoKeyOrToken) {
  const testing::TempDir dir;
  std::ofstream(dir / "empty").close();
  for (const char* flag : {"--tls-ca", "--token-file"}) {
    for (const char* command : {"status", "bench"}) {
      const auto run = [&](const std::string& file) {
        return RunBaton({command, "--model=m", absl::StrCat(flag, "=", dir / file)});
      };
      ExpectOneLine(run("empty"), 1, absl::StrCat(flag, ": "));
      ExpectOneLine(run("missing"), 1, absl::StrCat(flag, ": "));
    }
  }
}

TEST(BatonProgram, SaysInOneLineThatNobodyListens) {
  for (const char* command : {"status", "metadata", "bench"}) {
    ExpectOneLine(RunBaton({command, "--model=m", "--server=127.0.0.1:1"}), 1,
                  "cannot reach 127.0.0.1:1");
  }
  ExpectOneLine(RunBaton({"models", "--server=127.0.0.1:1"}), 1, "cannot reach 127.0.0.1:1");
}

class BatonCallTest : public ::testing::TestWithParam<const char*> {
 protected:
  ProgramResult Call(std::vector<std::string> args) {
    args.push_back("--server=" + fake_.address());
    args.push_back(std::string("--protocol=") + GetParam());
    args.push_back("--timeout=60");
    return RunBaton(args);
  }
  nlohmann::json CallJson(std::vector<std::string> args) {
    args.emplace_back("--json");
    const ProgramResult result = Call(std::move(args));
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return nlohmann::json::parse(result.output, nullptr, false);
  }
  // An idx file of three images of 28x28 whose first pixels are 7, 3, 5.
  std::string Images() {
    std::string bytes("\0\0\10\3\0\0\0\3\0\0\0\34\0\0\0\34", 16);
    for (const char first : {7, 3, 5}) bytes += std::string(1, first) + std::string(783, '\1');
    std::ofstream(dir_ / "images", std::ios::binary) << bytes;
    return dir_ / "images";
  }
  testing::TempDir dir_;
  testing::FakeServer fake_;
};
INSTANTIATE_TEST_SUITE_P(Protocols, BatonCallTest, ::testing::Values("tfs", "oip"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(BatonCallTest, PredictsADigitFromAnIdxFile) {
  const ProgramResult text = Call({"predict", "--model=digits", "--idx=" + Images(), "--index=1"});
  EXPECT_EQ(text.exit_code, 0) << text.errors;
  EXPECT_THAT(text.output,
              AllOf(HasSubstr("model digits, version 1"), HasSubstr("label 3, score 0.91"),
                    HasSubstr("scores float[1,10]")));
  const auto json =
      CallJson({"predict", "--model=digits", "--idx=" + Images(), "--index=0,2", "--top=2"});
  EXPECT_EQ(json["version"], "1");
  EXPECT_EQ(json["top"][0][0]["label"], 7);
  EXPECT_EQ(json["top"][1][0]["label"], 5);
  EXPECT_EQ(json["top"][1].size(), 2U);
  EXPECT_EQ(json["outputs"][0]["shape"], (std::vector<int>{2, 10}));
}

TEST_P(BatonCallTest, MeasuresAccuracy) {
  std::ofstream(dir_ / "labels", std::ios::binary) << std::string("\0\0\10\1\0\0\0\3\7\3\0", 11);
  const auto json = CallJson({"predict", "--model=digits", "--idx=" + Images(),
                              "--labels=" + (dir_ / "labels"), "--rows=2"});
  EXPECT_EQ(json["correct"], 2);
  EXPECT_EQ(json["total"], 3);
  EXPECT_NEAR(json["accuracy"].get<double>(), 2.0 / 3, 1e-9);
}

TEST_P(BatonCallTest, PredictsFromEveryKindOfInput) {
  ASSERT_TRUE(WriteNpyFile(dir_ / "x.npy", Tensor::From<float>({1, 4}, {1, 2, 3, 4}).view()).ok());
  ASSERT_TRUE(
      WriteTensorProtoFile(dir_ / "x.pb", Tensor::From<float>({1, 4}, {1, 2, 3, 4}).view(), "x")
          .ok());
  std::ofstream(dir_ / "x.json") << R"({"x": [[1, 2, 3, 4]]})";
  std::ofstream(dir_ / "x.pgm") << "P2 2 2 255 1 2 3 4";
  for (const std::string& input :
       {"--input=x=" + (dir_ / "x.npy"), "--input=x=" + (dir_ / "x.pb"),
        "--json-input=" + (dir_ / "x.json"), std::string("--json-input=[[1,2,3,4]]"),
        "--image=" + (dir_ / "x.pgm"), "--image=x=" + (dir_ / "x.pgm")}) {
    const auto json = CallJson({"predict", "--model=affine", input});
    EXPECT_EQ(json["outputs"][0]["values"].dump(), "[[2.0,3.0,4.0,5.0]]") << input;
  }
}

TEST_P(BatonCallTest, SaysInOneLineWhyItCannotPredict) {
  ExpectOneLine(Call({"predict", "--model=nothing", "--json-input=[1]"}), 1,
                "no model \"nothing\"");
  ExpectOneLine(Call({"predict", "--model=affine", "--json-input={\"y\": 1}"}), 1,
                "no input \"y\"; it has \"x\" float[?,4]");
  ExpectOneLine(Call({"predict", "--model=affine", "--idx=" + Images()}), 1, "28x28");
  ExpectOneLine(Call({"predict", "--model=affine", "--image=" + Images()}), 1, "neither a PNG");
  ExpectOneLine(Call({"predict", "--model=digits", "--idx=" + Images(), "--index=3"}), 1,
                "no image 3");
  ExpectOneLine(Call({"predict", "--model=affine", "--input=x=/nowhere.npy"}), 1, "/nowhere.npy");
  ExpectOneLine(Call({"predict", "--model=affine", "--input=x=/nowhere.txt"}), 1, "expected .npy");
}

TEST_P(BatonCallTest, ShowsMetadataAndStates) {
  EXPECT_THAT(Call({"metadata", "--model=affine"}).output, HasSubstr("float[?,4]"));
  EXPECT_EQ(CallJson({"metadata", "--model=affine"})["inputs"][0]["shape"],
            (std::vector<int>{-1, 4}));
  EXPECT_THAT(Call({"status", "--model=affine"}).output, HasSubstr("REASON"));
  EXPECT_EQ(CallJson({"status", "--model=affine"})[0]["version"], "10");
  EXPECT_THAT(Call({"status"}).output, HasSubstr("is live and not ready"));
  EXPECT_EQ(CallJson({"status"})["ready"], false);
}

TEST_P(BatonCallTest, BenchReportsAndFailsOnlyWhereAsked) {
  fake_.status = [](int64_t n) {
    return n % 10 == 9 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining") : grpc::Status::OK;
  };
  const auto json = CallJson({"bench", "--model=affine", "--requests=50", "--warm-up=0", "--rows=2",
                              "--concurrency=2", "--quiet"});
  EXPECT_EQ(json["requests"], 50);
  EXPECT_EQ(json["failed"], 5);
  EXPECT_EQ(json["errors"][0]["code"], "UNAVAILABLE");
  EXPECT_EQ(json["errors"][0]["example"], "draining");
  EXPECT_EQ(json["rows_per_request"], 2);
  const ProgramResult failed = Call({"bench", "--model=affine", "--requests=50", "--warm-up=0",
                                     "--rate=5000", "--quiet", "--fail-on-error"});
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.errors, HasSubstr("baton: 5 of 50 requests failed"));
  EXPECT_THAT(failed.output, HasSubstr("open loop, 5000 requests/s"));
}

TEST_P(BatonCallTest, BenchReportsWhenInterrupted) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const int64_t before = fake_.predicts();
    RunningBaton bench({"bench", "--model=affine", "--duration=0", "--warm-up=0", "--json",
                        "--server=" + fake_.address(), std::string("--protocol=") + GetParam()});
    fake_.WaitForPredicts(before + 50);
    bench.Signal(signal);
    const ProgramResult result = bench.Wait();
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    const auto json = nlohmann::json::parse(result.output, nullptr, false);
    ASSERT_TRUE(json.is_object()) << result.output;
    EXPECT_GE(json["replies"], 40);
    EXPECT_EQ(json["failed"], 0);
  }
}

}  // namespace
}  // namespace baton

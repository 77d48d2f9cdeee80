// Versions that come and go under load, seen from outside: the real server, a real repository,
// clients of both protocols. The model of version N answers x + N, and x is such that the sum is
// exact: an answer tells which version computed it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/file.h"
#include "engine/tensor_io.h"
#include "tests/e2e/affine_client.h"
#include "tests/support/model_builder.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_dir.h"

namespace baton::testing {
namespace {

namespace fs = std::filesystem;
using tensorflow::serving::ModelVersionStatus;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kModel[] = "swap";
constexpr std::chrono::seconds kLimit(120);  // for anything that should take a second or two

class SwapTest : public ::testing::Test {
 protected:
  void StartServer(std::vector<std::string> flags = {}) {
    flags.push_back(absl::StrCat("--model_repository=", repository_.path()));
    auto server = ServerProcess::Start(flags);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    status_channel_ = server_->NewChannel();
  }

  // As a training job does: staged, with a manifest and golden samples, renamed into place.
  void Publish(int64_t version) {
    ASSERT_TRUE(WriteFileDurably(scratch_ / "model.onnx", Onnx(version)).ok());
    const ProgramResult result =
        RunProgram("baton-model", {"publish", scratch_ / "model.onnx", repository_ / kModel,
                                   "--samples=random", absl::StrCat("--version=", version)});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
  }

  // As cp or rsync do: no manifest; the directory appears whole, holding `onnx`.
  void Copy(int64_t version, const std::string& onnx) {
    fs::create_directories(scratch_ / "copy");
    ASSERT_TRUE(WriteFileDurably(scratch_ / "copy/model.onnx", onnx).ok());
    Place(scratch_ / "copy", version);
  }

  // Publishes into the scratch directory, lets `spoil` change the version, and moves it in place.
  void PublishSpoiled(int64_t version, const std::function<void(const fs::path&)>& spoil) {
    ASSERT_TRUE(WriteFileDurably(scratch_ / "model.onnx", Onnx(version)).ok());
    const ProgramResult result =
        RunProgram("baton-model", {"publish", scratch_ / "model.onnx", scratch_ / "staged",
                                   "--samples=random", absl::StrCat("--version=", version)});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const fs::path directory = fs::path(scratch_ / "staged") / std::to_string(version);
    spoil(directory);
    Place(directory, version);
  }

  void Place(const fs::path& directory, int64_t version) {
    fs::create_directories(repository_ / kModel);
    fs::rename(directory, fs::path(repository_ / kModel) / std::to_string(version));
  }

  static std::string Onnx(int64_t version) { return AffineModel(1, static_cast<float>(version)); }

  ModelVersionStatus VersionStatus(int64_t version) {
    return AffineClient::GetStatus(status_channel_, kModel, version);
  }

  void WaitUntilServed(int64_t version) {
    ASSERT_TRUE(WaitUntil(
        [&] { return VersionStatus(version).state() == ModelVersionStatus::AVAILABLE; }, kLimit))
        << "version " << version << ": " << VersionStatus(version).ShortDebugString() << "\n"
        << server_->Log();
  }

  // Waits until `version` has failed, and checks that status and metrics name it and why.
  void ExpectNamed(int64_t version, const std::string& reason, const std::string& metric_reason) {
    ASSERT_TRUE(WaitUntil(
        [&] {
          const auto status = VersionStatus(version);
          return status.state() == ModelVersionStatus::END && status.status().error_code() != 0;
        },
        kLimit))
        << "version " << version << ": " << VersionStatus(version).ShortDebugString() << "\n"
        << server_->Log();
    EXPECT_THAT(VersionStatus(version).status().error_message(), HasSubstr(reason));
    const auto metrics = server_->HttpGet("/metrics");
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    EXPECT_TRUE(HasSample(*metrics, "baton_model_state",
                          {absl::StrCat("version=\"", version, "\""), "state=\"failed\""}))
        << "version " << version;
    EXPECT_TRUE(HasSample(*metrics, "baton_model_load_failures_total",
                          {absl::StrCat("reason=\"", metric_reason, "\"")}))
        << metric_reason;

    // Who asks for exactly this version is told, too.
    const auto client = AffineClient::Make(AffineClient::Protocol::kTensorFlow,
                                           server_->NewChannel(), kModel, /*rows=*/1);
    const AffineClient::Answer answer = client->Call(version);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(answer.status.error_message(), HasSubstr(reason));
  }

  // True if a line of `metrics` is a sample of `name` of this model, not 0, with all `labels`.
  static bool HasSample(const std::string& metrics, const std::string& name,
                        const std::vector<std::string>& labels) {
    std::istringstream lines(metrics);
    for (std::string line; std::getline(lines, line);) {
      if (!absl::StartsWith(line, name + "{") || absl::EndsWith(line, " 0")) continue;
      bool all = absl::StrContains(line, absl::StrCat("model=\"", kModel, "\""));
      for (const std::string& label : labels) all = all && absl::StrContains(line, label);
      if (all) return true;
    }
    return false;
  }

  void ExpectCleanExit() {
    server_->Signal(SIGTERM);
    const std::optional<int> exit_code = server_->WaitForExit(kLimit);
    ASSERT_TRUE(exit_code.has_value()) << server_->Log();
    EXPECT_EQ(*exit_code, 0) << server_->Log();
  }

  TempDir repository_;
  TempDir scratch_;
  std::unique_ptr<ServerProcess> server_;
  std::shared_ptr<grpc::Channel> status_channel_;
};

// Appends `contents` to `file` byte by byte, each after a pause that is shorter than a poll.
void CopyByteByByte(const std::string& contents, const fs::path& file) {
  fs::create_directories(file.parent_path());
  std::ofstream out(file, std::ios::binary);
  for (const char byte : contents) {
    out.put(byte).flush();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST_F(SwapTest, NoRequestFailsWhileThirtyVersionsAndSomeBadOnesAreBeingPublished) {
  Publish(1);
  StartServer({"--drain_seconds=1"});
  WaitUntilServed(1);
  LoadOfClients load(*server_, kModel, /*clients=*/16);

  // Good versions are published until `version`; the clients must get to see it. Between the steps
  // versions come faster than they load.
  int64_t next = 2;
  int good = 1;
  const auto publish_good = [&](int count) {
    for (int i = 0; i < count; ++i, ++good) Publish(next++);
    ASSERT_TRUE(WaitUntil([&] { return load.newest_seen() >= next - 1; }, kLimit))
        << "version " << next - 1 << " is not served\n"
        << server_->Log();
  };
  std::vector<int64_t> bad;
  const auto next_bad = [&] {
    bad.push_back(next);
    return next++;
  };

  for (int i = 0; i < 4; ++i) publish_good(1);

  {
    SCOPED_TRACE("a truncated file");
    const int64_t version = next_bad();
    const std::string onnx = Onnx(version);
    Copy(version, onnx.substr(0, onnx.size() / 2));
    ExpectNamed(version, "model.onnx", "parse");
    publish_good(1);
  }
  {
    SCOPED_TRACE("a truncated file beside a manifest");
    const int64_t version = next_bad();
    PublishSpoiled(version, [](const fs::path& directory) {
      fs::resize_file(directory / "model.onnx", fs::file_size(directory / "model.onnx") - 1);
    });
    ExpectNamed(version, "bytes", "verify");
    publish_good(3);
  }
  {
    SCOPED_TRACE("a wrong sha256");
    const int64_t version = next_bad();
    PublishSpoiled(version, [](const fs::path& directory) {
      std::fstream file(directory / "model.onnx", std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(20);
      file.put('!');
    });
    ExpectNamed(version, "sha256", "verify");
    for (int i = 0; i < 4; ++i) publish_good(1);
  }
  {
    SCOPED_TRACE("an unknown operator");
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {-1, 4});
    m.Node("Frobnicate", {"x"}, {"y"}, "com.example");
    m.Output("y", DataType::kFloat, {-1, 4});
    const int64_t version = next_bad();
    Copy(version, m.Build());
    ExpectNamed(version, "Frobnicate", "parse");
    publish_good(5);
  }
  {
    SCOPED_TRACE("golden samples of another version");
    const int64_t version = next_bad();
    const std::string staged = scratch_ / "golden";
    fs::create_directories(staged + "/test_data_set_0");
    ASSERT_TRUE(WriteFileDurably(staged + "/model.onnx", Onnx(version)).ok());
    const Tensor x = Tensor::From<float>({1, 4}, {0, 1, 2, 3});
    const Tensor y = Tensor::From<float>({1, 4}, {1, 2, 3, 4});  // what version 1 would answer
    ASSERT_TRUE(WriteTensorProtoFile(staged + "/test_data_set_0/input_0.pb", x.view(), "x").ok());
    ASSERT_TRUE(WriteTensorProtoFile(staged + "/test_data_set_0/output_0.pb", y.view(), "y").ok());
    Place(staged, version);
    ExpectNamed(version, "test_data_set_0", "golden");
    for (int i = 0; i < 4; ++i) publish_good(1);
  }
  {
    SCOPED_TRACE("a directory still being copied, until the copier dies");
    const int64_t version = next_bad();
    const std::string onnx = Onnx(version);
    std::thread copier([&] {
      CopyByteByByte(onnx.substr(0, onnx.size() - 3),
                     fs::path(repository_ / kModel) / std::to_string(version) / "model.onnx");
    });
    copier.join();
    ExpectNamed(version, "model.onnx", "parse");
    publish_good(1);
  }
  {
    SCOPED_TRACE("a directory still being copied while newer versions come");
    const int64_t version = next_bad();
    std::thread copier([&] {
      CopyByteByByte(Onnx(version),
                     fs::path(repository_ / kModel) / std::to_string(version) / "model.onnx");
    });
    while (good < 30) publish_good(1);
    copier.join();
  }
  EXPECT_EQ(good, 30);
  EXPECT_TRUE(WaitUntil([&] { return load.oldest_current() == next - 1; }, kLimit))
      << "the last version has not reached every client";

  const LoadOfClients::Result result = load.Stop();
  EXPECT_THAT(result.problems, IsEmpty());
  for (const int64_t calls : result.calls_by_client) EXPECT_GT(calls, 0);
  for (const int64_t version : bad) EXPECT_FALSE(result.versions.contains(version)) << version;
  std::cout << absl::StrJoin(result.calls_by_client, "+") << " calls, answered by "
            << result.versions.size() << " versions\n";
  ExpectCleanExit();
}

TEST_F(SwapTest, TakesACopiedVersionOnlyWhenItIsWhole) {
  Publish(1);
  StartServer();
  WaitUntilServed(1);
  LoadOfClients load(*server_, kModel, /*clients=*/2);
  CopyByteByByte(Onnx(2), fs::path(repository_ / kModel) / "2/model.onnx");
  EXPECT_EQ(load.newest_seen(), 1);
  EXPECT_TRUE(WaitUntil([&] { return load.newest_seen() == 2; }, kLimit)) << server_->Log();
  const LoadOfClients::Result result = load.Stop();
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_THAT(result.versions, ElementsAre(1, 2));
  const auto metrics = server_->HttpGet("/metrics");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_FALSE(HasSample(*metrics, "baton_model_load_failures_total", {})) << server_->Log();
}

TEST_F(SwapTest, TriesAFailedVersionAgainWhenItsContentChanges) {
  Publish(1);
  StartServer();
  WaitUntilServed(1);
  const std::string onnx = Onnx(2);
  Copy(2, onnx.substr(0, 10));
  ExpectNamed(2, "model.onnx", "parse");
  ASSERT_TRUE(WriteFileDurably(repository_ / "swap/2/model.onnx", onnx).ok());
  WaitUntilServed(2);
}

TEST_F(SwapTest, GoesBackToAnOlderVersionOnlyWhenTheNewerIsRemoved) {
  Publish(1);
  Publish(2);
  StartServer();
  WaitUntilServed(2);
  fs::remove_all(repository_ / "swap/2");
  WaitUntilServed(1);
  const auto client = AffineClient::Make(AffineClient::Protocol::kOpenInference,
                                         server_->NewChannel(), kModel, /*rows=*/1);
  ASSERT_TRUE(WaitUntil([&] { return client->Call(std::nullopt).version == 1; }, kLimit));
}

TEST_F(SwapTest, DrainsOnSigterm) {
  Publish(1);
  StartServer({"--drain_seconds=2"});
  WaitUntilServed(1);
  LoadOfClients load(*server_, kModel, /*clients=*/8);
  ASSERT_TRUE(WaitUntil([&] { return load.oldest_current() == 1; }, kLimit));
  EXPECT_TRUE(server_->HttpGet("/readyz").ok());
  load.AllowUnavailable();  // from now on a new call may be refused, but none may be lost
  server_->Signal(SIGTERM);
  EXPECT_TRUE(WaitUntil([&] { return !server_->HttpGet("/readyz").ok(); }, kLimit));
  EXPECT_EQ(server_->WaitForExit(kLimit), 0) << server_->Log();
  EXPECT_THAT(load.Stop().problems, IsEmpty());
}

}  // namespace
}  // namespace baton::testing

#include "server/repository/watcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "engine/base/mutex.h"
#include "tests/repository/write_file.h"
#include "tests/support/temp_dir.h"

namespace baton::repository {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::TempDir;
using ::baton::testing::WriteAt;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;

using SnapshotPtr = std::shared_ptr<const Snapshot>;

// Keeps the latest snapshot and lets a test wait for one.
class Inbox {
 public:
  void Put(SnapshotPtr snapshot) {
    MutexLock lock(mu_);
    latest_ = std::move(snapshot);
    changed_.SignalAll();
  }
  SnapshotPtr latest() {
    MutexLock lock(mu_);
    return latest_;
  }
  // The first snapshot from now on that `wanted` accepts; null if none comes for a minute.
  SnapshotPtr WaitFor(const std::function<bool(const Snapshot&)>& wanted) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    MutexLock lock(mu_);
    while (latest_ == nullptr || !wanted(*latest_)) {
      if (!changed_.WaitUntil(mu_, deadline)) return nullptr;
    }
    return latest_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  SnapshotPtr latest_ ABSL_GUARDED_BY(mu_);
};

WatcherOptions OnlyWhenAsked() {
  WatcherOptions options;
  options.interval = std::chrono::milliseconds(0);
  return options;
}

std::unique_ptr<Watcher> Start(const WatcherOptions& options, Inbox& inbox) {
  auto watcher = Watcher::Start(options, [&inbox](SnapshotPtr s) { inbox.Put(std::move(s)); });
  EXPECT_TRUE(watcher.ok()) << watcher.status();
  return *std::move(watcher);
}

TEST(WatcherOptions, AreChecked) {
  WatcherOptions options;
  EXPECT_TRUE(options.Validate().ok());
  options.models = {{"a", "/a"}, {"b", "/b"}};
  EXPECT_TRUE(options.Validate().ok());
  options.models = {{"a", "/a"}, {"a", "/b"}};
  EXPECT_THAT(options.Validate().message(), HasSubstr("twice"));
  options.models = {{"a/b", "/a"}};
  EXPECT_THAT(options.Validate().message(), HasSubstr("a/b"));
  options.models = {{"a", ""}};
  EXPECT_THAT(options.Validate().message(), HasSubstr("base path"));
  options.models = {};
  options.roots = {""};
  EXPECT_FALSE(options.Validate().ok());
  options.roots = {};
  options.interval = std::chrono::milliseconds(-1);
  EXPECT_FALSE(Watcher::Start(options, [](SnapshotPtr) {}).ok());
}

TEST(Watcher, ShowsModelsOfRepositoriesAndSingleOnes) {
  TempDir dir;
  WriteAt(dir / "repo/a/1/model.onnx", "x");
  WriteAt(dir / "elsewhere/3/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.roots = {dir / "repo"};
  options.models = {{"b", dir / "elsewhere"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  const SnapshotPtr snapshot = inbox.latest();
  ASSERT_THAT(snapshot->models, ElementsAre(Key("a"), Key("b")));
  EXPECT_THAT(snapshot->models.at("a").versions, ElementsAre(Key(1)));
  EXPECT_THAT(snapshot->models.at("b").versions, ElementsAre(Key(3)));
  EXPECT_THAT(snapshot->root_errors, IsEmpty());
}

TEST(Watcher, PollReturnsAfterAScanThatSawEverything) {
  TempDir dir;
  fs::create_directories(dir / "m");
  WatcherOptions options = OnlyWhenAsked();
  options.models = {{"m", dir / "m"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  for (int64_t version = 1; version <= 20; ++version) {
    WriteAt(dir / ("m/" + std::to_string(version) + "/model.onnx"), "x");
    watcher->Poll();
    EXPECT_TRUE(inbox.latest()->models.at("m").versions.contains(version));
  }
}

TEST(Watcher, ServesTheModelsSetLast) {
  TempDir dir;
  WriteAt(dir / "repo/a/1/model.onnx", "x");
  WriteAt(dir / "elsewhere/3/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.roots = {dir / "repo"};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  ModelSettings settings;
  settings.labels = {{"stable", 1}};
  // The first is in the repository anyway: it is one model, with the settings.
  ASSERT_TRUE(
      watcher->SetModels({{"a", dir / "repo/a", dir / "repo", settings}, {"b", dir / "elsewhere"}})
          .ok());
  watcher->Poll();
  SnapshotPtr snapshot = inbox.latest();
  ASSERT_THAT(snapshot->models, ElementsAre(Key("a"), Key("b")));
  EXPECT_TRUE(snapshot->models.at("a").status.ok()) << snapshot->models.at("a").status;
  EXPECT_EQ(snapshot->models.at("a").settings, settings);
  EXPECT_EQ(snapshot->models.at("b").settings, ModelSettings{});

  EXPECT_FALSE(watcher->SetModels({{"b", ""}}).ok());
  ASSERT_TRUE(watcher->SetModels({{"a", dir / "elsewhere"}}).ok());
  watcher->Poll();
  snapshot = inbox.latest();
  ASSERT_THAT(snapshot->models, ElementsAre(Key("a")));
  EXPECT_THAT(snapshot->models.at("a").status.message(), HasSubstr("in two places"));
}

TEST(Watcher, ReadsAModelUnderExplicitControlOnceForEachReading) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.models = {{"m", dir / "m", "", {}, 1}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  WriteAt(dir / "m/2/model.onnx", "x");
  watcher->Poll();
  watcher->Poll();
  EXPECT_THAT(inbox.latest()->models.at("m").versions, ElementsAre(Key(1)));
  EXPECT_TRUE(MayTake(inbox.latest()->models.at("m").versions.at(1)));
  ASSERT_TRUE(watcher->SetModels({{"m", dir / "m", "", {}, 2}}).ok());
  watcher->Poll();
  EXPECT_THAT(inbox.latest()->models.at("m").versions, ElementsAre(Key(1), Key(2)));
}

TEST(Watcher, ALookSettlesNothing) {
  TempDir dir;
  fs::create_directories(dir / "m");
  WatcherOptions options = OnlyWhenAsked();
  options.models = {{"m", dir / "m"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  WriteAt(dir / "m/1/model.onnx", "x");
  for (int i = 0; i < 2 * Settler::kQuietPolls; ++i) watcher->Look();
  EXPECT_FALSE(MayTake(inbox.latest()->models.at("m").versions.at(1)));
  for (int i = 0; i < 2 * Settler::kQuietPolls; ++i) watcher->Poll();
  EXPECT_TRUE(MayTake(inbox.latest()->models.at("m").versions.at(1)));
}

TEST(Watcher, SettlesByPolls) {
  TempDir dir;
  fs::create_directories(dir / "m");
  WatcherOptions options = OnlyWhenAsked();
  options.models = {{"m", dir / "m"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  WriteAt(dir / "m/1/model.onnx", "x");
  WriteAt(dir / "m/2/model.onnx", "x");
  WriteAt(dir / "m/2/manifest.json", "{}");
  const auto may_take = [&](int64_t version) {
    return MayTake(inbox.latest()->models.at("m").versions.at(version));
  };
  watcher->Poll();
  EXPECT_FALSE(may_take(1));
  EXPECT_TRUE(may_take(2));  // its manifest announces it
  watcher->Poll();
  EXPECT_FALSE(may_take(1));
  watcher->Poll();
  EXPECT_TRUE(may_take(1));
}

TEST(Watcher, TheScanAtTheStartAnswersNoPoll) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.models = {{"m", dir / "m"}};
  // Many times, because a poll that came first would win a race.
  for (int i = 0; i < 50; ++i) {
    Inbox inbox;
    const auto watcher = Start(options, inbox);
    for (int poll = 0; poll < Settler::kQuietPolls; ++poll) watcher->Poll();
    const SnapshotPtr snapshot = inbox.latest();
    EXPECT_EQ(snapshot->number, 1u + Settler::kQuietPolls);
    EXPECT_TRUE(snapshot->models.at("m").versions.at(1).settled);
  }
}

TEST(Watcher, PollsByItself) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  WatcherOptions options;
  options.interval = std::chrono::milliseconds(2);
  options.use_inotify = false;
  options.models = {{"m", dir / "m"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  ASSERT_NE(
      inbox.WaitFor([](const Snapshot& s) { return s.models.at("m").versions.at(1).settled; }),
      nullptr);
  WriteAt(dir / "m/2/model.onnx", "x");
  EXPECT_NE(inbox.WaitFor([](const Snapshot& s) { return s.models.at("m").versions.contains(2); }),
            nullptr);
}

TEST(Watcher, InotifyWakesItLongBeforeThePoll) {
  TempDir dir;
  fs::create_directories(dir / "repo/m");
  WatcherOptions options;
  options.interval = std::chrono::hours(1);
  options.roots = {dir / "repo"};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  ASSERT_NE(inbox.WaitFor([](const Snapshot&) { return true; }), nullptr);

  // A version that is renamed into place, as a publisher does.
  WriteAt(dir / "repo/m/.tmp-1/model.onnx", "x");
  fs::rename(dir / "repo/m/.tmp-1", dir / "repo/m/1");
  ASSERT_NE(inbox.WaitFor([](const Snapshot& s) { return s.models.at("m").versions.contains(1); }),
            nullptr);
  // Such scans are no polls: they do not settle a version.
  EXPECT_FALSE(inbox.latest()->models.at("m").versions.at(1).settled);

  // A file written into a version, a new model, a version that goes.
  WriteAt(dir / "repo/m/1/manifest.json", "{}");
  EXPECT_NE(
      inbox.WaitFor([](const Snapshot& s) { return s.models.at("m").versions.at(1).has_manifest; }),
      nullptr);
  WriteAt(dir / "repo/n/config.pbtxt", "");
  EXPECT_NE(inbox.WaitFor([](const Snapshot& s) { return s.models.contains("n"); }), nullptr);
  fs::remove_all(dir / "repo/m/1");
  EXPECT_NE(inbox.WaitFor([](const Snapshot& s) { return s.models.at("m").versions.empty(); }),
            nullptr);
}

TEST(Watcher, AVanishedSubDirectoryIsAVanishedModel) {
  TempDir dir;
  WriteAt(dir / "a/1/model.onnx", "x");
  WriteAt(dir / "b/1/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.roots = {dir.path()};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  fs::remove_all(dir / "b");
  watcher->Poll();
  EXPECT_THAT(inbox.latest()->models, ElementsAre(Key("a")));
}

TEST(Watcher, AnUnreadableRootKeepsItsModelsWithItsErrorAndHurtsNobodyElse) {
  TempDir dir;
  WriteAt(dir / "one/a/1/model.onnx", "x");
  WriteAt(dir / "two/b/1/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.roots = {dir / "one", dir / "two"};
  options.models = {{"c", dir / "missing"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  fs::rename(dir / "one", dir / "gone");
  WriteAt(dir / "one", "a file in its place");
  for (int i = 0; i < 2; ++i) {
    watcher->Poll();
    const SnapshotPtr snapshot = inbox.latest();
    ASSERT_THAT(snapshot->models, ElementsAre(Key("a"), Key("b"), Key("c")));
    EXPECT_THAT(snapshot->models.at("a").status.message(), HasSubstr("not a directory"));
    EXPECT_TRUE(snapshot->models.at("b").status.ok());
    EXPECT_TRUE(absl::IsNotFound(snapshot->models.at("c").status));
    EXPECT_THAT(snapshot->root_errors, ElementsAre(Key(dir / "one")));
  }
  fs::remove(dir / "one");
  fs::rename(dir / "gone", dir / "one");
  watcher->Poll();
  EXPECT_TRUE(inbox.latest()->models.at("a").status.ok());
  EXPECT_THAT(inbox.latest()->root_errors, IsEmpty());
}

TEST(Watcher, OneNameInTwoPlacesIsAnErrorOfThatModel) {
  TempDir dir;
  WriteAt(dir / "one/a/1/model.onnx", "x");
  WriteAt(dir / "one/b/1/model.onnx", "x");
  WriteAt(dir / "two/a/1/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.roots = {dir / "one", dir / "two"};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  const SnapshotPtr snapshot = inbox.latest();
  const ModelScan& twice = snapshot->models.at("a");
  EXPECT_TRUE(absl::IsAlreadyExists(twice.status));
  EXPECT_THAT(twice.status.message(), AllOf(HasSubstr(dir / "one/a"), HasSubstr(dir / "two/a")));
  EXPECT_THAT(twice.versions, IsEmpty());
  EXPECT_TRUE(snapshot->models.at("b").status.ok());
}

TEST(Watcher, NumbersItsSnapshotsAndLeavesOldOnesAlone) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  WatcherOptions options = OnlyWhenAsked();
  options.models = {{"m", dir / "m"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  watcher->Poll();
  const SnapshotPtr before = inbox.latest();
  WriteAt(dir / "m/2/model.onnx", "x");
  watcher->Poll();
  EXPECT_EQ(inbox.latest()->number, before->number + 1);
  EXPECT_THAT(before->models.at("m").versions, ElementsAre(Key(1)));
}

TEST(Watcher, AnswersManyAskersAtOnce) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  WatcherOptions options;
  options.interval = std::chrono::milliseconds(1);
  options.models = {{"m", dir / "m"}};
  Inbox inbox;
  const auto watcher = Start(options, inbox);
  std::vector<std::thread> askers;
  for (int i = 0; i < 4; ++i) {
    askers.emplace_back([&] {
      for (int j = 0; j < 25; ++j) {
        const SnapshotPtr before = inbox.latest();
        watcher->Poll();
        EXPECT_GT(inbox.latest()->number, before == nullptr ? 0 : before->number);
        watcher->RequestPoll();
      }
    });
  }
  for (std::thread& asker : askers) asker.join();
}

TEST(Watcher, JoinsAtAnyMoment) {
  TempDir dir;
  for (int v = 1; v <= 20; ++v) WriteAt(dir / ("m/" + std::to_string(v) + "/model.onnx"), "x");
  for (int i = 0; i < 50; ++i) {
    WatcherOptions options;
    options.interval = std::chrono::milliseconds(i % 3);
    options.models = {{"m", dir / "m"}};
    bool destroyed = false;
    {
      auto watcher = Watcher::Start(options, [&](SnapshotPtr) { EXPECT_FALSE(destroyed); });
      ASSERT_TRUE(watcher.ok());
      if (i % 2 == 1) (*watcher)->RequestPoll();
    }
    destroyed = true;
  }
}

}  // namespace
}  // namespace baton::repository

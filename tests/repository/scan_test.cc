#include "server/repository/scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
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
using ::testing::Pair;

std::vector<std::string> Paths(const Fingerprint& files) {
  std::vector<std::string> paths;
  for (const FileStamp& file : files) paths.push_back(file.path);
  return paths;
}

TEST(ScanModel, FindsVersionsAndTheirFilesInSubDirectories) {
  TempDir dir;
  WriteAt(dir / "m/config.pbtxt", "");
  WriteAt(dir / "m/1/model.onnx", "abc");
  WriteAt(dir / "m/12/model.onnx", "abcd");
  WriteAt(dir / "m/12/manifest.json", "{}");
  WriteAt(dir / "m/12/test_data_set_0/input_0.pb", "x");
  WriteAt(dir / "m/12/.model.onnx.part", "x");

  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_TRUE(scan.status.ok()) << scan.status;
  EXPECT_THAT(scan.warnings, IsEmpty());
  ASSERT_TRUE(scan.config.has_value());
  ASSERT_THAT(scan.versions, ElementsAre(Key(1), Key(12)));
  const VersionScan& one = scan.versions.at(1);
  EXPECT_TRUE(one.status.ok());
  EXPECT_EQ(one.path, dir / "m/1");
  EXPECT_TRUE(one.has_model);
  EXPECT_FALSE(one.has_manifest);
  ASSERT_EQ(one.fingerprint.size(), 1u);
  EXPECT_EQ(one.fingerprint[0].size, 3);
  const VersionScan& twelve = scan.versions.at(12);
  EXPECT_TRUE(twelve.has_manifest);
  EXPECT_THAT(Paths(twelve.fingerprint), ElementsAre(".model.onnx.part", "manifest.json",
                                                     "model.onnx", "test_data_set_0/input_0.pb"));
}

TEST(ScanModel, SameFilesGiveSameFingerprintAndAnyChangeAnother) {
  TempDir dir;
  const std::string file = dir / "m/1/model.onnx";
  WriteAt(file, "abc");
  const auto fingerprint = [&] { return ScanModel("m", dir / "m").versions.at(1).fingerprint; };
  const Fingerprint before = fingerprint();
  EXPECT_EQ(fingerprint(), before);

  // A file of the same size and modification time, as rsync -t and cp -p leave it.
  const fs::file_time_type time = fs::last_write_time(file);
  WriteAt(dir / "m/1/new", "xyz");
  fs::rename(dir / "m/1/new", file);
  fs::last_write_time(file, time);
  EXPECT_EQ(fingerprint()[0].mtime_ns, before[0].mtime_ns);
  EXPECT_NE(fingerprint(), before);

  const Fingerprint replaced = fingerprint();
  WriteAt(dir / "m/1/weights/w.bin", "");
  EXPECT_NE(fingerprint(), replaced);
}

TEST(ScanModel, PassesOverWhatIsNoVersionAndSaysSo) {
  TempDir dir;
  for (const char* name :
       {"0", "01", "-1", "+2", "1.5", "latest", "99999999999999999999", ".tmp-3", "7"}) {
    WriteAt(dir / (std::string("m/") + name + "/model.onnx"), "x");
  }
  WriteAt(dir / "m/README.md", "x");
  WriteAt(dir / "m/warmup/image.raw", "x");  // has its own use
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_TRUE(scan.status.ok());
  EXPECT_THAT(scan.versions, ElementsAre(Key(7)));
  EXPECT_EQ(scan.warnings.size(), 7u);
  for (const std::string& warning : scan.warnings) {
    EXPECT_THAT(warning, AllOf(HasSubstr("model \"m\""), HasSubstr("positive integer")));
  }
  EXPECT_THAT(scan.warnings, ::testing::Contains(HasSubstr("\"01\"")));
}

TEST(ScanModel, TakesTheLargestVersionNumber) {
  TempDir dir;
  WriteAt(dir / "m/9223372036854775807/model.onnx", "x");
  EXPECT_THAT(ScanModel("m", dir / "m").versions, ElementsAre(Key(INT64_MAX)));
}

TEST(ScanModel, NamesADirectoryThatIsNotThere) {
  TempDir dir;
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_TRUE(absl::IsNotFound(scan.status));
  EXPECT_THAT(scan.status.message(),
              AllOf(HasSubstr("model \"m\""), HasSubstr(dir / "m"), HasSubstr("does not exist")));
}

TEST(ScanModel, NamesAPathThatIsNoDirectory) {
  TempDir dir;
  WriteAt(dir / "m", "x");
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_EQ(scan.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(scan.status.message(), HasSubstr("is not a directory"));
}

TEST(ScanModel, NamesADirectoryThatMayNotBeRead) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read every directory";
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  WriteAt(dir / "m/2/model.onnx", "x");
  ASSERT_EQ(chmod((dir / "m/2").c_str(), 0), 0);
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_TRUE(scan.status.ok());
  EXPECT_TRUE(scan.versions.at(1).status.ok());
  EXPECT_TRUE(absl::IsPermissionDenied(scan.versions.at(2).status));
  ASSERT_EQ(chmod((dir / "m").c_str(), 0), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(ScanModel("m", dir / "m").status));
  chmod((dir / "m").c_str(), 0700);
  chmod((dir / "m/2").c_str(), 0700);
}

TEST(ScanModel, AFileNamedLikeAVersionIsAnErrorOfThatVersionAlone) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  WriteAt(dir / "m/2", "x");
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_TRUE(scan.status.ok());
  EXPECT_TRUE(MayTake([&] {
    VersionScan settled = scan.versions.at(1);
    settled.settled = true;
    return settled;
  }()));
  EXPECT_THAT(scan.versions.at(2).status.message(), HasSubstr("is not a directory"));
}

TEST(ScanModel, FollowsLinksInsideTheRoot) {
  TempDir dir;
  WriteAt(dir / "m/.data/first/model.onnx", "x");
  WriteAt(dir / "m/2/real.onnx", "x");
  fs::create_directory_symlink(".data/first", dir / "m/1");
  fs::create_symlink("real.onnx", dir / "m/2/model.onnx");
  const ModelScan scan = ScanModel("m", dir / "m");
  ASSERT_THAT(scan.versions, ElementsAre(Key(1), Key(2)));
  for (const auto& [number, version] : scan.versions) {
    EXPECT_TRUE(version.status.ok()) << version.status;
    EXPECT_TRUE(version.has_model);
  }
}

TEST(ScanModel, RefusesLinksThatLeaveTheRoot) {
  TempDir dir;
  WriteAt(dir / "outside/model.onnx", "x");
  WriteAt(dir / "m-other/model.onnx", "x");  // shares a prefix with the root's path
  WriteAt(dir / "m/1/model.onnx", "x");
  fs::create_directory_symlink(dir / "outside", dir / "m/2");
  fs::create_directories(dir / "m/3");
  fs::create_symlink("../../outside/model.onnx", dir / "m/3/model.onnx");
  fs::create_directory_symlink("../m-other", dir / "m/4");
  WriteAt(dir / "m/5/model.onnx", "x");
  fs::create_directory_symlink("/", dir / "m/5/test_data_set_0");
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_TRUE(scan.status.ok());
  EXPECT_TRUE(scan.versions.at(1).status.ok());
  for (const int64_t version : {2, 3, 4, 5}) {
    const VersionScan& escaped = scan.versions.at(version);
    EXPECT_EQ(escaped.status.code(), absl::StatusCode::kFailedPrecondition) << version;
    EXPECT_THAT(escaped.status.message(), AllOf(HasSubstr("symbolic link"), HasSubstr("leaves")));
    EXPECT_THAT(escaped.fingerprint, IsEmpty());
    EXPECT_EQ(CheckTakeable(escaped), escaped.status);
  }
}

TEST(ScanModel, ConfigMayNotBeALinkThatLeavesTheRoot) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  fs::create_symlink("/etc/passwd", dir / "m/config.pbtxt");
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_THAT(scan.status.message(), HasSubstr("leaves"));
  EXPECT_THAT(scan.versions, IsEmpty());
}

TEST(ScanModel, EndsOnLoopsAndDanglingLinks) {
  TempDir dir;
  WriteAt(dir / "m/1/model.onnx", "x");
  fs::create_directory_symlink(".", dir / "m/1/again");
  WriteAt(dir / "m/2/model.onnx", "x");
  fs::create_symlink("nothing", dir / "m/2/weights.bin");
  fs::create_directories(dir / "m/3");
  fs::create_symlink("model.onnx", dir / "m/3/model.onnx");
  const ModelScan scan = ScanModel("m", dir / "m");
  EXPECT_THAT(scan.versions.at(1).status.message(), HasSubstr("loop"));
  EXPECT_THAT(scan.versions.at(2).status.message(), HasSubstr("does not exist"));
  EXPECT_THAT(scan.versions.at(3).status.message(), HasSubstr("loop"));
}

TEST(ScanModel, RefusesWhatIsNeitherFileNorDirectory) {
  TempDir dir;
  fs::create_directories(dir / "m/1");
  ASSERT_EQ(mkfifo((dir / "m/1/model.onnx").c_str(), 0600), 0);
  EXPECT_THAT(ScanModel("m", dir / "m").versions.at(1).status.message(),
              HasSubstr("neither a file nor a directory"));
}

TEST(ScanModel, HandlesHundredsOfVersions) {
  TempDir dir;
  for (int v = 1; v <= 400; ++v) WriteAt(dir / absl::StrCat("m/", v, "/model.onnx"), "x");
  const ModelScan scan = ScanModel("m", dir / "m");
  ASSERT_EQ(scan.versions.size(), 400u);
  EXPECT_EQ(scan.versions.begin()->first, 1);
  EXPECT_EQ(scan.versions.rbegin()->first, 400);
}

TEST(CheckTakeable, SaysWhatAVersionWaitsFor) {
  VersionScan version;
  version.path = "/r/m/3";
  EXPECT_TRUE(absl::IsNotFound(CheckTakeable(version)));
  EXPECT_THAT(CheckTakeable(version).message(), HasSubstr("no model.onnx in /r/m/3"));
  version.has_model = true;
  EXPECT_TRUE(absl::IsUnavailable(CheckTakeable(version)));
  version.settled = true;
  EXPECT_TRUE(MayTake(version));
  version.settled = false;
  version.has_manifest = true;
  EXPECT_TRUE(MayTake(version));
  version.has_model = false;
  EXPECT_FALSE(MayTake(version));
}

TEST(CheckModelName, AcceptsNamesThatFitUrlsAndDirectories) {
  for (const char* name : {"m", "resnet-50", "a.b_C-9", "1"}) {
    EXPECT_TRUE(CheckModelName(name).ok()) << name;
  }
  EXPECT_TRUE(CheckModelName(std::string(200, 'x')).ok());
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string(".hidden"),
        std::string("a/b"), std::string("a:b"), std::string("a b"), std::string("lost+found"),
        std::string("\xff"), std::string("a\n"), std::string("a\0b", 3), std::string(201, 'x')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckModelName(name))) << name;
  }
}

TEST(ScanRepository, EverySubDirectoryIsAModel) {
  TempDir dir;
  WriteAt(dir / "a/1/model.onnx", "x");
  WriteAt(dir / "b/2/model.onnx", "x");
  fs::create_directories(dir / "empty");
  WriteAt(dir / ".git/1/model.onnx", "x");
  WriteAt(dir / "lost+found/x", "x");
  WriteAt(dir / "README.md", "x");
  const RepositoryScan scan = ScanRepository(dir.path());
  EXPECT_TRUE(scan.status.ok());
  EXPECT_THAT(scan.models, ElementsAre(Key("a"), Key("b"), Key("empty")));
  EXPECT_THAT(scan.models.at("b").versions, ElementsAre(Key(2)));
  EXPECT_THAT(scan.models.at("empty").versions, IsEmpty());
  EXPECT_THAT(scan.warnings, ElementsAre(HasSubstr("lost+found")));
}

TEST(ScanRepository, LinksMayLeadToOtherModelsButNotOut) {
  TempDir dir;
  WriteAt(dir / "outside/1/model.onnx", "x");
  WriteAt(dir / "repo/a/1/model.onnx", "x");
  fs::create_directory_symlink("a", dir / "repo/alias");
  fs::create_directory_symlink(dir / "outside", dir / "repo/out");
  const RepositoryScan scan = ScanRepository(dir / "repo");
  EXPECT_THAT(scan.models, ElementsAre(Key("a"), Key("alias"), Key("out")));
  EXPECT_TRUE(scan.models.at("a").status.ok());
  EXPECT_THAT(scan.models.at("alias").versions, ElementsAre(Key(1)));
  EXPECT_EQ(scan.models.at("out").status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(scan.models.at("out").versions, IsEmpty());
}

TEST(ScanRepository, TheRootItselfMayBeALink) {
  TempDir dir;
  WriteAt(dir / "real/a/1/model.onnx", "x");
  fs::create_directory_symlink("real", dir / "repo");
  EXPECT_TRUE(ScanRepository(dir / "repo").models.at("a").versions.at(1).status.ok());
  EXPECT_TRUE(ScanModel("a", dir / "repo/a").versions.at(1).status.ok());
}

TEST(ScanRepository, NamesARootThatCannotBeRead) {
  TempDir dir;
  EXPECT_TRUE(absl::IsNotFound(ScanRepository(dir / "none").status));
  WriteAt(dir / "file", "x");
  const RepositoryScan scan = ScanRepository(dir / "file");
  EXPECT_EQ(scan.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(scan.status.message(), HasSubstr(dir / "file"));
}

}  // namespace
}  // namespace baton::repository

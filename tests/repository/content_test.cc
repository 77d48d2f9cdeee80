#include "server/repository/content.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/repository/write_file.h"
#include "tests/support/temp_dir.h"

namespace baton::repository {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::TempDir;
using ::baton::testing::WriteAt;

// A model "m" with version 1, as a settled scan sees it.
class WorthRetryTest : public ::testing::Test {
 protected:
  WorthRetryTest() { WriteAt(dir_ / "m/1/model.onnx", "broken"); }

  VersionScan Scan(bool settled = true) const {
    VersionScan version = ScanModel("m", dir_ / "m").versions.at(1);
    version.settled = settled;
    return version;
  }
  // The same contents in another file.
  void Rewrite(const std::string& contents) const {
    WriteAt(dir_ / "m/1/.new", contents);
    fs::rename(dir_ / "m/1/.new", dir_ / "m/1/model.onnx");
  }

  TempDir dir_;
};

TEST_F(WorthRetryTest, NotWhileNothingChanges) {
  ContentIdentity failed = IdentifyContent(Scan());
  EXPECT_EQ(failed.digest.size(), 64u);
  EXPECT_FALSE(WorthRetry(Scan(), failed));
}

TEST_F(WorthRetryTest, NotForTheSameContentsInANewFile) {
  ContentIdentity failed = IdentifyContent(Scan());
  Rewrite("broken");
  const VersionScan now = Scan();
  ASSERT_NE(now.fingerprint, failed.fingerprint);
  EXPECT_FALSE(WorthRetry(now, failed));
  EXPECT_EQ(failed.fingerprint, now.fingerprint);  // so the next look reads nothing
}

TEST_F(WorthRetryTest, OnceNewContentsHaveSettled) {
  ContentIdentity failed = IdentifyContent(Scan());
  Rewrite("mended");
  EXPECT_FALSE(WorthRetry(Scan(/*settled=*/false), failed));
  EXPECT_TRUE(WorthRetry(Scan(), failed));
}

TEST_F(WorthRetryTest, WhenAFileIsAddedOrMovedBetweenNames) {
  WriteAt(dir_ / "m/1/a", "1");
  ContentIdentity failed = IdentifyContent(Scan());
  fs::rename(dir_ / "m/1/a", dir_ / "m/1/b");
  EXPECT_TRUE(WorthRetry(Scan(), failed));
  fs::rename(dir_ / "m/1/b", dir_ / "m/1/a");
  EXPECT_FALSE(WorthRetry(Scan(), failed));
  WriteAt(dir_ / "m/1/weights/w.bin", "");
  EXPECT_TRUE(WorthRetry(Scan(), failed));
}

TEST_F(WorthRetryTest, WhenFilesChangedDuringTheLoadThatFailed) {
  // The scan, then the publisher finishes, then the load of the half file fails.
  const VersionScan scanned = Scan();
  Rewrite("whole and good");
  ContentIdentity failed = IdentifyContent(scanned);
  EXPECT_EQ(failed.digest, "");
  EXPECT_TRUE(WorthRetry(Scan(), failed));
}

TEST_F(WorthRetryTest, NotForAVersionThatCannotBeTaken) {
  ContentIdentity failed = IdentifyContent(Scan());
  fs::rename(dir_ / "m/1/model.onnx", dir_ / "m/1/other.onnx");
  EXPECT_FALSE(WorthRetry(Scan(), failed));
}

TEST_F(WorthRetryTest, WhenWhatChangedCannotBeRead) {
  ContentIdentity failed = IdentifyContent(Scan());
  VersionScan gone = Scan();
  gone.fingerprint[0].size += 1;
  fs::remove(dir_ / "m/1/model.onnx");
  // The load says better why than silence would.
  EXPECT_TRUE(WorthRetry(gone, failed));
}

}  // namespace
}  // namespace baton::repository

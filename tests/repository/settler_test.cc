#include "server/repository/settler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/repository/write_file.h"
#include "tests/support/temp_dir.h"

namespace baton::repository {
namespace {

using ::baton::testing::TempDir;
using ::baton::testing::WriteAt;

constexpr int64_t kNow = int64_t{1'000'000} * 1'000'000'000;

// A scan of model "m" whose version 1 has one file of `size` bytes, changed `age_ns` ago.
ModelScan ScanOf(int64_t size, int64_t age_ns = 0) {
  ModelScan model;
  model.name = "m";
  VersionScan& version = model.versions[1];
  version.version = 1;
  version.has_model = true;
  version.fingerprint = {{"model.onnx", size, kNow - age_ns, kNow - age_ns, 7}};
  return model;
}

bool Poll(Settler& settler, ModelScan model, bool is_poll = true) {
  settler.Observe(model, is_poll, kNow);
  return model.versions.at(1).settled;
}

TEST(Settler, TakesAVersionAfterTwoPollsWithoutChange) {
  Settler settler;
  EXPECT_FALSE(Poll(settler, ScanOf(5)));
  EXPECT_FALSE(Poll(settler, ScanOf(5)));
  EXPECT_TRUE(Poll(settler, ScanOf(5)));
  EXPECT_TRUE(Poll(settler, ScanOf(5)));
}

TEST(Settler, AChangeStartsTheCountAnew) {
  Settler settler;
  EXPECT_FALSE(Poll(settler, ScanOf(5)));
  EXPECT_FALSE(Poll(settler, ScanOf(5)));
  EXPECT_FALSE(Poll(settler, ScanOf(6)));
  EXPECT_FALSE(Poll(settler, ScanOf(6)));
  EXPECT_TRUE(Poll(settler, ScanOf(6)));
  EXPECT_FALSE(Poll(settler, ScanOf(7)));
}

TEST(Settler, ScansBetweenPollsSeeChangesButProveNoQuiet) {
  Settler settler;
  EXPECT_FALSE(Poll(settler, ScanOf(5)));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Poll(settler, ScanOf(5), /*is_poll=*/false));
  EXPECT_FALSE(Poll(settler, ScanOf(5)));
  EXPECT_FALSE(Poll(settler, ScanOf(6), /*is_poll=*/false));
  EXPECT_FALSE(Poll(settler, ScanOf(6)));
  EXPECT_TRUE(Poll(settler, ScanOf(6)));
}

TEST(Settler, OldFilesCountAsSettledInTheFirstScanOnly) {
  Settler first;
  EXPECT_TRUE(Poll(first, ScanOf(5, Settler::kQuietAgeNs)));
  Settler young;
  EXPECT_FALSE(Poll(young, ScanOf(5, Settler::kQuietAgeNs - 1)));
  Settler future;  // a file server whose clock is ahead
  EXPECT_FALSE(Poll(future, ScanOf(5, -Settler::kQuietAgeNs)));

  // A version that appears later has to be seen twice, however old its files say they are.
  Settler later;
  ModelScan none;
  none.name = "m";
  later.Observe(none, true, kNow);
  EXPECT_FALSE(Poll(later, ScanOf(5, Settler::kQuietAgeNs)));
  // Nor does a copied modification time make a file old.
  Settler copied;
  ModelScan model = ScanOf(5);
  model.versions[1].fingerprint[0].mtime_ns = 0;
  EXPECT_FALSE(Poll(copied, model));
}

TEST(Settler, AVersionThatVanishesOrCannotBeReadStartsAnew) {
  Settler settler;
  ModelScan none = ScanOf(5);
  none.versions.clear();
  ModelScan unreadable = ScanOf(5);
  unreadable.versions[1].status = absl::PermissionDeniedError("");
  for (ModelScan gap : {none, unreadable}) {
    for (int i = 0; i < 3; ++i) Poll(settler, ScanOf(5));
    settler.Observe(gap, true, kNow);
    EXPECT_FALSE(Poll(settler, ScanOf(5)));
  }
}

TEST(Settler, AScanThatFailedAsAWholeChangesNothing) {
  Settler settler;
  Poll(settler, ScanOf(5));
  Poll(settler, ScanOf(5));
  ModelScan failed;
  failed.name = "m";
  failed.status = absl::NotFoundError("");
  settler.Observe(failed, true, kNow);
  EXPECT_TRUE(Poll(settler, ScanOf(5)));
}

TEST(Settler, ForgetsModels) {
  Settler settler;
  for (int i = 0; i < 3; ++i) Poll(settler, ScanOf(5));
  settler.Forget("m");
  EXPECT_FALSE(Poll(settler, ScanOf(5)));
}

TEST(Settler, VersionsSettleEachForItself) {
  Settler settler;
  ModelScan model;
  for (int64_t poll = 0; poll < 5; ++poll) {
    model = ScanOf(5);
    model.versions[2] = model.versions[1];
    model.versions[2].fingerprint[0].size = poll;
    settler.Observe(model, true, kNow);
  }
  EXPECT_TRUE(model.versions[1].settled);
  EXPECT_FALSE(model.versions[2].settled);
}

TEST(Settler, NeverTakesADirectoryThatIsCopiedByteByByte) {
  TempDir dir;
  const std::string path = dir / "m/1/model.onnx";
  WriteAt(path, "");
  Settler settler;
  const auto poll = [&] {
    ModelScan scan = ScanModel("m", dir / "m");
    // The files are as fresh as the copy makes them.
    settler.Observe(scan, true, scan.versions.at(1).fingerprint.back().ctime_ns);
    return MayTake(scan.versions.at(1));
  };
  std::ofstream file(path, std::ios::binary);
  for (int byte = 0; byte < 300; ++byte) {
    file.put('x').flush();
    EXPECT_FALSE(poll()) << byte;
    // The slowest copy that two polls cannot take for a finished one.
    if (byte % 2 == 0) {
      EXPECT_FALSE(poll()) << byte;
    }
  }
  file.close();
  // Then its external data.
  std::ofstream weights(dir / "m/1/weights.bin", std::ios::binary);
  for (int byte = 0; byte < 20; ++byte) {
    weights.put('x').flush();
    EXPECT_FALSE(poll()) << byte;
  }
  weights.close();
  EXPECT_FALSE(poll());
  EXPECT_TRUE(poll());
}

}  // namespace
}  // namespace baton::repository

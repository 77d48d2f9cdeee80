#include "server/repository/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/base/file.h"
#include "tests/support/temp_dir.h"

namespace baton::repository {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::TempDir;
using ::testing::HasSubstr;

const std::string kHash(64, 'a');

std::string Json(const std::string& files, const std::string& rest = "") {
  return "{\"format\": 1, \"files\": [" + files + "]" + rest + "}";
}
std::string Entry(const std::string& path, const std::string& hash = kHash) {
  return "{\"path\": \"" + path + "\", \"bytes\": 3, \"sha256\": \"" + hash + "\"}";
}

TEST(ManifestTest, RoundTrips) {
  Manifest manifest;
  manifest.created = "2026-11-22T05:00:00Z";
  manifest.files = {{"model.onnx", 5'000'000'000, kHash}, {"test_data_set_0/input_0.pb", 0, kHash}};
  manifest.rtol = 0.25;
  manifest.atol = 1e-7;
  manifest.metrics = {{"accuracy", 0.975}, {"loss", 1e-3}};
  const auto back = ParseManifest(ToJson(manifest));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->created, manifest.created);
  ASSERT_EQ(back->files.size(), 2u);
  EXPECT_EQ(back->files[0].path, "model.onnx");
  EXPECT_EQ(back->files[0].bytes, 5'000'000'000u);
  EXPECT_EQ(back->files[1].sha256, kHash);
  EXPECT_EQ(back->rtol, 0.25);
  EXPECT_EQ(back->atol, 1e-7);
  EXPECT_EQ(back->metrics, manifest.metrics);
}

TEST(ManifestTest, HasDefaultsAndLeavesOutWhatItDoesNotKnow) {
  const auto manifest =
      ParseManifest(Json(Entry("model.onnx", std::string(64, 'A')),
                         ", \"metrics\": {\"loss\": 2, \"note\": \"fine\"}, \"colour\": \"red\""));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->rtol, 1e-3);
  EXPECT_EQ(manifest->atol, 1e-5);
  EXPECT_EQ(manifest->files[0].sha256, kHash);
  EXPECT_EQ(manifest->metrics, (std::map<std::string, double>{{"loss", 2}}));
}

struct Bad {
  std::string json;
  std::string message;
};

TEST(ManifestTest, RefusesWhatIsWrongAndNamesIt) {
  const std::string good = Entry("model.onnx");
  for (const Bad& bad : {
           Bad{"", "not JSON"},
           Bad{"{\"format\": 1,", "not JSON"},
           Bad{"\xff\xfe", "not JSON"},
           Bad{"[1]", "JSON object"},
           Bad{"{\"files\": []}", "\"format\" must be 1"},
           Bad{"{\"format\": 2, \"files\": []}", "\"format\" must be 1"},
           Bad{"{\"format\": \"1\", \"files\": []}", "\"format\" must be 1"},
           Bad{"{\"format\": 1}", "\"files\" must be an array"},
           Bad{"{\"format\": 1, \"created\": 5, \"files\": []}", "\"created\""},
           Bad{Json(""), "does not list model.onnx"},
           Bad{Json("5"), "\"files[0]\" must be an object"},
           Bad{Json(good + "," + good), "twice"},
           Bad{Json(good + "," + Entry("../x")), "files[1].path"},
           Bad{Json(good + "," + Entry("a/../../x")), "files[1].path"},
           Bad{Json(Entry("/etc/passwd")), "\"/etc/passwd\""},
           Bad{Json(Entry("")), "files[0].path"},
           Bad{Json(Entry("model.onnx", "12ab")), "files[0].sha256"},
           Bad{Json(Entry("model.onnx", std::string(64, 'x'))), "files[0].sha256"},
           Bad{Json("{\"path\": \"model.onnx\", \"bytes\": -1, \"sha256\": \"" + kHash + "\"}"),
               "files[0].bytes"},
           Bad{Json("{\"path\": \"model.onnx\", \"bytes\": \"3\", \"sha256\": \"" + kHash + "\"}"),
               "files[0].bytes"},
           Bad{Json(good, ", \"golden\": 3"), "\"golden\" must be an object"},
           Bad{Json(good, ", \"golden\": {\"rtol\": -1}"), "golden.rtol"},
           Bad{Json(good, ", \"golden\": {\"atol\": \"0\"}"), "golden.atol"},
           Bad{Json(good, ", \"metrics\": []"), "\"metrics\" must be an object"},
       }) {
    const auto manifest = ParseManifest(bad.json);
    EXPECT_EQ(manifest.status().code(), absl::StatusCode::kInvalidArgument) << bad.json;
    EXPECT_THAT(std::string(manifest.status().message()), HasSubstr(bad.message)) << bad.json;
  }
}

TEST(ManifestTest, SurvivesDeepNesting) {
  EXPECT_FALSE(ParseManifest(std::string(200'000, '[')).ok());
  EXPECT_FALSE(ParseManifest(std::string(100'000, '[') + std::string(100'000, ']')).ok());
}

class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() {
    Write("model.onnx", "model");
    fs::create_directory(dir_ / "test_data_set_0");
    Write("test_data_set_0/input_0.pb", "input");
  }
  void Write(const std::string& path, const std::string& contents) {
    ASSERT_TRUE(WriteFileDurably(dir_ / path, contents).ok());
    manifest_.files.push_back({path, contents.size(), Sha256(contents)});
  }
  // Status after `contents` were put into a file behind the manifest's back.
  absl::Status VerifyWith(const std::string& path, const std::string& contents) {
    EXPECT_TRUE(WriteFileDurably(dir_ / path, contents).ok());
    return Verify(manifest_, dir_.path());
  }
  TempDir dir_;
  Manifest manifest_;
};

TEST_F(VerifyTest, AcceptsWhatIsListedAndIgnoresTheRest) {
  EXPECT_TRUE(Verify(manifest_, dir_.path()).ok());
  EXPECT_TRUE(VerifyWith("README", "not listed").ok());
}

TEST_F(VerifyTest, NamesFileFoundAndExpected) {
  absl::Status status = VerifyWith("model.onnx", "mode");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(dir_ / "model.onnx" + ": has 4 bytes, but the manifest says 5"));

  status = VerifyWith("model.onnx", "MODEL");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.onnx: sha256 is " + Sha256("MODEL")));
  EXPECT_THAT(std::string(status.message()), HasSubstr(Sha256("model")));
}

TEST_F(VerifyTest, RefusesMissingFilesAndDirectoriesInTheirPlace) {
  fs::remove(dir_ / "test_data_set_0/input_0.pb");
  EXPECT_THAT(std::string(Verify(manifest_, dir_.path()).message()),
              HasSubstr("input_0.pb: is missing"));
  fs::create_directory(dir_ / "test_data_set_0/input_0.pb");
  EXPECT_THAT(std::string(Verify(manifest_, dir_.path()).message()),
              HasSubstr("input_0.pb: is not a file"));
}

TEST_F(VerifyTest, RefusesLinksThatLeaveTheDirectory) {
  const TempDir elsewhere;
  ASSERT_TRUE(WriteFileDurably(elsewhere / "model.onnx", "model").ok());
  fs::remove(dir_ / "model.onnx");
  fs::create_symlink(elsewhere / "model.onnx", dir_ / "model.onnx");
  EXPECT_EQ(Verify(manifest_, dir_.path()).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(VerifyTest, ReadsTheManifestOfADirectory) {
  EXPECT_EQ(ReadManifest(dir_.path()).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileDurably(dir_ / "manifest.json", ToJson(manifest_)).ok());
  EXPECT_EQ(ReadManifest(dir_.path())->files.size(), 2u);
  ASSERT_TRUE(WriteFileDurably(dir_ / "manifest.json", "{").ok());
  const auto broken = ReadManifest(dir_.path());
  EXPECT_EQ(broken.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(broken.status().message()), HasSubstr(dir_ / "manifest.json"));
}

}  // namespace
}  // namespace baton::repository

#include "server/repository/publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <thread>

#include "engine/base/file.h"
#include "server/repository/manifest.h"
#include "tests/support/model_builder.h"
#include "tests/support/temp_dir.h"

namespace baton::repository {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::AffineModel;
using ::baton::testing::ModelBuilder;
using ::baton::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::set<std::string> Names(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

class PublisherTest : public ::testing::Test {
 protected:
  PublishRequest Request() const {
    PublishRequest request;
    request.model_directory = dir_ / "models/affine";
    request.onnx = AffineModel(2, 1);
    request.samples.push_back({.inputs = {{"x", Tensor::From<float>({1, 4}, {1, 2, 3, 4})}},
                               .outputs = {{"y", Tensor::From<float>({1, 4}, {3, 5, 7, 9})}}});
    request.metrics = {{"accuracy", 0.5}};
    return request;
  }
  std::string Version(int64_t version) const {
    return dir_ / "models/affine/" + std::to_string(version);
  }
  TempDir dir_;
};

TEST_F(PublisherTest, PublishesAWholeVerifiedVersion) {
  const auto version = Publish(Request());
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(*version, 1);
  EXPECT_THAT(Names(dir_ / "models/affine"), ElementsAre("1"));
  EXPECT_THAT(Names(Version(1)),
              UnorderedElementsAre("model.onnx", "manifest.json", "test_data_set_0"));
  const auto manifest = ReadManifest(Version(1));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_TRUE(Verify(*manifest, Version(1)).ok());
  std::set<std::string> listed;
  for (const ManifestFile& file : manifest->files) listed.insert(file.path);
  EXPECT_THAT(listed, UnorderedElementsAre("model.onnx", "test_data_set_0/input_0.pb",
                                           "test_data_set_0/output_0.pb"));
  EXPECT_EQ(manifest->metrics.at("accuracy"), 0.5);
  EXPECT_THAT(manifest->created,
              ::testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"));
  EXPECT_EQ(*ReadFile(Version(1) + "/model.onnx"), AffineModel(2, 1));
  const auto input = ReadTensorProtoFile(Version(1) + "/test_data_set_0/input_0.pb");
  EXPECT_EQ(input->name, "x");
  EXPECT_THAT(input->tensor.values<float>(), ElementsAre(1, 2, 3, 4));
}

TEST_F(PublisherTest, OthersMayReadAVersion) {
  const mode_t old = umask(022);
  ASSERT_TRUE(Publish(Request()).ok());
  umask(old);
  EXPECT_EQ(fs::status(Version(1)).permissions() & fs::perms::others_read, fs::perms::others_read);
  EXPECT_EQ(fs::status(Version(1) + "/model.onnx").permissions() & fs::perms::others_read,
            fs::perms::others_read);
}

TEST_F(PublisherTest, TakesTheNumberAfterTheHighest) {
  for (const char* name : {"models/affine/2", "models/affine/007", "models/affine/.tmp-9",
                           "models/affine/notes", "models/affine/-12"}) {
    fs::create_directories(dir_ / name);
  }
  EXPECT_EQ(*Publish(Request()), 8);
  fs::create_directory(Version(std::numeric_limits<int64_t>::max()));
  EXPECT_FALSE(Publish(Request()).ok());
}

TEST_F(PublisherTest, TakesTheVersionAskedForOnce) {
  PublishRequest request = Request();
  request.version = 5;
  EXPECT_EQ(*Publish(request), 5);
  request.onnx = AffineModel(3, 3);
  EXPECT_EQ(Publish(request).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadFile(Version(5) + "/model.onnx"), AffineModel(2, 1)) << "versions never change";
  EXPECT_THAT(Names(dir_ / "models/affine"), ElementsAre("5"));
  fs::create_directory(Version(6));  // a foreign publisher has begun
  request.version = 6;
  EXPECT_EQ(Publish(request).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(PublisherTest, AFailureLeavesNothingBehind) {
  PublishRequest request = Request();
  request.samples.push_back(request.samples[0]);
  request.samples[1].inputs[0].tensor =  // too large for its file, which is found late
      Tensor::Borrow(DataType::kUint8, {int64_t{1} << 32}, "", nullptr);
  EXPECT_FALSE(Publish(request).ok());
  EXPECT_FALSE(fs::exists(dir_ / "models"));
  ASSERT_TRUE(Publish(Request()).ok());
  EXPECT_FALSE(Publish(request).ok());
  EXPECT_THAT(Names(dir_ / "models/affine"), ElementsAre("1"));
}

TEST_F(PublisherTest, RefusesRequestsThatMakeNoSense) {
  const auto error = [&](auto change) {
    PublishRequest request = Request();
    change(request);
    const auto version = Publish(request);
    EXPECT_EQ(version.status().code(), absl::StatusCode::kInvalidArgument) << version.status();
    EXPECT_THAT(Names(dir_.path()), IsEmpty());
    return std::string(version.status().message());
  };
  EXPECT_THAT(error([](PublishRequest& r) { r.onnx = "garbage"; }), HasSubstr("not an ONNX model"));
  EXPECT_THAT(error([](PublishRequest& r) { r.onnx = ""; }), HasSubstr("not an ONNX model"));
  EXPECT_THAT(error([](PublishRequest& r) { r.version = 0; }), HasSubstr("version 0"));
  EXPECT_THAT(error([](PublishRequest& r) { r.keep_last = -1; }), HasSubstr("-1"));
  EXPECT_THAT(error([](PublishRequest& r) { r.metrics["loss"] = NAN; }), HasSubstr("\"loss\""));
  EXPECT_THAT(error([](PublishRequest& r) { r.rtol = -1; }), HasSubstr("tolerance"));
  EXPECT_THAT(error([](PublishRequest& r) { r.samples[0].outputs.clear(); }),
              HasSubstr("no outputs"));
  EXPECT_THAT(error([](PublishRequest& r) { r.model_directory += "/.hidden/"; }),
              HasSubstr("does not name a model"));
  EXPECT_THAT(error([](PublishRequest& r) { r.model_directory = ""; }),
              HasSubstr("does not name a model"));
}

TEST_F(PublisherTest, ReportsADirectoryThatCannotBeMade) {
  ASSERT_TRUE(WriteFileDurably(dir_ / "models", "a file").ok());
  const auto version = Publish(Request());
  EXPECT_FALSE(version.ok());
  EXPECT_THAT(std::string(version.status().message()), HasSubstr(dir_ / "models"));
}

TEST_F(PublisherTest, KeepsTheLastVersions) {
  PublishRequest request = Request();
  for (int i = 1; i <= 4; ++i) ASSERT_TRUE(Publish(request).ok());
  fs::create_directory(dir_ / "models/affine/notes");
  request.keep_last = 2;
  EXPECT_EQ(*Publish(request), 5);
  EXPECT_THAT(Names(dir_ / "models/affine"), UnorderedElementsAre("4", "5", "notes"));
}

TEST_F(PublisherTest, NeverRemovesWhatItJustPublished) {
  PublishRequest request = Request();
  request.version = 9;
  ASSERT_TRUE(Publish(request).ok());
  request.version = 3;
  request.keep_last = 1;
  ASSERT_TRUE(Publish(request).ok());
  EXPECT_THAT(Names(dir_ / "models/affine"), UnorderedElementsAre("3", "9"));
}

TEST_F(PublisherTest, PublishersRaceForDifferentNumbers) {
  constexpr int kPublishers = 8, kEach = 4;
  std::vector<std::thread> threads;
  std::vector<std::vector<int64_t>> versions(kPublishers);
  for (int i = 0; i < kPublishers; ++i) {
    threads.emplace_back([&, i] {
      PublishRequest request = Request();
      request.onnx = AffineModel(1, static_cast<float>(i));
      for (int n = 0; n < kEach; ++n) {
        const auto version = Publish(request);
        if (version.ok()) versions[static_cast<size_t>(i)].push_back(*version);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<int64_t> all;
  for (int i = 0; i < kPublishers; ++i) {
    for (const int64_t version : versions[static_cast<size_t>(i)]) {
      EXPECT_TRUE(all.insert(version).second) << version << " was given twice";
      EXPECT_EQ(*ReadFile(Version(version) + "/model.onnx"), AffineModel(1, static_cast<float>(i)));
      EXPECT_TRUE(Verify(*ReadManifest(Version(version)), Version(version)).ok());
    }
  }
  EXPECT_EQ(all.size(), size_t{kPublishers * kEach});
  EXPECT_EQ(*all.rbegin(), kPublishers * kEach) << "no gaps";
}

class ExternalDataPublisherTest : public PublisherTest {
 protected:
  // A model with one tensor as external data at `location`; `in_subgraph` puts it into an If.
  PublishRequest RequestWith(const std::string& location, bool in_subgraph = false) {
    ModelBuilder builder;
    onnx::GraphProto* graph = builder.proto().mutable_graph();
    if (in_subgraph) {
      auto& attribute = *builder.Node("If", {"c"}, {"y"}).add_attribute();
      attribute.set_name("then_branch");
      attribute.set_type(onnx::AttributeProto::GRAPH);
      graph = attribute.mutable_g();
    }
    onnx::TensorProto& tensor = *graph->add_initializer();
    tensor.set_name("w");
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_dims(1);
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    auto* entry = tensor.add_external_data();
    entry->set_key("location");
    entry->set_value(location);
    PublishRequest request = Request();
    request.onnx = builder.Build();
    request.external_data_directory = dir_ / "source";
    return request;
  }
  ExternalDataPublisherTest() {
    fs::create_directories(dir_ / "source/sub");
    for (const char* name : {"source/w.bin", "source/sub/w.bin", "outside.bin"}) {
      EXPECT_TRUE(WriteFileDurably(dir_ / name, "1234").ok());
    }
  }
};

TEST_F(ExternalDataPublisherTest, CopiesAndListsTheFiles) {
  for (const bool in_subgraph : {false, true}) {
    for (const char* location : {"w.bin", "sub/w.bin"}) {
      const auto version = Publish(RequestWith(location, in_subgraph));
      ASSERT_TRUE(version.ok()) << version.status();
      EXPECT_EQ(*ReadFile(Version(*version) + "/" + location), "1234");
      const auto manifest = ReadManifest(Version(*version));
      EXPECT_EQ(manifest->files[1].path, location);
      EXPECT_TRUE(Verify(*manifest, Version(*version)).ok());
    }
  }
}

TEST_F(ExternalDataPublisherTest, RefusesFilesThatAreMissingOutsideOrInTheWay) {
  fs::create_symlink(dir_ / "outside.bin", dir_ / "source/link.bin");
  EXPECT_TRUE(WriteFileDurably(dir_ / "source/manifest.json", "{}").ok());
  for (const std::string& location :
       {std::string("none.bin"), std::string("../outside.bin"), dir_ / "outside.bin",
        std::string("link.bin"), std::string("./manifest.json")}) {
    const auto version = Publish(RequestWith(location));
    EXPECT_FALSE(version.ok()) << location;
    EXPECT_THAT(std::string(version.status().message()), HasSubstr(fs::path(location).filename()));
  }
  PublishRequest request = RequestWith("w.bin");
  request.external_data_directory = "";
  EXPECT_THAT(std::string(Publish(request).status().message()), HasSubstr("w.bin"));
  EXPECT_FALSE(fs::exists(dir_ / "models"));
}

}  // namespace
}  // namespace baton::repository

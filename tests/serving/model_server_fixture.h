// ModelServerTest: a model server over a fake engine and a directory of models, with what its tests
// ask and wait for.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/serving/model_server.h"
#include "tests/serving/fake_engine.h"
#include "tests/support/temp_dir.h"

namespace baton::serving {

class ModelServerTest : public ::testing::Test {
 protected:
  ModelServerTest() {
    options_.repository = dir_.path();
    options_.poll_seconds = 0.01;
    options_.workers = 2;
    options_.loader_nice = 0;
    options_.max_inline_seconds = 0;
  }
  ~ModelServerTest() override {
    if (server_ != nullptr) server_->Stop();
    server_.reset();
    EXPECT_EQ(baton::testing::FakeModel::alive(), 0);
    EXPECT_EQ(baton::testing::FakeModel::freed_elsewhere(), freed_elsewhere_before_);
  }

  void Start() {
    auto runtime = std::make_unique<baton::testing::FakeRuntime>();
    runtime_ = runtime.get();
    if (prepare_) prepare_(*runtime);
    server_ = std::make_unique<ModelServer>(options_, std::move(runtime));
    const absl::Status status = server_->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  // A version that answers x + offset; published whole, by a rename.
  void Publish(const std::string& model, int64_t version, const std::string& content,
               const std::string& golden = "") {
    const std::string staged = absl::StrCat(dir_.path(), "/", model, "/.tmp-", version);
    std::filesystem::create_directories(staged);
    std::ofstream(staged + "/model.onnx") << content;
    if (!golden.empty()) std::ofstream(staged + "/golden") << golden;
    const std::string path = PathOf(model, version);
    std::filesystem::remove_all(path);
    std::filesystem::rename(staged, path);
  }
  // A file below the repository, which the server may read at any time: never seen half-written.
  void WriteFile(const std::string& path, const std::string& content) {
    std::ofstream(dir_ / ".new") << content;
    std::filesystem::rename(dir_ / ".new", dir_ / path);
  }
  std::string PathOf(const std::string& model, int64_t version) const {
    return absl::StrCat(dir_.path(), "/", model, "/", version);
  }

  // Waits for a condition that the server's own threads bring about.
  static void Await(const std::function<bool()>& condition) {
    while (!condition()) std::this_thread::yield();
  }
  VersionStatus StatusOf(const std::string& model, int64_t version) {
    const auto status = server_->registry().Status(model);
    if (status.ok()) {
      for (const VersionStatus& v : status->versions) {
        if (v.version == version) return v;
      }
    }
    return {version, VersionState::kAbsent, absl::OkStatus()};
  }
  void AwaitState(const std::string& model, int64_t version, VersionState state) {
    Await([&] { return StatusOf(model, version).state == state; });
  }

  struct Reply {
    absl::Status status;
    int64_t version = 0;
    float value = 0;  // the answer for x = 0
  };
  // One request, start to end, as the API layer does it.
  Reply Ask(const std::string& model, const VersionChoice& choice = {}) {
    Reply reply;
    auto servable = server_->registry().Acquire(model, choice);
    if (!servable.ok()) {
      reply.status = servable.status();
      return reply;
    }
    reply.version = (*servable)->version();
    const std::vector<float> zeros(4);
    std::mutex mu;
    std::condition_variable changed;
    int done = 0;
    Task task;
    task.inputs = {baton::testing::ViewOf(zeros)};
    task.done = [&](const absl::Status& status, absl::Span<const TensorView> outputs,
                    const PhaseTimes&) {
      const std::lock_guard<std::mutex> lock(mu);
      reply.status = status;
      if (!outputs.empty()) reply.value = outputs[0].values<float>()[0];
      ++done;
      changed.notify_one();
    };
    if (absl::Status status = (*servable)->Submit(std::move(task)); !status.ok()) {
      reply.status = status;
      return reply;
    }
    servable->reset();
    std::unique_lock<std::mutex> lock(mu);
    changed.wait(lock, [&] { return done > 0; });
    EXPECT_EQ(done, 1);
    return reply;
  }

  baton::testing::TempDir dir_;
  ModelServerOptions options_;
  std::function<void(baton::testing::FakeRuntime&)>
      prepare_;  // called before the server starts; may be null
  baton::testing::FakeRuntime* runtime_ = nullptr;
  std::unique_ptr<ModelServer> server_;
  const int freed_elsewhere_before_ = baton::testing::FakeModel::freed_elsewhere();
};

}  // namespace baton::serving

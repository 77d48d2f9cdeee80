// What changes what is served, besides new versions: requests, the config file, changed configs and
// files; and the bounds on loading.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/serving/model_server_fixture.h"

namespace baton::serving {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::FakeModel;
using ::baton::testing::FakeRuntime;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Control = ModelServerOptions::Control;

class ControlTest : public ModelServerTest {
 protected:
  // Makes a request to change something and waits for its end.
  template <typename F>
  absl::Status End(const F& request) {
    std::promise<absl::Status> ended;
    request([&ended](const absl::Status& status) { ended.set_value(status); });
    return ended.get_future().get();
  }

  absl::Status Load(const std::string& name, std::optional<std::string> config = std::nullopt) {
    return End([&](ModelServer::Done done) { server_->LoadModel(name, config, std::move(done)); });
  }
  absl::Status Unload(const std::string& name) {
    return End([&](ModelServer::Done done) { server_->UnloadModel(name, std::move(done)); });
  }
  absl::Status Reload(std::vector<repository::ModelSource> models) {
    return End([&](ModelServer::Done done) {
      server_->ReloadConfig({std::move(models), {}}, std::move(done));
    });
  }
  absl::Status SetLabel(const std::string& label, int64_t version, const std::string& model = "m") {
    return End(
        [&](ModelServer::Done done) { server_->SetLabel(model, label, version, std::move(done)); });
  }
  VersionChoice Labelled(const std::string& label) { return {std::nullopt, label}; }
  void WriteConfig(const std::string& text) { WriteFile("m/config.pbtxt", text); }
};

TEST_F(ControlTest, UnderExplicitControlLoadsWhatItIsAskedTo) {
  options_.control = Control::kExplicit;
  Publish("m", 1, "1 1");
  Publish("other", 1, "1 5");
  Start();
  Await([&] { return server_->Ready(); });  // for requests to load something
  EXPECT_TRUE(absl::IsNotFound(Ask("m").status));
  std::vector<std::string> index;
  std::promise<std::vector<ModelStatus>> listed;
  server_->Index([&](std::vector<ModelStatus> models) { listed.set_value(std::move(models)); });
  for (const ModelStatus& model : listed.get_future().get()) index.push_back(model.name);
  EXPECT_THAT(index, ElementsAre("m", "other"));

  ASSERT_TRUE(Load("m").ok());
  EXPECT_EQ(Ask("m").value, 1);
  EXPECT_TRUE(absl::IsNotFound(Ask("other").status));
  Publish("m", 2, "1 2");
  ASSERT_TRUE(Load("other").ok());
  EXPECT_EQ(Ask("m").value, 1);  // nobody asked for the new version
  ASSERT_TRUE(Load("m").ok());
  EXPECT_EQ(Ask("m").value, 2);

  ASSERT_TRUE(Unload("m").ok());
  const absl::Status unloaded = Ask("m").status;
  EXPECT_TRUE(absl::IsNotFound(unloaded) || absl::IsUnavailable(unloaded)) << unloaded;
  EXPECT_EQ(Ask("other").value, 5);
  EXPECT_TRUE(absl::IsNotFound(Unload("m")));
}

TEST_F(ControlTest, LoadsAtTheStartWhatTheFlagsName) {
  options_.control = Control::kExplicit;
  options_.load_models = {"m"};
  Publish("m", 1, "1 1");
  Publish("other", 1, "1 5");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  EXPECT_TRUE(absl::IsNotFound(Ask("other").status));
}

TEST_F(ControlTest, ALoadThatFailsSaysWhy) {
  options_.control = Control::kExplicit;
  Publish("m", 1, "1 1");
  Publish("m", 2, "broken");
  Start();
  const absl::Status broken = Load("m");
  EXPECT_THAT(broken.message(), AllOf(HasSubstr("model \"m\" version 2"), HasSubstr("broken")));
  EXPECT_EQ(Ask("m").value, 1);  // the next best serves all the same
  EXPECT_TRUE(absl::IsNotFound(Load("nowhere")));
  EXPECT_TRUE(absl::IsInvalidArgument(Load("../m")));
  EXPECT_THAT(Load("m", "{\"max_batch\": 3}").message(), HasSubstr("max_batch"));
}

TEST_F(ControlTest, ALoadMayBringItsConfig) {
  options_.control = Control::kExplicit;
  Publish("m", 1, "1 1");
  Publish("m", 2, "1 2");
  Start();
  ASSERT_TRUE(
      Load("m", R"({"version_policy": {"specific": {"versions": [1]}}, "max_batch_size": 3})")
          .ok());
  EXPECT_EQ(Ask("m").version, 1);
  EXPECT_EQ((*server_->registry().Acquire("m", {}))->max_batch_size(), 3);
  ASSERT_TRUE(Load("m").ok());  // without it
  EXPECT_EQ(Ask("m").version, 2);
}

TEST_F(ControlTest, AServerThatFollowsItsRepositoryRefusesLoads) {
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  EXPECT_EQ(Load("m").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Unload("m").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Ask("m").value, 1);
}

TEST_F(ControlTest, AConfigByRequestAddsModelsAndTakesOnlyItsOwnAway) {
  Publish("m", 1, "1 1");
  baton::testing::TempDir elsewhere;
  fs::create_directories(elsewhere / "a/4");
  std::ofstream(elsewhere / "a/4/model.onnx") << "1 4";
  Start();
  AwaitState("m", 1, VersionState::kReady);
  ASSERT_TRUE(Reload({{"a", elsewhere / "a"}}).ok());
  EXPECT_EQ(Ask("a").value, 4);
  EXPECT_EQ(Ask("m").value, 1);

  const absl::Status missing = Reload({{"b", elsewhere / "b"}});
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_EQ(Ask("a").value, 4);  // nothing changed

  ASSERT_TRUE(Reload({}).ok());
  Await([&] { return absl::IsNotFound(Ask("a").status); });
  EXPECT_EQ(Ask("m").value, 1);
}

TEST_F(ControlTest, TheConfigFileIsFollowed) {
  baton::testing::TempDir elsewhere;
  for (const char* model : {"a", "b"}) {
    fs::create_directories(absl::StrCat(elsewhere / model, "/1"));
    std::ofstream(absl::StrCat(elsewhere / model, "/1/model.onnx")) << "1 1";
  }
  const auto write = [&](const std::string& models) {
    std::ofstream(elsewhere / "new") << "model_config_list { " << models << " }";
    fs::rename(elsewhere / "new", elsewhere / "models.config");
  };
  const auto entry = [&](const std::string& name) {
    return absl::StrCat("config { name: \"", name, "\" base_path: \"", (elsewhere / name), "\" }");
  };
  write(entry("a"));
  options_.repository.clear();
  options_.config_file = elsewhere / "models.config";
  options_.config_poll_seconds = 0.01;
  Start();
  AwaitState("a", 1, VersionState::kReady);
  write(entry("b"));
  AwaitState("b", 1, VersionState::kReady);
  Await([&] { return absl::IsNotFound(Ask("a").status); });
  write("config { name: \"a\" base_path: 7 }");  // wrong as a whole
  write(entry("a") + entry("b"));
  AwaitState("a", 1, VersionState::kReady);
  EXPECT_TRUE(Ask("b").status.ok());
}

TEST_F(ControlTest, AWrongConfigFileIsNotStartedWith) {
  std::ofstream(dir_ / "models.config") << "model_config_list { config { name: \"a\" } }";
  options_.repository.clear();
  options_.config_file = dir_ / "models.config";
  ModelServer server(options_, std::make_unique<FakeRuntime>());
  EXPECT_THAT(server.Start().message(), AllOf(HasSubstr("models.config"), HasSubstr("base_path")));
}

TEST_F(ControlTest, ALabelIsFollowedAndHoldsItsVersion) {
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  EXPECT_TRUE(absl::IsNotFound(Ask("m", Labelled("stable")).status));
  ASSERT_TRUE(SetLabel("stable", 1).ok());
  EXPECT_EQ(Ask("m", Labelled("stable")).value, 1);
  Publish("m", 2, "1 2");
  AwaitState("m", 2, VersionState::kReady);
  EXPECT_EQ(Ask("m").value, 2);
  EXPECT_EQ(Ask("m", Labelled("stable")).value, 1);

  ASSERT_TRUE(SetLabel("stable", 2).ok());
  EXPECT_EQ(Ask("m", Labelled("stable")).value, 2);
  AwaitState("m", 1, VersionState::kGone);  // nothing holds it any more
  ASSERT_TRUE(SetLabel("stable", 0).ok());
  EXPECT_TRUE(absl::IsNotFound(Ask("m", Labelled("stable")).status));
  EXPECT_TRUE(absl::IsNotFound(SetLabel("stable", 0)));
  EXPECT_TRUE(absl::IsNotFound(SetLabel("stable", 3)));
  EXPECT_TRUE(absl::IsNotFound(SetLabel("stable", 1, "nowhere")));
}

TEST_F(ControlTest, ALabelThatWaitsForItsVersionStaysWhereItWas) {
  options_.allow_labels_of_absent = true;
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  ASSERT_TRUE(SetLabel("stable", 1).ok());
  ASSERT_TRUE(SetLabel("stable", 2).ok());
  EXPECT_EQ(Ask("m", Labelled("stable")).value, 1);
  Publish("m", 2, "1 2");
  AwaitState("m", 2, VersionState::kReady);
  Await([&] { return Ask("m", Labelled("stable")).value == 2; });
}

TEST_F(ControlTest, LabelsOfTheModelsConfigCount) {
  Publish("m", 1, "1 1");
  Publish("m", 2, "1 2");
  WriteConfig("parameters { key: \"label.old\" value { string_value: \"1\" } }");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  AwaitState("m", 2, VersionState::kReady);
  EXPECT_EQ(Ask("m").value, 2);
  EXPECT_EQ(Ask("m", Labelled("old")).value, 1);
}

TEST_F(ControlTest, AChangedConfigTakesEffectWithoutAGap) {
  Publish("m", 1, "1 1");
  WriteConfig("max_batch_size: 2");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  std::atomic<bool> stop{false};
  std::thread client([&] {
    while (!stop) ASSERT_EQ(Ask("m").value, 1);
  });
  const auto size = [&] { return (*server_->registry().Acquire("m", {}))->max_batch_size(); };
  WriteConfig("max_batch_size: 3");
  Await([&] { return size() == 3; });
  const int loads = runtime_->loads();
  WriteConfig("max_batch_size: 3 # as before");
  Publish("other", 1, "1 5");
  AwaitState("other", 1, VersionState::kReady);
  EXPECT_EQ(runtime_->loads(), loads + 1);
  WriteConfig("input { name: \"wrong\" data_type: TYPE_FP32 dims: 4 }");
  Await([&] { return runtime_->loads() > loads + 1; });
  WriteConfig("max_batch_size: 4");
  Await([&] { return size() == 4; });
  stop = true;
  client.join();
  Await([] { return FakeModel::alive() == 2; });
}

TEST_F(ControlTest, FilesThatChangedAreLoadedAnewAndBrokenOnesAreNot) {
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  WriteFile("m/1/model.onnx", "1 10");
  Await([&] { return Ask("m").value == 10; });
  const int loads = runtime_->loads();
  WriteFile("m/1/model.onnx", "broken");
  Await([&] { return runtime_->loads() > loads; });
  Publish("other", 1, "1 5");
  AwaitState("other", 1, VersionState::kReady);
  EXPECT_EQ(Ask("m").value, 10);
  EXPECT_EQ(runtime_->loads(), loads + 2);  // it was tried once
}

TEST_F(ControlTest, AModelThatLoadsSlowlyHoldsUpNoOther) {
  std::promise<void> go_on;
  const std::shared_future<void> may_go_on = go_on.get_future().share();
  prepare_ = [&](FakeRuntime& runtime) {
    runtime.on_load = [may_go_on](const std::string& path) {
      if (path.find("/a/") != std::string::npos) may_go_on.wait();
    };
  };
  Publish("a", 1, "1 1");
  Publish("b", 1, "1 2");
  Start();
  AwaitState("b", 1, VersionState::kReady);
  Publish("b", 2, "1 3");
  AwaitState("b", 2, VersionState::kReady);
  EXPECT_FALSE(server_->Ready());
  go_on.set_value();
  AwaitState("a", 1, VersionState::kReady);
  Await([&] { return server_->Ready(); });
}

TEST_F(ControlTest, AFailedVersionIsTriedAgainAsOftenAsAsked) {
  options_.load_retries = 3;
  options_.load_retry_seconds = 0.001;
  std::atomic<int> tries{0};
  prepare_ = [&](FakeRuntime& runtime) { runtime.on_load = [&](const std::string&) { ++tries; }; };
  Publish("m", 1, "broken");
  Start();
  Await([&] { return tries == 4; });
  AwaitState("m", 1, VersionState::kFailed);
  Publish("other", 1, "1 5");
  AwaitState("other", 1, VersionState::kReady);
  EXPECT_EQ(tries, 5);
}

TEST_F(ControlTest, ALoadThatWouldPassTheMemoryLimitFailsWithTheFigures) {
  options_.memory_limit_bytes = 10'000'000;
  prepare_ = [](FakeRuntime& runtime) { runtime.memory_per_model = 8'000'000; };
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  Publish("m", 2, "1 2");
  AwaitState("m", 2, VersionState::kFailed);
  EXPECT_THAT(StatusOf("m", 2).error.message(),
              AllOf(HasSubstr("8.0 MB are in use"), HasSubstr("--memory_limit_mb")));
  EXPECT_EQ(Ask("m").value, 1);
  EXPECT_THAT(server_->metrics().Render(),
              HasSubstr("baton_model_load_failures_total{model=\"m\",reason=\"memory\"}"));
}

TEST_F(ControlTest, WhereMemoryHoldsOneVersionTheOldOneMayGoFirst) {
  options_.memory_limit_bytes = 10'000'000;
  prepare_ = [](FakeRuntime& runtime) { runtime.memory_per_model = 8'000'000; };
  Publish("m", 1, "1 1");
  WriteConfig("parameters { key: \"swap\" value { string_value: \"unload_first\" } }");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  Publish("m", 2, "1 2");
  AwaitState("m", 2, VersionState::kReady);
  EXPECT_EQ(Ask("m").value, 2);
  EXPECT_EQ(StatusOf("m", 1).state, VersionState::kGone);
}

TEST_F(ControlTest, RequestsThatMeetTheEndAreAnswered) {
  options_.control = Control::kExplicit;
  Publish("m", 1, "1 1");
  Start();
  server_->Drain(SteadyTime{});
  EXPECT_TRUE(absl::IsUnavailable(Load("m")));
  server_->Stop();
  EXPECT_TRUE(absl::IsUnavailable(Load("m")));
}

}  // namespace
}  // namespace baton::serving

// baton-model verify against the server itself: bad repositories go through both, and what the one
// prints is what the other has in its states.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/tensor_io.h"
#include "proto/tensorflow_serving/apis/prediction_log.pb.h"
#include "server/api/tfs_warm_up.h"
#include "server/repository/manifest.h"
#include "server/serving/model_server.h"
#include "tests/client/unsupported_model.h"
#include "tests/repository/write_file.h"
#include "tests/support/model_builder.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tf_record_file.h"

namespace baton {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::AffineModel;
using ::baton::testing::ModelBuilder;
using ::baton::testing::ProgramResult;
using ::baton::testing::RunProgram;
using ::baton::testing::TempDir;
using ::baton::testing::TfRecord;
using ::baton::testing::WriteAt;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr char kWarmUpFile[] = "1/assets.extra/tf_serving_warmup_requests";

std::string FixedBatchModel() {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {1, 4});
  m.Node("Relu", {"x"}, {"y"});
  m.Output("y", DataType::kFloat, {1, 4});
  return m.Build();
}

// A sample of the affine model 2x + 1, whose answer is off by `error`.
void WriteSample(const std::string& version, float error) {
  fs::create_directories(version + "/test_data_set_0");
  const auto write = [&](const std::string& name, const Tensor& tensor) {
    const std::string path = absl::StrCat(version, "/test_data_set_0/", name, ".pb");
    ASSERT_TRUE(WriteTensorProtoFile(path, tensor.view(), "").ok());
  };
  write("input_0", Tensor::From<float>({1, 4}, {1, 2, 3, 4}));
  write("output_0", Tensor::From<float>({1, 4}, {3 + error, 5, 7, 9}));
}

// The manifest of a version whose model.onnx is `onnx`.
std::string ManifestOf(const std::string& onnx) {
  repository::Manifest manifest;
  manifest.created = "2026-01-01T00:00:00Z";
  manifest.files = {{"model.onnx", onnx.size(), Sha256(onnx)}};
  return repository::ToJson(manifest);
}

std::string WarmUpConfig(const std::string& input) {
  return "model_warmup { name: \"w\" batch_size: 2 inputs { key: \"x\" value { " + input + " } } }";
}

std::string PredictRecord(const std::string& signature) {
  tensorflow::serving::PredictionLog log;
  auto& request = *log.mutable_predict_log()->mutable_request();
  request.mutable_model_spec()->set_signature_name(signature);
  auto& x = (*request.mutable_inputs())["x"];
  x.set_dtype(tensorflow::DT_FLOAT);
  x.mutable_tensor_shape()->add_dim()->set_size(3);
  x.mutable_tensor_shape()->add_dim()->set_size(4);
  x.add_float_val(1);
  return TfRecord(log.SerializeAsString());
}

// One model with what is wrong with it; its version 1 has the affine model unless `change` makes
// it another.
struct BadModel {
  std::string name;
  std::string reason;  // a part of what is said of it; "": nothing is wrong
  std::function<void(const std::string& model)> change;
};

std::function<void(const std::string&)> Write(const std::string& name, const std::string& text) {
  return [=](const std::string& model) { WriteAt(absl::StrCat(model, "/", name), text); };
}
std::function<void(const std::string&)> Config(const std::string& text) {
  return Write("config.pbtxt", text);
}

const std::vector<BadModel>& BadModels() {
  static const std::vector<BadModel> models = {
      {"good", "", [](const std::string& model) { WriteSample(model + "/1", 0); }},
      {"truncated", "model.onnx", Write("1/model.onnx", AffineModel(2, 1).substr(0, 20))},
      {"unsupported", "Frobnicate", Write("1/model.onnx", baton::testing::UnsupportedModel())},
      {"no_model", "no model.onnx",
       [](const std::string& model) { fs::remove(model + "/1/model.onnx"); }},
      {"version_is_a_file", "not a directory",
       [](const std::string& model) {
         fs::remove_all(model + "/1");
         WriteAt(model + "/1", "");
       }},
      {"no_versions", "no version found",
       [](const std::string& model) { fs::remove_all(model + "/1"); }},
      {"other_sum", "model.onnx: sha256", Write("1/manifest.json", ManifestOf(AffineModel(2, 3)))},
      {"bad_manifest", "manifest.json", Write("1/manifest.json", "{")},
      {"golden_misses", "golden sample \"test_data_set_0\"",
       [](const std::string& model) { WriteSample(model + "/1", 0.5); }},
      {"golden_unreadable", "input_0.pb", Write("1/test_data_set_0/input_0.pb", "noise")},
      {"config_syntax", "config.pbtxt:1:", Config("max_batch_size 8")},
      {"config_unknown_field", "max_batch", Config("max_batch: 8")},
      {"config_other_name", "name is \"else\"", Config("name: \"else\"")},
      {"config_instances", "instance_group.count is -1", Config("instance_group { count: -1 }")},
      {"config_rollout", "rollout.percent",
       Config("parameters { key: \"rollout.percent\" value { string_value: \"200\" } }")},
      {"config_input", "input \"x\" is TYPE_INT32",
       Config("input { name: \"x\" data_type: TYPE_INT32 dims: 4 }")},
      {"config_output", "no output \"z\"",
       Config("output { name: \"z\" data_type: TYPE_FP32 dims: 4 }")},
      {"config_batch", "no batch dimension",
       [](const std::string& model) {
         WriteAt(model + "/1/model.onnx", FixedBatchModel());
         WriteAt(model + "/config.pbtxt", "max_batch_size: 8");
       }},
      {"config_signature", "no output \"z\"",
       Config("parameters { key: \"signatures\" value { string_value: "
              "'{\"s\": {\"method\": \"regress\", \"output\": \"z\"}}' } }")},
      {"config_labels_missing", "labels.txt",
       Config(
           "output { name: \"y\" data_type: TYPE_FP32 dims: 4 label_filename: \"labels.txt\" }")},
      {"config_labels_outside", "../good/labels.txt",
       Config("output { name: \"y\" data_type: TYPE_FP32 dims: 4 "
              "label_filename: \"../good/labels.txt\" }")},
      {"warm_up_type", "input \"x\": it is int32[4]",
       Config(WarmUpConfig("data_type: TYPE_INT32 dims: 4 zero_data: true"))},
      {"warm_up_dims", "model_warmup \"w\"",
       Config(WarmUpConfig("data_type: TYPE_FP32 dims: 5 zero_data: true"))},
      {"warm_up_file", "warmup",
       Config(WarmUpConfig("data_type: TYPE_FP32 dims: 4 input_data_file: \"x.raw\""))},
      {"warm_up_short_file", "x.raw has 3 bytes",
       [](const std::string& model) {
         WriteAt(model + "/warmup/x.raw", "abc");
         WriteAt(model + "/config.pbtxt",
                 WarmUpConfig("data_type: TYPE_FP32 dims: 4 input_data_file: \"x.raw\""));
       }},
      {"warm_up_good", "",
       [](const std::string& model) {
         WriteAt(model + "/warmup/x.raw", std::string(16, '\0'));
         WriteAt(model + "/config.pbtxt",
                 WarmUpConfig("data_type: TYPE_FP32 dims: 4 input_data_file: \"x.raw\""));
         WriteAt(absl::StrCat(model, "/", kWarmUpFile), PredictRecord("serving_default"));
       }},
      {"requests_broken", "record 1: ", Write(kWarmUpFile, "no records")},
      {"requests_wrong",
       "record 2: ", Write(kWarmUpFile, PredictRecord("") + PredictRecord("other"))},
  };
  return models;
}

// Links are judged by what they must not leave, which a model alone does not tell.
const std::vector<BadModel>& BadLinks() {
  static const std::vector<BadModel> models = {
      {"file_outside", "symbolic link",
       [](const std::string& model) { fs::create_symlink("/etc/hostname", model + "/1/weights"); }},
      {"version_outside", "symbolic link",
       [](const std::string& model) {
         fs::remove_all(model + "/1");
         fs::create_directory_symlink("/tmp", model + "/1");
       }},
      {"config_outside", "symbolic link",
       [](const std::string& model) {
         fs::create_symlink("/etc/hostname", model + "/config.pbtxt");
       }},
      {"loop", "loop",
       [](const std::string& model) { fs::create_directory_symlink(".", model + "/1/self"); }},
      {"model_inside", "",
       [](const std::string& model) {
         fs::remove_all(model + "/1");
         fs::create_directory_symlink("../good/1", model + "/1");
       }},
  };
  return models;
}

std::vector<nlohmann::json> JsonLines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

class ModelVerifyTest : public ::testing::Test {
 protected:
  void Add(const std::vector<BadModel>& models) {
    for (const BadModel& model : models) {
      WriteAt(absl::StrCat(Path(model.name), "/1/model.onnx"), AffineModel(2, 1));
      model.change(Path(model.name));
    }
  }
  std::string Path(const std::string& name) const { return dir_ / ("repo/" + name); }

  // What the server says of each model's version 1, or of the model if that says nothing.
  std::map<std::string, std::string> AskServer() {
    serving::ModelServerOptions options;
    options.repository = dir_ / "repo";
    options.control = serving::ModelServerOptions::Control::kNone;
    options.warm_up_requests = api::WarmUpRequestsUpTo(size_t{64} << 20);
    serving::ModelServer server(options);
    EXPECT_TRUE(server.Start().ok());
    while (!server.Ready()) std::this_thread::yield();
    std::map<std::string, std::string> reasons;
    for (const serving::ModelStatus& model : server.registry().StatusOfAll()) {
      absl::Status status = model.error;
      for (const serving::VersionStatus& version : model.versions) status.Update(version.error);
      if (model.versions.empty() && status.ok()) {
        status = server.registry().Acquire(model.name, {}).status();
      }
      std::string& reason = reasons[model.name] = std::string(status.message());
      std::replace(reason.begin(), reason.end(), '\n', ' ');
    }
    server.Stop();
    return reasons;
  }

  TempDir dir_;
};

TEST_F(ModelVerifyTest, SaysWhatTheServerSays) {
  Add(BadModels());
  Add(BadLinks());
  const std::map<std::string, std::string> server = AskServer();
  const ProgramResult result = RunProgram("baton-model", {"verify", "--json", dir_ / "repo"});
  EXPECT_EQ(result.exit_code, 1);
  std::map<std::string, std::string> said;
  for (const nlohmann::json& line : JsonLines(result.output)) {
    const std::string path = line["path"];
    const std::string model = fs::path(path).lexically_relative(dir_ / "repo").begin()->string();
    EXPECT_TRUE(said.emplace(model, line["reason"]).second) << "two lines of " << model;
    EXPECT_EQ(line["ok"], line["reason"] == "") << path;
  }
  EXPECT_EQ(said, server);
  for (const auto* models : {&BadModels(), &BadLinks()}) {
    for (const BadModel& model : *models) {
      if (model.reason.empty()) {
        EXPECT_EQ(said[model.name], "") << model.name;
      } else {
        EXPECT_THAT(said[model.name], HasSubstr(model.reason)) << model.name;
      }
    }
  }
}

TEST_F(ModelVerifyTest, SaysTheSameOfAVersionAlone) {
  Add(BadModels());
  const std::map<std::string, std::string> server = AskServer();
  std::vector<std::string> arguments = {"verify", "--json"};
  std::vector<std::string> names;
  for (const BadModel& model : BadModels()) {
    if (!fs::is_directory(Path(model.name) + "/1")) continue;  // nothing there to be asked about
    names.push_back(model.name);
    arguments.push_back(Path(model.name) + "/1");
  }
  const std::vector<nlohmann::json> lines = JsonLines(RunProgram("baton-model", arguments).output);
  ASSERT_EQ(lines.size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(lines[i]["path"], Path(names[i]) + "/1");
    EXPECT_EQ(lines[i]["reason"], server.at(names[i]));
  }
}

TEST_F(ModelVerifyTest, WarnsOfWhatAServerPassesOver) {
  for (const char* version : {"1", "2", "3", "01"}) {
    WriteAt(absl::StrCat(Path("m"), "/", version, "/model.onnx"), AffineModel(2, 1));
  }
  WriteAt(Path("m") + "/3/model.onnx", "noise");
  WriteAt(Path("m") + "/config.pbtxt", "optimization { graph { level: 1 } }");
  WriteAt(Path("no name") + "/1/model.onnx", AffineModel(2, 1));
  const ProgramResult json = RunProgram("baton-model", {"verify", "--json", dir_ / "repo"});
  std::vector<std::string> warnings;
  for (const nlohmann::json& line : JsonLines(json.errors)) {
    warnings.push_back(
        absl::StrCat(std::string(line["path"]), ": warning: ", std::string(line["warning"])));
  }
  EXPECT_THAT(
      warnings,
      ElementsAre(HasSubstr("\"no name\" is no model name"),
                  HasSubstr("directory \"01\" is passed over"),
                  HasSubstr("field \"optimization\" is not honoured"),
                  // 3 has failed, so the next best serves.
                  Path("m") + ": warning: version policy \"latest 1\" serves 2 and passes over 1"));
  const ProgramResult text = RunProgram("baton-model", {"verify", dir_ / "repo"});
  std::string expected;
  for (const std::string& warning : warnings) expected += warning + "\n";
  EXPECT_EQ(text.errors, expected);
  EXPECT_THAT(text.output, StartsWith(absl::StrCat(Path("m"), "/1: ok\n", Path("m"), "/2: ok\n",
                                                   Path("m"), "/3: ")));
}

TEST_F(ModelVerifyTest, KnowsWhatThePolicyPicks) {
  const auto warnings = [this](const std::string& config) {
    WriteAt(Path("m") + "/config.pbtxt", config);
    return RunProgram("baton-model", {"verify", Path("m")}).errors;
  };
  for (const char* version : {"1", "2", "3"}) {
    WriteAt(absl::StrCat(Path("m"), "/", version, "/model.onnx"), AffineModel(2, 1));
  }
  EXPECT_THAT(warnings("version_policy { all {} }"), IsEmpty());
  EXPECT_THAT(warnings("version_policy { latest { num_versions: 2 } }"),
              HasSubstr("\"latest 2\" serves 2, 3 and passes over 1\n"));
  EXPECT_THAT(warnings("version_policy { specific { versions: 1 } }"),
              HasSubstr("\"specific 1\" serves 1 and passes over 2, 3\n"));
  EXPECT_THAT(warnings("version_policy { specific { versions: 9 } }"),
              HasSubstr("\"specific 9\" serves no version and passes over 1, 2, 3\n"));
  // A label holds its version.
  EXPECT_THAT(warnings("parameters { key: \"label.old\" value { string_value: \"1\" } }"),
              HasSubstr("serves 1, 3 and passes over 2\n"));
}

}  // namespace
}  // namespace baton

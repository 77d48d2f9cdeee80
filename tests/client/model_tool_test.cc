// baton-model as a user runs it: exit codes, standard output, and the one line on standard error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/file.h"
#include "engine/tensor_io.h"
#include "tests/client/unsupported_model.h"
#include "tests/support/model_builder.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace baton {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::AffineModel;
using ::baton::testing::ModelBuilder;
using ::baton::testing::ProgramResult;
using ::baton::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::vector<std::string> Keys(const nlohmann::ordered_json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

class ModelToolTest : public ::testing::Test {
 protected:
  ModelToolTest() { Write("affine.onnx", AffineModel(2, 1)); }

  static ProgramResult Run(const std::vector<std::string>& arguments) {
    return ::baton::testing::RunProgram("baton-model", arguments);
  }
  // Runs what must fail with `exit_code` and returns its one line on standard error.
  static std::string Error(int exit_code, const std::vector<std::string>& arguments) {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.errors;
    EXPECT_EQ(Lines(result.errors).size(), 1u) << result.errors;
    EXPECT_THAT(result.errors, StartsWith("baton-model: "));
    EXPECT_THAT(result.output, IsEmpty());
    return result.errors;
  }
  // Runs what must succeed and returns its standard output.
  static std::string Output(const std::vector<std::string>& arguments) {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.errors, IsEmpty());
    return result.output;
  }
  void Write(const std::string& name, const std::string& contents) {
    fs::create_directories(fs::path(dir_ / name).parent_path());
    ASSERT_TRUE(WriteFileDurably(dir_ / name, contents).ok());
  }
  void WriteTensor(const std::string& name, const Tensor& tensor) {
    fs::create_directories(fs::path(dir_ / name).parent_path());
    ASSERT_TRUE(WriteTensorProtoFile(dir_ / name, tensor.view(), "").ok());
  }
  // A directory with the affine model and a sample whose answer is off by `error`.
  void WriteVersion(const std::string& name, float error) {
    Write(name + "/model.onnx", AffineModel(2, 1));
    WriteTensor(name + "/test_data_set_0/input_0.pb", Tensor::From<float>({1, 4}, {1, 2, 3, 4}));
    WriteTensor(name + "/test_data_set_0/output_0.pb",
                Tensor::From<float>({1, 4}, {3 + error, 5, 7, 9}));
  }
  // x[batch, seq] with an unnamed last dimension, and a mask[batch, seq].
  std::string SequenceModel() {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {-1, -1, -1});
    m.proto()
        .mutable_graph()
        ->mutable_input(0)
        ->mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim(1)
        ->set_dim_param("seq");
    m.Node("Relu", {"x"}, {"y"});
    m.Output("y", DataType::kFloat, {-1, -1, -1});
    return m.Build();
  }
  TempDir dir_;
};

TEST_F(ModelToolTest, PrintsHelpAndVersion) {
  const std::string help = Output({"--help"});
  for (const char* command : {"verify", "run", "show", "bench", "publish"}) {
    EXPECT_THAT(help, HasSubstr(command));
    EXPECT_THAT(Output({command, "--help"}),
                HasSubstr("Usage: baton-model " + std::string(command)));
  }
  EXPECT_THAT(Output({"--version"}), HasSubstr("."));
}

TEST_F(ModelToolTest, WrongFlagsAreOneLineAndExitCode2) {
  EXPECT_THAT(Error(2, {}), HasSubstr("subcommand"));
  EXPECT_THAT(Error(2, {"verfy"}), HasSubstr("did you mean verify?"));
  EXPECT_THAT(Error(2, {"verify"}), HasSubstr("PATH is required"));
  EXPECT_THAT(Error(2, {"verify", "--jsn", "x"}), HasSubstr("did you mean --json?"));
  EXPECT_THAT(Error(2, {"verify", "--rtol=-1", "x"}), HasSubstr("--rtol"));
  EXPECT_THAT(Error(2, {"run", "m.onnx"}), HasSubstr("--output-dir is required"));
  EXPECT_THAT(Error(2, {"run", "m.onnx", "--output-dir=o", "--input", "x"}),
              HasSubstr("expected NAME=FILE, found \"x\""));
  EXPECT_THAT(Error(2, {"bench", "m.onnx", "--batch=0"}), HasSubstr("--batch"));
  EXPECT_THAT(Error(2, {"bench", "m.onnx", "--batch=1,x"}), HasSubstr("--batch"));
  EXPECT_THAT(Error(2, {"bench", "m.onnx", "--precision=f64"}),
              HasSubstr("expected f32, bf16, int8 or auto"));
  EXPECT_THAT(Error(2, {"bench", "m.onnx", "--dim=seq"}), HasSubstr("NAME=N"));
  EXPECT_THAT(Error(2, {"bench", "m.onnx", "--threads=0"}), HasSubstr("--threads"));
  EXPECT_THAT(Error(2, {"publish", "m.onnx"}), HasSubstr("TARGET is required"));
  EXPECT_THAT(Error(2, {"publish", "m.onnx", "r/m", "--version=0"}), HasSubstr("--version"));
}

TEST_F(ModelToolTest, FilesThatAreMissingOrNoModelsAreOneLineAndExitCode1) {
  Write("garbage.onnx", std::string(1000, '\xff'));
  Write("empty.onnx", "");
  for (const char* file : {"none.onnx", "garbage.onnx", "empty.onnx"}) {
    const std::string path = dir_ / file;
    EXPECT_THAT(Error(1, {"show", path}), HasSubstr(path));
    EXPECT_THAT(Error(1, {"run", path, "--output-dir", dir_ / "o"}), HasSubstr(path));
    EXPECT_THAT(Error(1, {"bench", path}), HasSubstr(path));
    EXPECT_THAT(Error(1, {"publish", path, dir_ / "r/m"}), HasSubstr(path));
    EXPECT_FALSE(fs::exists(dir_ / "r"));
    const ProgramResult verify = Run({"verify", path});
    EXPECT_EQ(verify.exit_code, 1);
    EXPECT_THAT(verify.output, StartsWith(path + ": "));
    EXPECT_EQ(Lines(verify.output).size(), 1u);
  }
}

TEST_F(ModelToolTest, VerifiesAVersion) {
  WriteVersion("good", 0);
  EXPECT_EQ(Output({"verify", dir_ / "good"}), dir_ / "good" + ": ok\n");
  EXPECT_EQ(Output({"verify", dir_ / "good/"}), dir_ / "good" + ": ok\n");
  EXPECT_EQ(Output({"verify", dir_ / "good/model.onnx"}), dir_ / "good/model.onnx" + ": ok\n");
}

TEST_F(ModelToolTest, VerifySaysByHowMuchASampleMisses) {
  WriteVersion("bad", 0.5);
  const ProgramResult result = Run({"verify", dir_ / "bad"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(Lines(result.output).size(), 1u);
  EXPECT_THAT(result.output, StartsWith(dir_ / "bad" + ": golden sample \"test_data_set_0\""));
  EXPECT_THAT(result.output, HasSubstr("element [0,0] is 3, expected 3.5"));
  Output({"verify", dir_ / "bad", "--atol=0.6"});
  Output({"verify", dir_ / "bad", "--rtol=0.2"});
}

TEST_F(ModelToolTest, VerifyPrintsJson) {
  WriteVersion("good", 0);
  WriteVersion("bad", 0.5);
  const ProgramResult result =
      Run({"verify", "--json", dir_ / "good", dir_ / "bad", dir_ / "none"});
  EXPECT_EQ(result.exit_code, 1);
  const auto lines = Lines(result.output);
  ASSERT_EQ(lines.size(), 3u);
  for (const std::string& line : lines) {
    EXPECT_THAT(Keys(nlohmann::ordered_json::parse(line)),
                ElementsAre("path", "ok", "reason", "max_abs_error", "max_rel_error"));
  }
  const auto good = nlohmann::json::parse(lines[0]), bad = nlohmann::json::parse(lines[1]),
             none = nlohmann::json::parse(lines[2]);
  EXPECT_EQ(good["path"], dir_ / "good");
  EXPECT_EQ(good["ok"], true);
  EXPECT_EQ(good["reason"], "");
  EXPECT_EQ(good["max_abs_error"], 0.0);
  EXPECT_EQ(bad["ok"], false);
  EXPECT_NEAR(bad["max_abs_error"].get<double>(), 0.5, 1e-6);
  EXPECT_NEAR(bad["max_rel_error"].get<double>(), 0.5 / 3.5, 1e-6);
  EXPECT_THAT(none["reason"].get<std::string>(), HasSubstr("no such file"));
  EXPECT_TRUE(none["max_abs_error"].is_null());
}

TEST_F(ModelToolTest, VerifyWalksModelsAndRepositories) {
  WriteVersion("repo/a/2", 0);
  WriteVersion("repo/a/10", 0.5);
  WriteVersion("repo/b/1", 0);
  fs::create_directories(dir_ / "repo/b/.tmp-1");
  fs::create_directories(dir_ / "repo/c");
  fs::create_directories(dir_ / "repo/d/4");
  const auto starts = [&](const std::string& path) {
    std::vector<std::string> lines = Lines(Run({"verify", path}).output);
    for (std::string& line : lines)
      line = line.substr(path.size(), line.find(": ") - path.size() + 4);
    return lines;
  };
  EXPECT_THAT(starts(dir_ / "repo"),
              ElementsAre("/a/2: ok", "/a/10: go", "/b/1: ok", "/c: mo", "/d/4: it"));
  EXPECT_THAT(starts(dir_ / "repo/a"), ElementsAre("/2: ok", "/10: go"));
  fs::create_directories(dir_ / "empty");
  EXPECT_EQ(Run({"verify", dir_ / "empty"}).exit_code, 1);
}

TEST_F(ModelToolTest, VerifyChecksTheManifest) {
  Output({"publish", dir_ / "affine.onnx", dir_ / "repo/m", "--samples=random"});
  EXPECT_EQ(Output({"verify", dir_ / "repo"}), dir_ / "repo/m/1" + ": ok\n");
  Write("repo/m/1/model.onnx", AffineModel(2, 2));
  const ProgramResult result = Run({"verify", dir_ / "repo"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("model.onnx: sha256 is"));
  Write("repo/m/1/manifest.json", "{");
  EXPECT_THAT(Run({"verify", dir_ / "repo"}).output, HasSubstr("manifest.json"));
}

TEST_F(ModelToolTest, RunsAModelOnFiles) {
  const Tensor x = Tensor::From<float>({2, 4}, {0, 1, 2, 3, 4, 5, 6, 7});
  ASSERT_TRUE(WriteNpyFile(dir_ / "x.npy", x.view()).ok());
  WriteTensor("x.pb", x);
  for (const char* file : {"x.npy", "x.pb"}) {
    const std::string output = Output({"run", dir_ / "affine.onnx", "--input", "x=" + dir_ / file,
                                       "--output-dir", dir_ / "out/deep", "--threads=1"});
    EXPECT_EQ(output, "y: float[2,4] -> " + dir_ / "out/deep/y.npy" + "\n");
    const auto y = ReadNpyFile(dir_ / "out/deep/y.npy");
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_EQ(y->shape(), (Shape{2, 4}));
    EXPECT_THAT(y->values<float>(), ElementsAre(1, 3, 5, 7, 9, 11, 13, 15));
    fs::remove_all(dir_ / "out");
  }
}

TEST_F(ModelToolTest, RunNamesTheInputThatIsWrong) {
  WriteTensor("wide.pb", Tensor(DataType::kFloat, {2, 5}));
  WriteTensor("ints.pb", Tensor(DataType::kInt32, {2, 4}));
  WriteTensor("flat.pb", Tensor(DataType::kFloat, {4}));
  Write("noise.npy", "noise");
  const auto error = [&](const std::vector<std::string>& inputs) {
    std::vector<std::string> arguments = {"run", dir_ / "affine.onnx", "--output-dir", dir_ / "o"};
    for (const std::string& input : inputs) arguments.push_back("--input=" + input);
    return Error(1, arguments);
  };
  EXPECT_THAT(error({}), HasSubstr("input \"x\" float[batch,4] is missing"));
  EXPECT_THAT(error({"z=" + dir_ / "flat.pb"}), HasSubstr("no input \"z\"; its inputs are \"x\""));
  EXPECT_THAT(error({"x=" + dir_ / "wide.pb"}),
              HasSubstr("input \"x\": got float[2,5], expected float[batch,4]"));
  EXPECT_THAT(error({"x=" + dir_ / "ints.pb"}), HasSubstr("got int32[2,4]"));
  EXPECT_THAT(error({"x=" + dir_ / "flat.pb"}), HasSubstr("got float[4]"));
  EXPECT_THAT(error({"x=" + dir_ / "none.pb"}), HasSubstr(dir_ / "none.pb"));
  EXPECT_THAT(error({"x=" + dir_ / "noise.npy"}), HasSubstr(dir_ / "noise.npy"));
  EXPECT_FALSE(fs::exists(dir_ / "o"));
}

TEST_F(ModelToolTest, RunKeepsOutputNamesInsideTheDirectory) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {2});
  m.Node("Relu", {"x"}, {"../a/b"});
  m.Output("../a/b", DataType::kFloat, {2});
  Write("m.onnx", m.Build());
  WriteTensor("x.pb", Tensor::From<float>({2}, {-1, 1}));
  Output({"run", dir_ / "m.onnx", "--input=x=" + dir_ / "x.pb", "--output-dir", dir_ / "o"});
  EXPECT_TRUE(fs::exists(dir_ / "o/.._a_b.npy"));
}

TEST_F(ModelToolTest, RunReportsAPrecisionThatIsNotSupported) {
  EXPECT_THAT(Error(1, {"bench", dir_ / "affine.onnx", "--precision=int8"}),
              HasSubstr("precision int8: the model has no quantized products"));
}

TEST_F(ModelToolTest, ShowsAModel) {
  const std::string text = Output({"show", dir_ / "affine.onnx"});
  for (const char* part : {"opset       ai.onnx 17", "input       x float[batch,4]",
                           "output      y float[batch,4]", "parameters  2 (8 bytes)",
                           "operator    Mul x 1", "operator    Add x 1", "runs        yes"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  const auto json = nlohmann::json::parse(Output({"show", dir_ / "affine.onnx", "--json"}));
  EXPECT_EQ(json["parameters"], 2);
  EXPECT_EQ(json["parameter_bytes"], 8);
  EXPECT_EQ(json["opsets"][0]["version"], 17);
  EXPECT_EQ(json["inputs"][0],
            (nlohmann::json{{"name", "x"}, {"type", "float"}, {"shape", {"batch", 4}}}));
  EXPECT_EQ(json["runs"], true);
  EXPECT_EQ(json["reason"], "");
}

TEST_F(ModelToolTest, ShowsWhatWouldNotRun) {
  Write("odd.onnx", baton::testing::UnsupportedModel());
  const auto json = nlohmann::json::parse(Output({"show", dir_ / "odd.onnx", "--json"}));
  EXPECT_EQ(json["runs"], false);
  EXPECT_THAT(json["reason"].get<std::string>(), HasSubstr("Frobnicate"));
  EXPECT_EQ(json["operators"][0],
            (nlohmann::json{{"domain", "com.example"}, {"operator", "Frobnicate"}, {"count", 1}}));
  EXPECT_EQ(json["inputs"][0]["shape"], (nlohmann::json{"batch", 4}));
  EXPECT_THAT(Output({"show", dir_ / "odd.onnx"}), HasSubstr("runs        no: "));
}

TEST_F(ModelToolTest, BenchesBatchSizes) {
  const std::string output = Output({"bench", dir_ / "affine.onnx", "--batch=1,8", "--workers=2",
                                     "--threads=1", "--seconds=0.02", "--json"});
  const auto lines = Lines(output);
  ASSERT_EQ(lines.size(), 2u);
  const int64_t batches[] = {1, 8};
  for (size_t i = 0; i < 2; ++i) {
    const auto object = nlohmann::ordered_json::parse(lines[i]);
    EXPECT_THAT(Keys(object), ElementsAre("batch", "threads", "workers", "precision", "items_per_s",
                                          "latency_ms", "peak_rss_mb", "load_ms"));
    EXPECT_EQ(object["batch"], batches[i]);
    EXPECT_EQ(object["threads"], 1);
    EXPECT_EQ(object["workers"], 2);
    EXPECT_EQ(object["precision"], "f32");
    EXPECT_GT(object["items_per_s"].get<double>(), 0);
    EXPECT_GT(object["peak_rss_mb"].get<double>(), 1);
    const auto& latency = object["latency_ms"];
    EXPECT_EQ(latency.size(), 4u);
    EXPECT_GT(latency["min"].get<double>(), 0);
    EXPECT_LE(latency["min"].get<double>(), latency["p50"].get<double>());
    EXPECT_LE(latency["p50"].get<double>(), latency["p90"].get<double>());
    EXPECT_LE(latency["p90"].get<double>(), latency["p99"].get<double>());
  }
}

TEST_F(ModelToolTest, BenchPrintsATableAndAProfile) {
  const std::string text =
      Output({"bench", dir_ / "affine.onnx", "--seconds=0.02", "--profile", "--threads=1"});
  EXPECT_THAT(text, HasSubstr("items/s"));
  EXPECT_THAT(text, HasSubstr("GFLOP/s"));
  EXPECT_THAT(text, HasSubstr("Mul_0"));
  EXPECT_THAT(text, HasSubstr("Add_1"));
  const ProgramResult json =
      Run({"bench", dir_ / "affine.onnx", "--seconds=0.02", "--profile", "--json"});
  EXPECT_EQ(Lines(json.output).size(), 1u) << "standard output has the objects only";
  EXPECT_THAT(json.errors, HasSubstr("GFLOP/s"));
}

TEST_F(ModelToolTest, BenchAsksForTheDimensionsItCannotKnow) {
  Write("seq.onnx", SequenceModel());
  const std::string error = Error(1, {"bench", dir_ / "seq.onnx"});
  EXPECT_THAT(error, HasSubstr("--dim seq=N"));
  EXPECT_THAT(error, HasSubstr("--dim x:2=N"));
  Output({"bench", dir_ / "seq.onnx", "--dim=seq=3", "--dim", "x:2=2", "--seconds=0.01"});
  EXPECT_THAT(Error(1, {"bench", dir_ / "seq.onnx", "--dim=seq=3", "--dim=x:2=2", "--dim=sq=1"}),
              HasSubstr("called \"sq\""));
  EXPECT_THAT(Error(1, {"bench", dir_ / "seq.onnx", "--dim=seq=1000000000000", "--dim=x:2=100"}),
              HasSubstr("memory"));
}

TEST_F(ModelToolTest, BenchTakesAFixedBatchAsItIs) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {3, 2});
  m.Node("Relu", {"x"}, {"y"});
  m.Output("y", DataType::kFloat, {3, 2});
  Write("fixed.onnx", m.Build());
  const auto json =
      nlohmann::json::parse(Output({"bench", dir_ / "fixed.onnx", "--seconds=0.01", "--json"}));
  EXPECT_EQ(json["batch"], 3);
  EXPECT_THAT(Error(1, {"bench", dir_ / "fixed.onnx", "--batch=1"}),
              HasSubstr("fixed batch size 3"));
}

TEST_F(ModelToolTest, PublishesVersions) {
  const std::string model = dir_ / "affine.onnx", target = dir_ / "repo/m";
  EXPECT_EQ(Output({"publish", model, target}), target + "/1\n");
  EXPECT_FALSE(fs::exists(target + "/1/test_data_set_0"));
  EXPECT_EQ(Output({"publish", model, target + "/", "--samples=random"}), target + "/2\n");
  const auto x = ReadTensorProtoFile(target + "/2/test_data_set_0/input_0.pb");
  const auto y = ReadTensorProtoFile(target + "/2/test_data_set_0/output_0.pb");
  ASSERT_TRUE(x.ok() && y.ok()) << x.status() << y.status();
  EXPECT_EQ(x->name, "x");
  EXPECT_EQ(y->tensor.values<float>()[3], 2 * x->tensor.values<float>()[3] + 1);
  EXPECT_EQ(Output({"publish", model, target, "--version=9", "--keep-last=2"}), target + "/9\n");
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(target)) names.insert(entry.path().filename());
  EXPECT_THAT(names, ElementsAre("2", "9"));
  EXPECT_THAT(Error(1, {"publish", model, target, "--version=9"}), HasSubstr("exists already"));
}

TEST_F(ModelToolTest, PublishTakesSamplesFromADirectoryOrBesideTheModel) {
  WriteVersion("good", 0);
  WriteVersion("bad", 0.5);
  Output({"publish", dir_ / "good", dir_ / "repo/beside"});
  EXPECT_TRUE(fs::exists(dir_ / "repo/beside/1/test_data_set_0/output_0.pb"));
  Output({"publish", dir_ / "affine.onnx", dir_ / "repo/given", "--samples", dir_ / "good"});
  EXPECT_TRUE(fs::exists(dir_ / "repo/given/1/test_data_set_0/output_0.pb"));
  EXPECT_THAT(
      Error(1, {"publish", dir_ / "affine.onnx", dir_ / "repo/m", "--samples", dir_ / "bad"}),
      HasSubstr("expected 3.5"));
  EXPECT_THAT(
      Error(1, {"publish", dir_ / "affine.onnx", dir_ / "repo/m", "--samples", dir_ / "repo"}),
      HasSubstr("no test_data_set_*"));
  EXPECT_FALSE(fs::exists(dir_ / "repo/m"));
}

TEST_F(ModelToolTest, PublishRefusesWhatWouldNotServe) {
  Write("odd.onnx", baton::testing::UnsupportedModel());
  EXPECT_THAT(Error(1, {"publish", dir_ / "odd.onnx", dir_ / "repo/m"}), HasSubstr("Frobnicate"));
  EXPECT_FALSE(fs::exists(dir_ / "repo"));
}

}  // namespace
}  // namespace baton

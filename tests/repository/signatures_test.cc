#include "server/repository/signatures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "server/repository/model_config.h"
#include "tests/repository/write_file.h"
#include "tests/support/temp_dir.h"

namespace baton::repository {
namespace {

using ::baton::testing::TempDir;
using ::baton::testing::WriteAt;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(ParseSignatures, ReadsEveryMethod) {
  const auto signatures = ParseSignatures(R"({
    "serving_default": {"inputs": {"x": "image", "k": {"name": "keep", "default": 0.5}},
                        "outputs": {"y": "scores", "z": "other"}},
    "some": {"method": "predict", "outputs": ["y"]},
    "which": {"method": "classify", "inputs": {"x": {"feature": "pixels", "default": [1, 2]}},
              "scores": "y", "labels": ["no", "yes"]},
    "named": {"method": "classify", "classes": "z"},
    "how_much": {"method": "regress", "inputs": {"t": {"default": ["a"]}}, "output": "y"}})");
  ASSERT_TRUE(signatures.ok()) << signatures.status();
  const Signature& predict = signatures->at("serving_default");
  EXPECT_EQ(predict.method, SignatureMethod::kPredict);
  EXPECT_EQ(predict.inputs.at("x").source, "image");
  EXPECT_FALSE(predict.inputs.at("x").missing.has_value());
  EXPECT_EQ(predict.inputs.at("k").source, "keep");
  EXPECT_EQ(predict.inputs.at("k").missing, DefaultValues(std::vector<double>{0.5}));
  EXPECT_THAT(predict.outputs, ElementsAre(Pair("y", "scores"), Pair("z", "other")));
  EXPECT_THAT(signatures->at("some").outputs, ElementsAre(Pair("y", "y")));
  const Signature& which = signatures->at("which");
  EXPECT_EQ(which.method, SignatureMethod::kClassify);
  EXPECT_EQ(which.inputs.at("x").source, "pixels");
  EXPECT_EQ(which.inputs.at("x").missing, DefaultValues(std::vector<int64_t>{1, 2}));
  EXPECT_EQ(which.scores, "y");
  EXPECT_THAT(which.labels, ElementsAre("no", "yes"));
  EXPECT_EQ(signatures->at("named").classes, "z");
  const Signature& regress = signatures->at("how_much");
  EXPECT_EQ(regress.method, SignatureMethod::kRegress);
  EXPECT_EQ(regress.inputs.at("t").source, "t");
  EXPECT_EQ(regress.inputs.at("t").missing, DefaultValues(std::vector<std::string>{"a"}));
  EXPECT_EQ(regress.output, "y");
}

struct WrongText {
  const char* json;
  const char* words;
};

class WrongSignatures : public ::testing::TestWithParam<WrongText> {};

TEST_P(WrongSignatures, AreNamedWithWhatIsExpected) {
  const auto status = ParseSignatures(GetParam().json).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Texts, WrongSignatures,
    ::testing::Values(
        WrongText{"{", "it is not JSON"}, WrongText{"[]", "expected an object"},
        WrongText{R"({"": {}})", "empty name"},
        WrongText{R"({"a": 3})", "signature \"a\": it is 3; expected an object"},
        WrongText{R"({"a": {"method": "clasify"}})",
                  "\"method\" is \"clasify\"; expected \"predict\", \"classify\" or \"regress\""},
        WrongText{R"({"a": {"method": 1}})", "\"method\" is 1"},
        WrongText{R"({"a": {"output": "y"}})", "did you mean \"outputs\"?"},
        WrongText{R"({"a": {"method": "regress", "labels": ["x"]}})", "unknown key \"labels\""},
        WrongText{R"({"a": {"inputs": ["x"]}})", "\"inputs\" is [\"x\"]; expected an object"},
        WrongText{R"({"a": {"inputs": {"x": 3}}})", "\"inputs.x\" is 3"},
        WrongText{R"({"a": {"inputs": {"x": {"feature": "f"}}}})", "unknown key \"feature\""},
        WrongText{R"({"a": {"inputs": {"x": {"default": []}}}})", "\"default\" is []"},
        WrongText{R"({"a": {"inputs": {"x": {"default": [1, "b"]}}}})", "\"default\" is [1,\"b\"]"},
        WrongText{R"({"a": {"inputs": {"x": {"default": null}}}})", "\"default\" is null"},
        WrongText{R"({"a": {"outputs": {}}})", "\"outputs\" is {}"},
        WrongText{R"({"a": {"outputs": {"y": "n", "z": "n"}}})", "\"outputs\" has \"n\" twice"},
        WrongText{R"({"a": {"method": "classify", "labels": []}})", "\"labels\" is []"},
        WrongText{R"({"a": {"method": "classify", "scores": ""}})", "\"scores\" is \"\""},
        WrongText{R"({"a": {"method": "classify", "labels": ["l"], "labels_file": "f"}})",
                  "one of \"classes\", \"labels\" and \"labels_file\""}));

class CheckSignaturesTest : public ::testing::Test {
 protected:
  static absl::Status Check(const std::string& json) {
    const auto signatures = ParseSignatures(json);
    EXPECT_TRUE(signatures.ok()) << signatures.status();
    const std::vector<TensorSpec> inputs = {
        {"x", DataType::kFloat, true, {-1, 4}},
        {"n", DataType::kInt32, true, {-1}},
        {"s", DataType::kString, true, {-1, 2}},
    };
    const std::vector<TensorSpec> outputs = {
        {"scores", DataType::kFloat, true, {-1, 3}},
        {"value", DataType::kDouble, true, {-1, 1}},
        {"names", DataType::kString, true, {-1, 3}},
        {"count", DataType::kInt64, true, {-1}},
    };
    return CheckSignatures(*signatures, inputs, outputs);
  }
  static void ExpectWrong(const std::string& json, const std::string& words) {
    const absl::Status status = Check(json);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << json;
    EXPECT_THAT(status.message(), HasSubstr(words));
    EXPECT_THAT(status.message(), HasSubstr("signature \"a\": "));
  }
};

TEST_F(CheckSignaturesTest, WhatFitsIsFine) {
  EXPECT_EQ(Check(R"({
    "a": {"inputs": {"x": {"name": "n2", "default": 1}, "s": {"default": "?"}},
          "outputs": {"count": "c"}},
    "b": {"method": "classify", "scores": "scores", "labels": ["i", "j", "k"],
          "inputs": {"x": {"default": [1, 2, 3, 4.5]}, "n": {"feature": "x", "default": 2}}},
    "c": {"method": "classify", "classes": "names"},
    "d": {"method": "classify", "classes": "names", "scores": "scores"},
    "e": {"method": "regress", "output": "value"}})"),
            absl::OkStatus());
}

TEST_F(CheckSignaturesTest, WhatDoesNotFitIsNamed) {
  ExpectWrong(R"({"a": {"inputs": {"X": "x"}}})",
              "the model has no input \"X\" (did you mean \"x\"?)");
  ExpectWrong(R"({"a": {"inputs": {"x": "n"}}})", "two inputs are called \"n\"");
  ExpectWrong(R"({"a": {"outputs": ["elsewhere"]}})",
              "the model has no output \"elsewhere\"; it has \"scores\"");
  ExpectWrong(R"({"a": {"inputs": {"x": {"default": "a"}}}})",
              "the default of input \"x\" (float[?,4]) is a string");
  ExpectWrong(R"({"a": {"inputs": {"n": {"default": 1.5}}}})", "not whole");
  ExpectWrong(R"({"a": {"inputs": {"s": {"default": 1}}}})", "\"s\" (string[?,2]) is a number");
  ExpectWrong(R"({"a": {"inputs": {"x": {"default": [1, 2, 3]}}}})",
              "has 3 values; expected 1 or 4");
  ExpectWrong(R"({"a": {"method": "classify"}})", "several outputs; name one with \"scores\"");
  ExpectWrong(R"({"a": {"method": "classify", "scores": "count"}})",
              "output \"count\" (int64[?]) cannot be scores");
  ExpectWrong(R"({"a": {"method": "classify", "classes": "scores"}})", "cannot be classes");
  ExpectWrong(R"({"a": {"method": "classify", "scores": "scores", "labels": ["one"]}})",
              "\"labels\" has 1 labels; output \"scores\" (float[?,3]) has 3 classes");
  ExpectWrong(R"({"a": {"method": "regress"}})", "several outputs; name one with \"output\"");
  ExpectWrong(R"({"a": {"method": "regress", "output": "scores"}})", "cannot be a regression");
  ExpectWrong(R"({"a": {"method": "regress", "output": "count"}})", "cannot be a regression");
}

TEST(ReadLabels, HasOneForEachLine) {
  const TempDir directory;
  WriteAt(directory / "labels.txt", "cat\r\nbig dog\n\nlast\n");
  const auto labels = ReadLabels(directory.path(), "labels.txt");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_THAT(*labels, ElementsAre("cat", "big dog", "", "last"));
}

TEST(ReadLabels, StaysInTheModelsDirectory) {
  const TempDir directory;
  const TempDir outside;
  WriteAt(outside / "secret", "a\n");
  ASSERT_EQ(symlink((outside / "secret").c_str(), (directory / "link").c_str()), 0);
  WriteAt(directory / "empty", "");
  EXPECT_TRUE(absl::IsInvalidArgument(ReadLabels(directory.path(), "../x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadLabels(directory.path(), outside / "secret").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadLabels(directory.path(), "link").status()));
  EXPECT_THAT(ReadLabels(directory.path(), "empty").status().message(), HasSubstr("is empty"));
  EXPECT_TRUE(absl::IsNotFound(ReadLabels(directory.path(), "none").status()));
}

TEST(ReadModelConfig, ReadsSignaturesAndLabels) {
  const TempDir directory;
  WriteAt(directory / "outputs.txt", "a\nb\n");
  WriteAt(directory / "signature.txt", "c\nd\n");
  WriteAt(directory / "config.pbtxt", R"(
    output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "outputs.txt" }
    parameters { key: "signatures" value { string_value:
      "{\"which\": {\"method\": \"classify\", \"labels_file\": \"signature.txt\"}}" } })");
  auto config = ReadModelConfig(directory.path(), "m");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->warnings, IsEmpty());
  EXPECT_THAT(config->class_labels.at("y"), ElementsAre("a", "b"));
  EXPECT_THAT(config->signatures.at("which").labels, ElementsAre("c", "d"));
  const std::vector<TensorSpec> inputs = {{"x", DataType::kFloat, true, {-1, 2}}};
  EXPECT_EQ(CheckAgainstSignature(*config, inputs, {{"y", DataType::kFloat, true, {-1, 2}}}),
            absl::OkStatus());
  config->outputs.clear();
  const absl::Status wrong =
      CheckAgainstSignature(*config, inputs, {{"y", DataType::kFloat, true, {-1, 3}}});
  EXPECT_THAT(wrong.message(),
              HasSubstr("parameters[signatures]: signature \"which\": signature.txt has 2 labels"));

  std::filesystem::remove(directory / "signature.txt");
  const absl::Status missing = ReadModelConfig(directory.path(), "m").status();
  EXPECT_THAT(missing.message(), HasSubstr("labels_file of signature \"which\""));
  std::filesystem::remove(directory / "outputs.txt");
  EXPECT_THAT(ReadModelConfig(directory.path(), "m").status().message(),
              HasSubstr("label_filename of output \"y\""));
}

TEST(ReadModelConfig, NamesAWrongSignatureAndWhereItIs) {
  const TempDir directory;
  WriteAt(directory / "config.pbtxt",
          R"(parameters { key: "signatures" value { string_value: "{\"a\": 3}" } })");
  const absl::Status status = ReadModelConfig(directory.path(), "m").status();
  EXPECT_THAT(status.message(), HasSubstr("config.pbtxt: parameters[signatures]: signature \"a\""));
}

}  // namespace
}  // namespace baton::repository

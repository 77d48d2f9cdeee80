#include "server/api/rest_tfs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::Info;
using ::baton::testing::TestServable;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class RestTfs : public baton::testing::ApiTest {
 protected:
  struct Reply {
    int code;
    std::string body;
    std::string error() const { return json::parse(body).value("error", ""); }
  };
  Reply Post(const std::string& path, const std::string& body) {
    const httplib::Result result = Http().Post(path, body, "application/json");
    if (!result) return {0, httplib::to_string(result.error())};
    return {result->status, result->body};
  }
  Reply Get(const std::string& path) {
    const httplib::Result result = Http().Get(path);
    if (!result) return {0, httplib::to_string(result.error())};
    return {result->status, result->body};
  }
  // Inputs "a" float[?,2] and "s" string[?]; outputs "sum" float[?] = the sum of a row of "a", and
  // "s_bytes" = "s".
  void PublishTwo(const std::string& model) {
    auto servable = std::make_shared<TestServable>(
        model, 1,
        engine::Signature{
            {Info("a", DataType::kFloat, {-1, 2}), Info("s", DataType::kString, {-1})},
            {Info("sum", DataType::kFloat, {-1}), Info("s_bytes", DataType::kString, {-1})}},
        8);
    servable->set_run([](const serving::Task& task) {
      const auto a = task.inputs[0].values<float>();
      Tensor sum(DataType::kFloat, {task.rows});
      for (size_t i = 0; i < a.size(); ++i) sum.mutable_values<float>()[i / 2] += a[i];
      const TensorView outputs[] = {sum.view(), task.inputs[1]};
      task.done(absl::OkStatus(), outputs, {});
    });
    Publish(servable);
  }
};

TEST_F(RestTfs, PredictsRowsAndColumns) {
  PublishAffine("m", 1, 0.5f);
  Reply reply = Post("/v1/models/m:predict", R"({"instances": [[1, 2, 3, 4], [0.05, 0, 0, 0]]})");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.body, "{\"predictions\":[[2.5,4.5,6.5,8.5],[0.6,0.5,0.5,0.5]]}\n");
  reply = Post("/v1/models/m:predict", R"({"inputs": {"x": [[1, 2, 3, 4]]}})");
  EXPECT_EQ(reply.body, "{\"outputs\":[[2.5,4.5,6.5,8.5]]}\n");
  reply = Post("/v1/models/m:predict",
               R"({"signature_name": "serving_default", "inputs": [[1, 2, 3, 4]]})");
  EXPECT_EQ(reply.code, 200);
}

TEST_F(RestTfs, PredictsWithSeveralInputsAndOutputs) {
  PublishTwo("m");
  Reply reply =
      Post("/v1/models/m:predict",
           R"({"instances": [{"a": [1, 2], "s": "x"}, {"a": [3, 4], "s": {"b64": "/w=="}}]})");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(json::parse(reply.body), json::parse(R"({"predictions": [
      {"sum": 3.0, "s_bytes": {"b64": "eA=="}}, {"sum": 7.0, "s_bytes": {"b64": "/w=="}}]})"));
  reply = Post("/v1/models/m:predict", R"({"inputs": {"a": [[1, 2]], "s": ["x"]}})");
  EXPECT_EQ(json::parse(reply.body),
            json::parse(R"({"outputs": {"sum": [3.0], "s_bytes": [{"b64": "eA=="}]}})"));
}

TEST_F(RestTfs, ChoosesVersionsAndLabels) {
  PublishAffine("m", 1, 1);
  PublishAffine("m", 2, 2);
  models_->registry().SetLabels("m", {{"stable", 1}});
  const std::string body = R"({"instances": [[0, 0, 0, 0]]})";
  const auto first = [&](const std::string& model) {
    const Reply reply = Post(absl::StrCat("/v1/models/", model, ":predict"), body);
    return reply.code == 200 ? json::parse(reply.body)["predictions"][0][0].get<int>()
                             : -reply.code;
  };
  EXPECT_EQ(first("m"), 2);
  EXPECT_EQ(first("m/versions/1"), 1);
  EXPECT_EQ(first("m/labels/stable"), 1);
  EXPECT_EQ(first("m/versions/3"), -404);
  EXPECT_EQ(first("m/labels/other"), -404);
  EXPECT_EQ(first("m/versions/stable"), -400);
  EXPECT_EQ(first("nope"), -404);
}

TEST_F(RestTfs, WrongRequestsGetTheRightCodeAndAreNamed) {
  PublishAffine("m", 1, 0);
  PublishTwo("two");
  Fail("broken", 4, absl::InvalidArgumentError("node \"c\": operator Foo is not supported"));
  const auto expect = [&](const std::string& model, const std::string& body, int code,
                          const std::string& text) {
    const Reply reply = Post(absl::StrCat("/v1/models/", model, ":predict"), body);
    EXPECT_EQ(reply.code, code) << body;
    EXPECT_THAT(reply.error(), HasSubstr(text)) << body;
  };
  expect("m", "", 400, "model \"m\" version 1: malformed JSON at line 1, column 1");
  expect("m", "{", 400, "column 2");
  expect("m", R"({"instances": [[1, 2, 3]]})", 400, "sent DT_FLOAT[1,3], expected DT_FLOAT[?,4]");
  expect("m", R"({"instances": [["a"]]})", 400, "input \"x\" (DT_FLOAT): at line 1, column 17");
  expect("m", R"({"instances": [{"X": [1]}]})", 400, "did you mean \"x\"?");
  expect("m", R"({"inputs": {}})", 400, "input \"x\" is missing");
  expect("m", R"({"inputs": []})", 400, "rank is 1, must be 2");
  expect("m", R"({"instances": [[1,2,3,4]], "signature_name": "s"})", 400, "\"s\"");
  expect("two", R"({"instances": [[1, 2]]})", 400, "there are 2 inputs");
  expect("two", R"({"instances": [{"a": [1, 2]}]})", 400, "input \"s\" is missing");
  expect("broken", R"({"instances": [[1]]})", 503, "operator Foo");
  std::string nine = R"({"instances": [[1,2,3,4])";
  for (int i = 0; i < 8; ++i) nine += ",[1,2,3,4]";
  expect("m", nine + "]}", 400, "at most 8 are allowed");
}

TEST_F(RestTfs, CountsRequestsByCode) {
  PublishAffine("m", 1, 0);
  Post("/v1/models/m:predict", R"({"instances": [[1, 2, 3, 4]]})");
  Post("/v1/models/m:predict", "{");
  Post("/v1/models/m:predict", R"({"instances": [[1]]})");
  Post("/v1/models/nope:predict", "{}");
  const std::string metrics = Get("/metrics").body;
  const auto line = [&](const std::string& model, const std::string& code) {
    for (const absl::string_view text : absl::StrSplit(metrics, '\n')) {
      if (absl::StrContains(text, "baton_requests_total{") &&
          absl::StrContains(text, absl::StrCat("code=\"", code, "\"")) &&
          absl::StrContains(text, absl::StrCat("model=\"", model, "\"")) &&
          absl::StrContains(text, "method=\"rest_predict\"")) {
        return std::string(text.substr(text.rfind(' ') + 1));
      }
    }
    return std::string("none");
  };
  EXPECT_EQ(line("m", "OK"), "1");
  EXPECT_EQ(line("m", "INVALID_ARGUMENT"), "2");
  EXPECT_EQ(line("", "NOT_FOUND"), "1");
}

TEST_F(RestTfs, ErrorsOfTheModelKeepTheirCode) {
  auto servable = std::make_shared<TestServable>("m", 1, baton::testing::AffineSignature(), 8);
  servable->set_refusal(absl::ResourceExhaustedError("the queue is full"));
  Publish(servable);
  const Reply reply = Post("/v1/models/m:predict", R"({"instances": [[1, 2, 3, 4]]})");
  EXPECT_EQ(reply.code, 429);
  EXPECT_THAT(reply.error(), HasSubstr("the queue is full"));
}

TEST_F(RestTfs, ClassifiesAndRegressesExamples) {
  auto servable =
      std::make_shared<TestServable>("m", 1,
                                     engine::Signature{{Info("x", DataType::kFloat, {-1, 1})},
                                                       {Info("y", DataType::kFloat, {-1, 1})}},
                                     8);
  servable->set_run([](const serving::Task& task) { baton::testing::RunAffine(task, 0.2f); });
  Publish(servable);
  Reply reply = Post("/v1/models/m:regress", R"({"examples": [{"x": 1.0}, {"x": [-2.0]}]})");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.body, "{\"results\":[2.2,-3.8]}\n");
  reply = Post("/v1/models/m:classify", R"({"examples": [{"x": 1.0}]})");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.body, "{\"results\":[[[\"0\",2.2]]]}\n");
  for (const char* call : {"regress", "classify"}) {
    const std::string path = absl::StrCat("/v1/models/m:", call);
    reply = Post(path, R"({"examples": [{"x": [1.0, "a"]}]})");
    EXPECT_EQ(reply.code, 400);
    EXPECT_THAT(reply.error(), AllOf(HasSubstr("model \"m\" version 1"), HasSubstr("examples[0]"),
                                     HasSubstr("feature \"x\"")));
    EXPECT_EQ(Post(path, R"({"examples": [{"z": 1.0}]})").code, 400);
    EXPECT_EQ(Post(absl::StrCat("/v1/models/nope:", call), "{}").code, 404);
  }
}

TEST_F(RestTfs, MetadataDescribesSignatures) {
  PublishAffine("m", 3, 0);
  for (const char* path : {"/v1/models/m/metadata", "/v1/models/m/versions/3/metadata"}) {
    const Reply reply = Get(path);
    ASSERT_EQ(reply.code, 200) << reply.body;
    const json metadata = json::parse(reply.body);
    EXPECT_EQ(metadata["model_spec"]["name"], "m");
    EXPECT_EQ(metadata["model_spec"]["version"], "3");
    const json& signature =
        metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    EXPECT_EQ(signature["method_name"], "tensorflow/serving/predict");
    EXPECT_EQ(signature["inputs"]["x"]["dtype"], "DT_FLOAT");
    EXPECT_EQ(signature["inputs"]["x"]["tensor_shape"]["dim"][1]["size"], "4");
    EXPECT_EQ(signature["outputs"].size(), 1u);
  }
  EXPECT_EQ(Get("/v1/models/nope/metadata").code, 404);
  EXPECT_EQ(Get("/v1/models/m/versions/x/metadata").code, 400);
}

}  // namespace
}  // namespace baton::api

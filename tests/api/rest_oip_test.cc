#include "server/api/rest_oip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/base/version.h"
#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kJsonSize[] = "Inference-Header-Content-Length";

class RestOip : public baton::testing::ApiTest {
 protected:
  httplib::Response Post(const std::string& path, const std::string& body,
                         const httplib::Headers& headers = {}) {
    const httplib::Result result = Http().Post(path, headers, body, "application/json");
    return result ? *result : httplib::Response();
  }
  httplib::Response Get(const std::string& path) {
    const httplib::Result result = Http().Get(path);
    return result ? *result : httplib::Response();
  }
  static std::string Error(const httplib::Response& response) {
    return json::parse(response.body).value("error", "");
  }
  // A body whose input "x" is [[1,2,3,4]]; `more` follows the inputs.
  static std::string Body(const std::string& more = "") {
    return absl::StrCat(R"({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32",
                            "data": [1, 2, 3, 4]}])",
                        more, "}");
  }
};

TEST_F(RestOip, InfersFromJson) {
  PublishAffine("m", 3, 0.5f);
  const auto response = Post("/v2/models/m/infer", Body(R"(, "id": "17")"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.get_header_value("Content-Type"), "application/json");
  EXPECT_EQ(json::parse(response.body), json::parse(R"({
      "model_name": "m", "model_version": "3", "id": "17",
      "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4],
                   "data": [2.5, 4.5, 6.5, 8.5]}]})"));
  EXPECT_EQ(Post("/v2/models/m/versions/3/infer", Body()).status, 200);
}

TEST_F(RestOip, InfersFromBinaryToBinary) {
  PublishAffine("m", 1, 0.5f);
  const std::string head = R"({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32",
      "parameters": {"binary_data_size": 16}}], "parameters": {"binary_data_output": true}})";
  const float x[4] = {10, 20, 30, 40};
  const std::string body = head + std::string(reinterpret_cast<const char*>(x), sizeof(x));
  const auto response =
      Post("/v2/models/m/infer", body, {{kJsonSize, std::to_string(head.size())}});
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.get_header_value("Content-Type"), "application/octet-stream");
  const size_t size = std::stoul(response.get_header_value(kJsonSize));
  const json reply = json::parse(response.body.substr(0, size));
  EXPECT_EQ(reply["outputs"][0]["parameters"]["binary_data_size"], 16);
  float y[4] = {};
  ASSERT_EQ(response.body.size(), size + sizeof(y));
  std::memcpy(y, response.body.data() + size, sizeof(y));
  EXPECT_EQ(y[3], 80.5f);
}

TEST_F(RestOip, WrongRequestsGetTheRightCodeAndAreNamed) {
  PublishAffine("m", 1, 0);
  Fail("broken", 4, absl::InvalidArgumentError("node \"c\": operator Foo is not supported"));
  const auto expect = [&](const std::string& model, const std::string& body, int code,
                          const std::string& text, const httplib::Headers& headers = {}) {
    const auto response = Post(absl::StrCat("/v2/models/", model, "/infer"), body, headers);
    EXPECT_EQ(response.status, code) << body;
    EXPECT_THAT(Error(response), HasSubstr(text)) << body;
  };
  expect("nope", Body(), 404, "nope");
  expect("m/versions/7", Body(), 404, "version 7");
  expect("m/versions/newest", Body(), 404, "newest");
  expect("broken", Body(), 503, "operator Foo");
  expect("m", "{\"inputs\"", 400, "model \"m\" version 1: malformed JSON at line 1, column 10");
  expect("m", "{}", 400, "input \"x\" is missing");
  expect("m", Body(R"(, "outputs": [{"name": "z"}])"), 400, "no output named \"z\"");
  expect("m", Body(R"(, "parameters": {"timeout": "soon"})"), 400, "\"timeout\" must be");
  expect("m", R"({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64",
                              "data": [1, 2, 3, 4]}]})",
         400, "sent FP64[1,4], expected FP32[?,4]");
  expect("m", R"({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP8", "data": [1]}]})",
         400, "\"FP8\"");
  expect("m", R"({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32",
                              "parameters": {"shared_memory_region": "r"}}]})",
         501, "shared memory is not supported");
  expect("m", Body(), 400, "expected a number of bytes", {{kJsonSize, "many"}});
  expect("m", Body(), 400, "but the body has", {{kJsonSize, "100000"}});
  EXPECT_EQ(Post("/v2/models/m/infer", Body()).status, 200) << "the server goes on";
}

TEST_F(RestOip, TimeoutPriorityAndDeadlineTravelWithTheTask) {
  auto servable = PublishHeld("m");
  const auto arrived = std::chrono::steady_clock::now();
  std::thread client([&] {
    EXPECT_EQ(Post("/v2/models/m/infer", Body(R"(, "parameters": {"priority": 2,
                                                 "timeout": 3600000000})"))
                  .status,
              200);
  });
  serving::Task task = servable->Take();
  EXPECT_EQ(task.priority, 2);
  EXPECT_EQ(task.timeout, std::chrono::hours(1));
  EXPECT_LE(task.deadline, std::chrono::steady_clock::now() + std::chrono::seconds(30))
      << "--rest_api_timeout_in_ms";
  EXPECT_GE(task.deadline, arrived + std::chrono::seconds(30));
  EXPECT_FALSE(*task.cancelled);
  baton::testing::RunAffine(task, 0);
  client.join();
}

TEST_F(RestOip, ServerAndModelMetadata) {
  const json server = json::parse(Get("/v2").body);
  EXPECT_EQ(server["name"], "baton");
  EXPECT_EQ(server["version"], kBatonVersion);
  EXPECT_THAT(server["extensions"].dump(), HasSubstr("binary_tensor_data"));
  PublishAffine("m", 2, 0);
  PublishAffine("m", 3, 0);
  EXPECT_EQ(json::parse(Get("/v2/models/m").body), json::parse(R"({
      "name": "m", "versions": ["3", "2"], "platform": "onnxruntime_onnx",
      "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
      "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]})"));
  EXPECT_EQ(json::parse(Get("/v2/models/m/versions/2").body)["versions"], json::parse(R"(["2"])"));
  const auto unknown = Get("/v2/models/nope");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_THAT(Error(unknown), HasSubstr("nope"));
}

TEST_F(RestOip, ReadinessOfModels) {
  PublishAffine("m", 2, 0);
  Fail("m", 3, absl::InvalidArgumentError("not ONNX"));
  EXPECT_EQ(Get("/v2/models/m/ready").status, 200);
  EXPECT_EQ(Get("/v2/models/m/versions/2/ready").status, 200);
  const auto failed = Get("/v2/models/m/versions/3/ready");
  EXPECT_EQ(failed.status, 503);
  EXPECT_THAT(Error(failed), HasSubstr("not ONNX"));
  EXPECT_EQ(Get("/v2/models/nope/ready").status, 404);
}

TEST_F(RestOip, IndexShowsStatesAndReasons) {
  PublishAffine("m", 2, 0);
  Fail("m", 3, absl::InvalidArgumentError("not ONNX"));
  const json all = json::parse(Post("/v2/repository/index", "").body);
  EXPECT_EQ(all, json::parse(R"([
      {"name": "m", "version": "3", "state": "UNAVAILABLE", "reason": "not ONNX"},
      {"name": "m", "version": "2", "state": "READY", "reason": ""}])"));
  EXPECT_EQ(json::parse(Post("/v2/repository/index", R"({"ready": true})").body).size(), 1u);
  EXPECT_EQ(Post("/v2/repository/index", R"({"ready": 1})").status, 400);
}

TEST_F(RestOip, ConfigAndStatistics) {
  PublishAffine("m", 2, 0);
  const json config = json::parse(Get("/v2/models/m/config").body);
  EXPECT_EQ(config["name"], "m");
  EXPECT_EQ(config["input"][0]["name"], "x");
  ASSERT_EQ(Post("/v2/models/m/infer", Body()).status, 200);
  for (const char* path :
       {"/v2/models/m/stats", "/v2/models/m/versions/2/stats", "/v2/models/stats"}) {
    const json stats = json::parse(Get(path).body);
    ASSERT_EQ(stats["model_stats"].size(), 1u) << path;
    EXPECT_EQ(stats["model_stats"][0]["name"], "m");
    EXPECT_TRUE(stats["model_stats"][0]["inference_stats"]["success"]["count"].is_number());
  }
  EXPECT_EQ(Get("/v2/models/nope/config").status, 404);
  EXPECT_EQ(Get("/v2/models/nope/stats").status, 404);
}

}  // namespace
}  // namespace baton::api

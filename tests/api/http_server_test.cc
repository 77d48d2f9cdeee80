#include "server/api/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::baton::testing::AffineRequest;
using ::testing::AllOf;
using ::testing::HasSubstr;

class HttpServer : public baton::testing::ApiTest {
 protected:
  struct Reply {
    int code;
    std::string body;
  };
  Reply Get(const std::string& path) {
    const httplib::Result result = Http().Get(path);
    if (!result) return {0, httplib::to_string(result.error())};
    return {result->status, result->body};
  }
};

TEST_F(HttpServer, LivenessAndReadiness) {
  EXPECT_EQ(Get("/healthz").code, 200);
  EXPECT_EQ(Get("/v2/health/live").code, 200);
  // The repository is empty, and an empty server is not ready.
  EXPECT_EQ(Get("/readyz").code, 503);
  EXPECT_EQ(Get("/v2/health/ready").code, 503);
}

TEST_F(HttpServer, MetricsAreWhereTheConfigSays) {
  const auto code_of = [&](const HttpOptions& options, const char* path) {
    const auto server = api::HttpServer::Start(options, *models_);
    EXPECT_TRUE(server.ok()) << server.status();
    const auto result = httplib::Client("127.0.0.1", (*server)->port()).Get(path);
    return result ? result->status : 0;
  };
  HttpOptions options;
  options.port = 0;
  options.metrics_path = "/scrape";
  EXPECT_EQ(code_of(options, "/scrape"), 200);
  EXPECT_EQ(code_of(options, "/metrics"), 200);
  options.serve_metrics = false;
  EXPECT_EQ(code_of(options, "/scrape"), 404);
  EXPECT_EQ(code_of(options, "/metrics"), 404);
}

TEST_F(HttpServer, MetricsCountRequestsByCode) {
  PublishAffine("m", 1, 0);
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    tensorflow::serving::PredictResponse response;
    ASSERT_TRUE(prediction_->Predict(&context, AffineRequest("m", 1), &response).ok());
  }
  grpc::ClientContext wrong_context;
  inference::ModelInferResponse response;
  ASSERT_FALSE(inference_->ModelInfer(&wrong_context, AffineInfer("m", 9), &response).ok());
  for (const char* path : {"/metrics", "/monitoring/prometheus/metrics"}) {
    const Reply reply = Get(path);
    EXPECT_EQ(reply.code, 200);
    int predicts = 0;
    int refused = 0;
    for (const absl::string_view line : absl::StrSplit(reply.body, '\n')) {
      if (!absl::StartsWith(line, "baton_requests_total{")) continue;
      EXPECT_THAT(std::string(line), AllOf(HasSubstr("model=\"m\""), HasSubstr("version=\"1\"")));
      const std::pair<absl::string_view, absl::string_view> split =
          absl::StrSplit(line, absl::MaxSplits("} ", 1));
      int value = 0;
      ASSERT_TRUE(absl::SimpleAtoi(split.second, &value)) << line;
      (absl::StrContains(line, "method=\"Predict\"") ? predicts : refused) += value;
    }
    EXPECT_EQ(predicts, 3);
    EXPECT_EQ(refused, 1);
    EXPECT_THAT(reply.body, HasSubstr("baton_request_duration_seconds_bucket"));
  }
}

TEST_F(HttpServer, ModelStatesAsTensorFlowServingGivesThem) {
  PublishAffine("m", 2, 0);
  Fail("m", 3, absl::InvalidArgumentError("not \"ONNX\""));
  const Reply all = Get("/v1/models/m");
  ASSERT_EQ(all.code, 200);
  const nlohmann::json expected = nlohmann::json::parse(R"({"model_version_status": [
      {"version": "3", "state": "END",
       "status": {"error_code": "INVALID_ARGUMENT", "error_message": "not \"ONNX\""}},
      {"version": "2", "state": "AVAILABLE",
       "status": {"error_code": "OK", "error_message": ""}}]})");
  EXPECT_EQ(nlohmann::json::parse(all.body), expected);
  const Reply one = Get("/v1/models/m/versions/2");
  ASSERT_EQ(one.code, 200);
  EXPECT_EQ(nlohmann::json::parse(one.body)["model_version_status"].size(), 1u);
  models_->registry().SetLabels("m", {{"stable", 2}});
  EXPECT_EQ(Get("/v1/models/m/labels/stable").code, 200);
  EXPECT_EQ(Get("/v1/models/m/labels/other").code, 404);
  EXPECT_EQ(Get("/v1/models/m/versions/9").code, 404);
  EXPECT_EQ(Get("/v1/models/m/versions/latest").code, 400);
  const Reply unknown = Get("/v1/models/nope");
  EXPECT_EQ(unknown.code, 404);
  EXPECT_THAT(nlohmann::json::parse(unknown.body)["error"].get<std::string>(), HasSubstr("nope"));
}

TEST_F(HttpServer, OverviewListsModelsVersionsAndReasons) {
  PublishAffine("m", 2, 0);
  Fail("m", 3, absl::InvalidArgumentError("not ONNX"));
  const Reply reply = Get("/");
  EXPECT_EQ(reply.code, 200);
  EXPECT_THAT(reply.body, AllOf(HasSubstr("m\n  3  failed: not ONNX\n  2  ready\n")));
}

TEST_F(HttpServer, UnknownPathsAndMethods) {
  const Reply reply = Get("/nope");
  EXPECT_EQ(reply.code, 404);
  EXPECT_THAT(reply.body, HasSubstr("no such path: GET /nope"));
  const httplib::Result posted = Http().Post("/metrics", "x", "text/plain");
  ASSERT_TRUE(posted);
  EXPECT_GE(posted->status, 400);
}

TEST_F(HttpServer, IdleConnectionsDoNotStarveIt) {
  // Twice as many as there are threads; each has been answered and stays open on the client's side.
  std::vector<std::unique_ptr<httplib::Client>> idle;
  for (int i = 0; i < 4; ++i) {
    idle.push_back(std::make_unique<httplib::Client>("127.0.0.1", http_->port()));
    idle.back()->set_keep_alive(true);
    ASSERT_TRUE(idle.back()->Get("/healthz"));
  }
  EXPECT_EQ(Get("/healthz").code, 200);
}

TEST_F(HttpServer, APortInUseIsSaidClearly) {
  const auto second = api::HttpServer::Start({.port = http_->port()}, *models_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(absl::StrCat("port ", http_->port(), " is in use")),
                    HasSubstr("--rest_api_port")));
  EXPECT_EQ(api::HttpServer::Start({.port = 65536}, *models_).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(api::HttpServer::Start({.port = 0, .threads = 0}, *models_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace baton::api

// What one client can take from the others: connections, time, pings, headers; and what a name in a
// request can reach.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/api/api_fixture.h"
#include "tests/api/raw_client.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::baton::testing::RawClient;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kHealth[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
constexpr std::chrono::seconds kLimit(60);

class Limits : public baton::testing::ApiTest {
 protected:
  std::unique_ptr<api::HttpServer> StartHttp(HttpOptions options) {
    options.port = 0;
    auto server = api::HttpServer::Start(options, *models_);
    BATON_CHECK_MSG(server.ok(), server.status().ToString());
    return *std::move(server);
  }
  std::unique_ptr<api::GrpcServer> StartGrpc(GrpcOptions options) {
    options.port = 0;
    auto server = api::GrpcServer::Start(options, *models_);
    BATON_CHECK_MSG(server.ok(), server.status().ToString());
    return *std::move(server);
  }
  grpc::Status Live(const std::shared_ptr<grpc::Channel>& channel,
                    const std::string& metadata = "") {
    grpc::ClientContext context;
    if (!metadata.empty()) context.AddMetadata("x", metadata);
    inference::ServerLiveResponse response;
    return inference::GRPCInferenceService::NewStub(channel)->ServerLive(
        &context, inference::ServerLiveRequest(), &response);
  }
};

TEST_F(Limits, MoreConnectionsThanAllowedAreRefused) {
  const auto held = PublishHeld("m");
  const auto server = StartHttp({.threads = 4, .max_connections = 2});
  // Two that wait for a model, and so are not idle.
  const std::string body = R"({"instances": [[1, 2, 3, 4]]})";
  const std::string predict = absl::StrCat("POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n",
                                           "Content-Length: ", body.size(), "\r\n\r\n", body);
  std::vector<std::unique_ptr<RawClient>> clients;
  std::vector<serving::Task> tasks;
  for (int i = 0; i < 2; ++i) {
    clients.push_back(std::make_unique<RawClient>(server->port()));
    clients.back()->Send(predict);
    tasks.push_back(held->Take());
  }
  RawClient refused(server->port());
  EXPECT_THAT(refused.Receive(), AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("--max_connections")));
  EXPECT_TRUE(refused.Ended());
  for (const serving::Task& task : tasks) baton::testing::RunAffine(task, 0);
  for (const auto& client : clients) {
    EXPECT_THAT(client->Receive(), StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(Limits, AnIdleConnectionMakesRoomForANewOne) {
  const auto server = StartHttp({.threads = 4, .max_connections = 1});
  RawClient first(server->port());
  first.Send(kHealth);
  EXPECT_THAT(first.Receive(), StartsWith("HTTP/1.1 200"));
  // It is parked a little after its answer; until then there is no room.
  std::string reply;
  while (!absl::StartsWith(reply, "HTTP/1.1 200")) {
    RawClient second(server->port());
    second.Send(kHealth);
    reply = second.Receive();
  }
  EXPECT_TRUE(first.Ended());
}

TEST_F(Limits, IdleConnectionsAreClosed) {
  const auto http = StartHttp({.connection_idle_seconds = 1});
  RawClient client(http->port());
  client.Send(kHealth);
  EXPECT_THAT(client.Receive(), HasSubstr("Keep-Alive: timeout=1"));
  EXPECT_TRUE(client.Ended());

  GrpcOptions options;
  options.connection_idle_seconds = 1;
  const auto grpc = StartGrpc(options);
  const auto channel = grpc::CreateChannel(absl::StrCat("127.0.0.1:", grpc->port()),
                                           grpc::InsecureChannelCredentials());
  ASSERT_TRUE(Live(channel).ok());
  ASSERT_EQ(channel->GetState(false), GRPC_CHANNEL_READY);
  EXPECT_TRUE(
      channel->WaitForStateChange(GRPC_CHANNEL_READY, std::chrono::system_clock::now() + kLimit));
  EXPECT_TRUE(Live(channel).ok()) << "it connects again";
}

// HTTP/2 by hand: an empty SETTINGS frame and PINGs; gRPC's answer to too many is GOAWAY with this
// text.
TEST_F(Limits, AClientThatPingsTooOftenIsCutOff) {
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  const std::string ping("\0\0\x08\6\0\0\0\0\0pingpong", 17);
  RawClient client(grpc_->port());
  client.Send(absl::StrCat("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings));
  for (int i = 0; i < 100; ++i) client.Send(ping);
  EXPECT_THAT(client.ReceiveAll(), HasSubstr("too_many_pings"));
  EXPECT_TRUE(Live(channel_).ok());
}

TEST_F(Limits, GrpcsOwnSettingsCountMore) {
  GrpcOptions options;
  options.channel_arguments = {{GRPC_ARG_MAX_CONNECTION_IDLE_MS, 100}};
  options.connection_idle_seconds = 3600;
  const auto server = StartGrpc(options);
  const auto channel = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server->port()),
                                           grpc::InsecureChannelCredentials());
  ASSERT_TRUE(Live(channel).ok());
  EXPECT_TRUE(
      channel->WaitForStateChange(GRPC_CHANNEL_READY, std::chrono::system_clock::now() + kLimit));
}

TEST_F(Limits, HeadersAreBounded) {
  EXPECT_TRUE(Live(channel_, std::string(4000, 'x')).ok());
  EXPECT_EQ(Live(channel_, std::string(100'000, 'x')).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  RawClient client(http_->port());
  client.Send("GET /healthz HTTP/1.1\r\n");
  for (int i = 0; i < 16; ++i) {
    client.Send(absl::StrCat("X-", i, ": ", std::string(5000, 'x'), "\r\n"));
  }
  client.Send("\r\n");
  EXPECT_THAT(client.Receive(), StartsWith("HTTP/1.1 400"));
  EXPECT_TRUE(client.Ended());
}

TEST_F(Limits, ManyInputsAreRefusedByTheFirstUnknownName) {
  PublishAffine("m", 1, 0);
  auto request = AffineInfer("m", 1);
  for (int i = 0; i < 10'000; ++i) *request.add_inputs() = request.inputs(0);
  for (int i = 1; i <= 10'000; ++i) request.mutable_inputs(i)->set_name(absl::StrCat("x", i));
  grpc::ClientContext context;
  inference::ModelInferResponse response;
  const grpc::Status status = inference_->ModelInfer(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("no input named \"x1\""));
}

TEST_F(Limits, NamesInPathsReachModelsAlone) {
  for (const char* name : {"..", "%2e%2e", "..%2f..%2fetc", "%2Fetc%2Fpasswd", "m%00", "."}) {
    for (const char* call : {"load", "unload"}) {
      const auto result = Http().Post(absl::StrCat("/v2/repository/models/", name, "/", call), "{}",
                                      "application/json");
      ASSERT_TRUE(result) << name;
      EXPECT_THAT(result->status, AnyOf(400, 404)) << name << ": " << result->body;
    }
    for (const char* path : {"/v1/models/", "/v2/models/"}) {
      EXPECT_EQ(Http().Get(absl::StrCat(path, name))->status, 404) << path << name;
    }
  }
}

TEST_F(Limits, NamesMakeNoLinesOfTheLog) {
  ::testing::internal::CaptureStderr();
  const auto result =
      Http().Post("/v2/repository/models/m%0Aforged/load", "{}", "application/json");
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_TRUE(result);
  EXPECT_THAT(log, HasSubstr("load of model \"m?forged\""));
  EXPECT_THAT(log, Not(HasSubstr("\nforged")));
}

}  // namespace
}  // namespace baton::api

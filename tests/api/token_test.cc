// Who may make which call: tokens, --admin, and both together.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "proto/baton/admin.grpc.pb.h"
#include "server/api/gate.h"
#include "server/api/secrets.h"
#include "tests/api/secure_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::baton::testing::AffineRequest;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(TokenSet, HasOneTokenALine) {
  const auto tokens = TokenSet::Parse("# of the team\n\n first \r\nsecond\n");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_TRUE((*tokens)->Contains("first"));
  EXPECT_TRUE((*tokens)->Contains("second"));
  for (const char* other : {"", "firs", "firstt", "# of the team", " first"}) {
    EXPECT_FALSE((*tokens)->Contains(other)) << other;
  }
}

TEST(TokenSet, WrongTextsAreRefusedAndNotRepeated) {
  for (const char* text : {"", "\n", "# only this\n"}) {
    EXPECT_THAT(std::string(TokenSet::Parse(text).status().message()), HasSubstr("no token"));
  }
  for (const char* text : {"good\nsecret words", "good\nsecret\x01", "good\nsecret\xc3\xa4"}) {
    const absl::Status status = TokenSet::Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("line 2"), Not(HasSubstr("secret"))));
  }
}

TEST(Followed, KeepsTheFormerValueWhileTheSourceIsWrong) {
  std::string source = "1";
  const auto make = [](const std::string& text) -> absl::StatusOr<std::shared_ptr<const int>> {
    int number = 0;
    if (!absl::SimpleAtoi(text, &number)) return absl::InvalidArgumentError(text);
    return std::make_shared<const int>(number);
  };
  Followed<std::string, int> followed([&] { return absl::StatusOr<std::string>(source); }, make);
  EXPECT_EQ(followed.value(), nullptr);
  EXPECT_TRUE(*followed.Refresh());
  EXPECT_FALSE(*followed.Refresh());
  EXPECT_EQ(*followed.value(), 1);
  source = "one";
  EXPECT_EQ(followed.Refresh().status().message(), "one");
  EXPECT_FALSE(*followed.Refresh()) << "told once";
  EXPECT_EQ(*followed.value(), 1);
  source = "2";
  EXPECT_TRUE(*followed.Refresh());
  EXPECT_EQ(*followed.value(), 2);
}

TEST(Gate, LetsChangeWhomAdminSays) {
  const auto allows = [](AdminAccess access, const char* peer) {
    return Gate(access, nullptr).Check(Access::kAdmin, peer, "").ok();
  };
  for (const char* local : {"ipv4:127.0.0.1:5000", "ipv6:[::1]:5000", "ipv6:%5B::1%5D:5000",
                            "ipv6:[::ffff:127.0.0.1]:5000", "unix:/run/baton", "unix:"}) {
    EXPECT_TRUE(allows(AdminAccess::kAll, local)) << local;
    EXPECT_TRUE(allows(AdminAccess::kLocal, local)) << local;
    EXPECT_FALSE(allows(AdminAccess::kNobody, local)) << local;
  }
  for (const char* remote : {"ipv4:10.0.0.1:5000", "ipv6:[fe80::1]:5000", "ipv6:[::12]:1",
                             "ipv6:[::ffff:10.0.0.1]:5000", "", "127.0.0.1"}) {
    EXPECT_TRUE(allows(AdminAccess::kAll, remote)) << remote;
    EXPECT_FALSE(allows(AdminAccess::kLocal, remote)) << remote;
  }
  const absl::Status denied =
      Gate(AdminAccess::kLocal, nullptr).Check(Access::kAdmin, "ipv4:10.0.0.1:5000", "");
  EXPECT_TRUE(absl::IsPermissionDenied(denied));
  EXPECT_THAT(denied.message(), HasSubstr("--admin=local"));
}

class Tokens : public baton::testing::SecureTest {
 protected:
  Tokens() {
    Write("tokens", "reader\n");
    Write("admin_tokens", "chief\n");
    PublishAffine("m", 1, 0);
  }
  // Of a Predict with that header; "": none.
  grpc::StatusCode Predict(const std::string& authorization) {
    grpc::ClientContext context;
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    tensorflow::serving::PredictResponse response;
    return tensorflow::serving::PredictionService::NewStub(NewChannel(""))
        ->Predict(&context, AffineRequest("m", 1), &response)
        .error_code();
  }
  grpc::Status SetLabel(const std::string& token) {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    SetLabelRequest request;
    request.set_model_name("none");
    request.set_label("l");
    request.set_version(1);
    SetLabelResponse response;
    return AdminService::NewStub(NewChannel(""))->SetLabel(&context, request, &response);
  }
  int Http(const std::string& method, const std::string& path, const std::string& authorization) {
    httplib::Client client("127.0.0.1", secure_http_->port());
    httplib::Headers headers;
    if (!authorization.empty()) headers.emplace("Authorization", authorization);
    const auto result = method == "GET" ? client.Get(path, headers)
                                        : client.Post(path, headers, "{}", "application/json");
    BATON_CHECK(result);
    EXPECT_EQ(result->get_header_value("WWW-Authenticate"), result->status == 401 ? "Bearer" : "");
    return result->status;
  }
};

TEST_F(Tokens, OpenTheDataPlaneOfGrpc) {
  Start(false, true, true);
  EXPECT_EQ(Predict("Bearer reader"), grpc::StatusCode::OK);
  EXPECT_EQ(Predict("bearer  reader "), grpc::StatusCode::OK);
  EXPECT_EQ(Predict("Bearer chief"), grpc::StatusCode::OK);
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer readers", "reader", "Basic reader"}) {
    EXPECT_EQ(Predict(wrong), grpc::StatusCode::UNAUTHENTICATED) << wrong;
  }
}

// Every method there is, so that none is forgotten.
TEST_F(Tokens, AreNeededByEveryGrpcMethodButHealth) {
  Start(false, true, true);
  grpc::GenericStub stub(NewChannel(""));
  int guarded = 0;
  for (const char* service :
       {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService",
        "inference.GRPCInferenceService", "baton.AdminService", "grpc.health.v1.Health"}) {
    const auto* descriptor =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    ASSERT_NE(descriptor, nullptr) << service;
    for (int i = 0; i < descriptor->method_count(); ++i) {
      const std::string& method = descriptor->method(i)->name();
      if (method == "Watch") continue;  // never ends
      grpc::ClientContext context;
      grpc::CompletionQueue queue;
      const grpc::Slice nothing("");
      auto call = stub.PrepareUnaryCall(&context, absl::StrCat("/", service, "/", method),
                                        grpc::ByteBuffer(&nothing, 1), &queue);
      call->StartCall();
      grpc::ByteBuffer response;
      grpc::Status status;
      call->Finish(&response, &status, nullptr);
      void* tag = nullptr;
      bool ok = false;
      ASSERT_TRUE(queue.Next(&tag, &ok));
      const bool open = method == "ServerLive" || method == "ServerReady" || method == "Check";
      EXPECT_EQ(status.error_code(),
                open ? grpc::StatusCode::OK : grpc::StatusCode::UNAUTHENTICATED)
          << service << "/" << method << ": " << status.error_message();
      guarded += open ? 0 : 1;
    }
  }
  EXPECT_GE(guarded, 26);
}

TEST_F(Tokens, AreNeededByStreams) {
  Start(false, true, false);
  for (const char* token : {"reader", "wrong"}) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    const auto stub = inference::GRPCInferenceService::NewStub(NewChannel(""));
    const auto stream = stub->ModelStreamInfer(&context);
    stream->Write(AffineInfer("m", 1));
    stream->WritesDone();
    inference::ModelStreamInferResponse response;
    const bool right = absl::StrContains(token, "reader");
    EXPECT_EQ(stream->Read(&response), right);
    EXPECT_EQ(stream->Finish().error_code(),
              right ? grpc::StatusCode::OK : grpc::StatusCode::UNAUTHENTICATED);
  }
}

TEST_F(Tokens, AreNeededByHttpButForHealthAndMetrics) {
  Start(false, true, true, AdminAccess::kAll);
  for (const char* path : {"/healthz", "/v2/health/live", "/readyz", "/v2/health/ready", "/metrics",
                           "/monitoring/prometheus/metrics"}) {
    EXPECT_NE(Http("GET", path, ""), 401) << path;
  }
  for (const char* path :
       {"/", "/v1/models/m", "/v1/models/m/metadata", "/v2", "/v2/models/m", "/v2/models/m/ready",
        "/v2/models/m/config", "/v2/models/m/stats", "/v2/models/stats"}) {
    EXPECT_EQ(Http("GET", path, ""), 401) << path;
    EXPECT_EQ(Http("GET", path, "Bearer wrong"), 401) << path;
    EXPECT_NE(Http("GET", path, "Bearer reader"), 401) << path;
    EXPECT_NE(Http("GET", path, "Bearer chief"), 401) << path;
  }
  for (const char* path : {"/v1/models/m:predict", "/v1/models/m:classify", "/v1/models/m:regress",
                           "/v2/models/m/infer", "/v2/repository/index"}) {
    EXPECT_EQ(Http("POST", path, ""), 401) << path;
    EXPECT_NE(Http("POST", path, "Bearer reader"), 401) << path;
  }
  for (const char* path : {"/v2/repository/models/m/load", "/v2/repository/models/m/unload"}) {
    EXPECT_EQ(Http("POST", path, ""), 401) << path;
    EXPECT_EQ(Http("POST", path, "Bearer reader"), 401) << path;
    EXPECT_NE(Http("POST", path, "Bearer chief"), 401) << path;
  }
}

TEST_F(Tokens, OfDataDoNotChangeWhatIsServed) {
  Start(false, true, true);
  EXPECT_EQ(SetLabel("").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(SetLabel("reader").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(SetLabel("chief").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(Tokens, OfDataDoWhereThereAreNoOthers) {
  Start(false, true, false);
  EXPECT_EQ(SetLabel("").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(SetLabel("reader").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(Tokens, OfAdminsAloneLeaveTheDataPlaneOpen) {
  Start(false, false, true);
  EXPECT_EQ(Predict(""), grpc::StatusCode::OK);
  EXPECT_EQ(SetLabel("").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(SetLabel("chief").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(Tokens, DoNotHelpWhereNobodyMayChangeAnything) {
  Start(false, true, true, AdminAccess::kNobody);
  for (const char* token : {"", "reader", "chief"}) {
    EXPECT_EQ(SetLabel(token).error_code(), grpc::StatusCode::PERMISSION_DENIED) << token;
  }
  EXPECT_EQ(Http("POST", "/v2/repository/models/m/load", "Bearer chief"), 403);
}

TEST_F(Tokens, AreRotatedWhileTheServerRuns) {
  Start(false, true, false);
  Write("tokens", "reader\nnext\n");
  while (Predict("Bearer next") != grpc::StatusCode::OK) std::this_thread::yield();
  EXPECT_EQ(Predict("Bearer reader"), grpc::StatusCode::OK);
  Write("tokens", "next\n");
  while (Predict("Bearer reader") == grpc::StatusCode::OK) std::this_thread::yield();
  EXPECT_EQ(Predict("Bearer next"), grpc::StatusCode::OK);
  EXPECT_EQ(Predict(""), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Http("GET", "/v1/models/m", "Bearer next"), 200);
}

TEST_F(Tokens, FilesThatHoldNoneEndTheStart) {
  Write("tokens", "# none\n");
  const std::pair<SecretFiles, const char*> kCases[] = {
      {{.auth_tokens = files_ / "tokens"}, "--auth_token_file="},
      {{.admin_tokens = files_ / "tokens"}, "--admin_token_file="},
      {{.auth_tokens = files_ / "nowhere"}, "--auth_token_file="},
  };
  for (const auto& [files, flag] : kCases) {
    const absl::Status status = Secrets::Open(files).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(flag));
  }
}

}  // namespace
}  // namespace baton::api

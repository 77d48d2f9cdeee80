#include "server/api/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/serving/retry_after.h"
#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::baton::testing::AffineRequest;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::AllOf;
using ::testing::HasSubstr;

class GrpcServer : public baton::testing::ApiTest {
 protected:
  grpc::Status Predict(const tensorflow::serving::PredictRequest& request) {
    grpc::ClientContext context;
    tensorflow::serving::PredictResponse response;
    return prediction_->Predict(&context, request, &response);
  }
  // A Predict under way, answered by the test's own servable.
  struct Pending {
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    tensorflow::serving::PredictResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<tensorflow::serving::PredictResponse>> call;
    void Wait() {
      void* tag = nullptr;
      bool ok = false;
      ASSERT_TRUE(queue.Next(&tag, &ok));
    }
  };
  std::unique_ptr<Pending> StartPredict(const std::string& model) {
    auto pending = std::make_unique<Pending>();
    pending->call =
        prediction_->AsyncPredict(&pending->context, AffineRequest(model, 1), &pending->queue);
    pending->call->Finish(&pending->response, &pending->status, nullptr);
    return pending;
  }
};

TEST_F(GrpcServer, MessagesOverTheLimitAreRefused) {
  PublishAffine("m", 1, 0);
  auto request = AffineRequest("m", 1);
  request.mutable_inputs()->at("x").set_tensor_content(std::string((1 << 20) + 1, 'x'));
  const grpc::Status status = Predict(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_TRUE(Predict(AffineRequest("m", 1)).ok());
}

// A compressed message is shorter than what is in it, so the limit on its length shows which it is.
TEST_F(GrpcServer, CompressedRequestsAreRead) {
  PublishAffine("m", 1, 0);
  auto request = AffineRequest("m", 2);
  request.add_output_filter("y");
  for (const grpc_compression_algorithm algorithm :
       {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_NONE}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    tensorflow::serving::PredictResponse response;
    const grpc::Status status = prediction_->Predict(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.outputs().at("y").float_val_size(), 8);
  }
}

TEST_F(GrpcServer, CompressedRequestsAreBoundedByWhatIsInThem) {
  PublishAffine("m", 1, 0);
  auto request = AffineRequest("m", 1);
  request.mutable_inputs()->at("x").set_tensor_content(std::string(3 << 20, 'x'));
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  tensorflow::serving::PredictResponse response;
  EXPECT_EQ(prediction_->Predict(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

// The client leaves replies as they come: their first bytes tell how they are compressed.
TEST_F(GrpcServer, RepliesAreCompressedWhenTheClientAsks) {
  PublishAffine("m", 1, 0);
  grpc::ChannelArguments as_they_come;
  as_they_come.SetInt(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  grpc::GenericStub stub(grpc::CreateCustomChannel(
      absl::StrCat("127.0.0.1:", grpc_->port()), grpc::InsecureChannelCredentials(), as_they_come));
  auto message = AffineRequest("m", 8);
  for (float& value : *message.mutable_inputs()->at("x").mutable_float_val()) value = 0;
  const grpc::Slice slice(message.SerializeAsString());
  const std::pair<const char*, const char*> kCases[] = {
      {"", "none"},        {"identity", "none"}, {"br, GZIP;q=0.5, deflate", "gzip"},
      {"gzip", "gzip"},    {"deflate", "zlib"},  {"gzip;q=0, deflate", "zlib"},
      {"gzip;q=0", "none"}};
  for (const auto& [asked, expected] : kCases) {
    grpc::ClientContext context;
    if (*asked != '\0') context.AddMetadata("accept-encoding", asked);
    grpc::CompletionQueue queue;
    const grpc::ByteBuffer request(&slice, 1);
    auto call = stub.PrepareUnaryCall(&context, "/tensorflow.serving.PredictionService/Predict",
                                      request, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    ASSERT_TRUE(status.ok()) << status.error_message();
    grpc::Slice whole;
    ASSERT_TRUE(response.DumpToSingleSlice(&whole).ok());
    ASSERT_GT(whole.size(), 2U);
    const bool gzip = whole.begin()[0] == 0x1f && whole.begin()[1] == 0x8b;
    const bool zlib = whole.begin()[0] == 0x78;
    EXPECT_STREQ(gzip ? "gzip" : zlib ? "zlib" : "none", expected) << asked;
  }
}

TEST_F(GrpcServer, ARefusalSaysWhenToTryAgain) {
  auto servable = std::make_shared<baton::testing::TestServable>(
      "full", 1, baton::testing::AffineSignature(), 8);
  servable->set_refusal(
      serving::WithRetryAfter(absl::ResourceExhaustedError("the queue is full"), 0.25));
  Publish(servable);
  grpc::ClientContext context;
  tensorflow::serving::PredictResponse response;
  const grpc::Status status = prediction_->Predict(&context, AffineRequest("full", 1), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const auto& trailing = context.GetServerTrailingMetadata();
  const auto pushback = trailing.find("grpc-retry-pushback-ms");
  ASSERT_NE(pushback, trailing.end());
  EXPECT_EQ(std::string(pushback->second.data(), pushback->second.size()), "250");
}

TEST_F(GrpcServer, GarbageOnThePortDoesNoHarm) {
  PublishAffine("m", 1, 0);
  std::mt19937 random(3);
  for (int round = 0; round < 8; ++round) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_GE(fd, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(grpc_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    // Half of them begin as HTTP/2 does.
    std::string bytes = round % 2 == 0 ? "" : "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (int i = 0; i < 10'000; ++i) bytes.push_back(static_cast<char>(random()));
    // The server may hang up before it has read all.
    [[maybe_unused]] const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    close(fd);
  }
  EXPECT_TRUE(Predict(AffineRequest("m", 1)).ok());
}

TEST_F(GrpcServer, BytesThatAreNoMessageAreRefused) {
  PublishAffine("m", 1, 0);
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(std::string(100, '\xff'));
  const grpc::ByteBuffer request(&slice, 1);
  auto call = stub.PrepareUnaryCall(&context, "/tensorflow.serving.PredictionService/Predict",
                                    request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Predict(AffineRequest("m", 1)).ok());
}

TEST_F(GrpcServer, APortInUseIsSaidClearly) {
  GrpcOptions options;
  options.port = grpc_->port();
  const auto second = api::GrpcServer::Start(options, *models_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(second.status().message()),
      AllOf(HasSubstr(absl::StrCat("port ", grpc_->port(), " is in use")), HasSubstr("--port")));
}

TEST_F(GrpcServer, WrongOptionsAreNamed) {
  GrpcOptions port;
  port.port = 65536;
  GrpcOptions negative;
  negative.port = -1;
  GrpcOptions none;
  none.max_message_mb = 0;
  GrpcOptions too_much;
  too_much.max_message_mb = 2048;
  GrpcOptions path;
  path.socket_path = std::string(200, 's');
  GrpcOptions spin;
  spin.poll_spin_us = -1;
  const std::pair<GrpcOptions, const char*> kCases[] = {
      {port, "--port=65536"},        {negative, "--port=-1"},
      {none, "--max_message_mb=0"},  {too_much, "--max_message_mb=2048"},
      {path, "--grpc_socket_path="}, {spin, "--grpc_poll_spin_us=-1"},
  };
  for (const auto& [options, text] : kCases) {
    const auto server = api::GrpcServer::Start(options, *models_);
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(server.status().message()), HasSubstr(text));
  }
}

TEST_F(GrpcServer, ListensOnAUnixSocketToo) {
  PublishAffine("m", 1, 0);
  const baton::testing::TempDir directory;
  const std::string path = directory / "s";
  for (int round = 0; round < 2; ++round) {  // the second finds the first one's socket file
    GrpcOptions options;
    options.port = 0;
    options.socket_path = path;
    auto server = api::GrpcServer::Start(options, *models_);
    ASSERT_TRUE(server.ok()) << server.status();
    const auto stub = tensorflow::serving::PredictionService::NewStub(
        grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    tensorflow::serving::PredictResponse response;
    EXPECT_TRUE(stub->Predict(&context, AffineRequest("m", 1), &response).ok());
  }
  GrpcOptions options;
  options.port = 0;
  options.socket_path = directory / "no/such/directory/s";
  const auto server = api::GrpcServer::Start(options, *models_);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("--grpc_socket_path"));
}

// The thread asks for events instead of sleeping: what it is given meanwhile arrives all the same,
// and so does the end.
TEST_F(GrpcServer, AnswersAndStopsWhileItsThreadSpins) {
  PublishAffine("m", 1, 0);
  GrpcOptions options;
  options.port = 0;
  options.poll_spin_us = 1'000'000;
  auto server = api::GrpcServer::Start(options, *models_);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto stub = tensorflow::serving::PredictionService::NewStub(grpc::CreateChannel(
      absl::StrCat("127.0.0.1:", (*server)->port()), grpc::InsecureChannelCredentials()));
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    tensorflow::serving::PredictResponse response;
    EXPECT_TRUE(stub->Predict(&context, AffineRequest("m", 1), &response).ok());
  }
}

TEST_F(GrpcServer, ManyCallsAtOnceAreAllAnswered) {
  PublishAffine("m", 1, 0);
  std::vector<std::thread> clients;
  std::atomic<int> answered = 0;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        grpc::ClientContext context;
        inference::ModelInferResponse response;
        answered += inference_->ModelInfer(&context, AffineInfer("m", 1), &response).ok();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 400);
}

TEST_F(GrpcServer, MoreCallsThanArePostedWaitTheirTurn) {
  auto servable = PublishHeld("m");
  constexpr int kCalls = 200;
  std::vector<std::unique_ptr<Pending>> calls;
  for (int i = 0; i < kCalls; ++i) calls.push_back(StartPredict("m"));
  for (int i = 0; i < kCalls; ++i) baton::testing::RunAffine(servable->Take(), 0);
  for (const auto& call : calls) {
    call->Wait();
    EXPECT_TRUE(call->status.ok()) << call->status.error_message();
  }
}

TEST_F(GrpcServer, HealthOfServerAndModels) {
  const auto check = [&](const std::string& service) {
    HealthCheckRequest request;
    HealthCheckResponse response;
    request.set_service(service);
    grpc::ClientContext context;
    const grpc::Status status = health_->Check(&context, request, &response);
    return status.ok() ? HealthCheckResponse::ServingStatus_Name(response.status())
                       : absl::StrCat("code ", status.error_code());
  };
  PublishAffine("m", 1, 0);
  Fail("broken", 1, absl::InternalError("no"));
  EXPECT_EQ(check("m"), "SERVING");
  EXPECT_EQ(check("broken"), "NOT_SERVING");
  EXPECT_EQ(check("nope"), "code 5");
  EXPECT_EQ(check(""), models_->Ready() ? "SERVING" : "NOT_SERVING");
  EXPECT_EQ(check("tensorflow.serving.PredictionService"), check(""));
  grpc_->SetNotServing();
  EXPECT_EQ(check(""), "NOT_SERVING");
  EXPECT_EQ(check("m"), "NOT_SERVING");
  EXPECT_TRUE(Predict(AffineRequest("m", 1)).ok()) << "still serves";
}

TEST_F(GrpcServer, HealthWatchTellsOfChanges) {
  HealthCheckRequest request;
  request.set_service("m");
  grpc::ClientContext context;
  const auto stream = health_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  PublishAffine("m", 1, 0);
  do {  // it may be seen between being added and being ready
    ASSERT_TRUE(stream->Read(&response));
  } while (response.status() == HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  grpc_->SetNotServing();
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  context.TryCancel();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(GrpcServer, ShutdownEndsWatches) {
  grpc::ClientContext context;
  const auto stream = health_->Watch(&context, {});
  HealthCheckResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(grpc_->Shutdown(std::chrono::steady_clock::now() + std::chrono::hours(1)));
  while (stream->Read(&response)) EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GrpcServer, ShutdownWaitsForCallsUnderWay) {
  auto servable = PublishHeld("m");
  auto pending = StartPredict("m");
  serving::Task task = servable->Take();
  std::thread answer([&] {
    // New calls are refused while the old one is still running.
    while (true) {
      auto fresh = grpc::CreateChannel(absl::StrCat("127.0.0.1:", grpc_->port()),
                                       grpc::InsecureChannelCredentials());
      grpc::ClientContext context;
      // gRPC leaves a call that arrives just as the server shuts down unanswered until its
      // connection is closed, which here would be never.
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
      inference::ServerLiveResponse live;
      if (!inference::GRPCInferenceService::NewStub(fresh)->ServerLive(&context, {}, &live).ok()) {
        break;
      }
    }
    baton::testing::RunAffine(task, 0);
  });
  EXPECT_TRUE(grpc_->Shutdown(std::chrono::steady_clock::now() + std::chrono::hours(1)));
  answer.join();
  pending->Wait();
  EXPECT_TRUE(pending->status.ok()) << pending->status.error_message();
}

TEST_F(GrpcServer, ShutdownCancelsAtItsDeadline) {
  auto servable = PublishHeld("m");
  auto pending = StartPredict("m");
  serving::Task task = servable->Take();
  EXPECT_FALSE(grpc_->Shutdown(std::chrono::steady_clock::now()));
  pending->Wait();
  EXPECT_FALSE(pending->status.ok());
  while (!*task.cancelled) std::this_thread::yield();
  task.done(absl::CancelledError("cut off"), {}, {});
}

// Reflection's wire format is spelled out here, because its stubs are not installed: field 7 of a
// request is list_services; the reply has the names in it.
TEST_F(GrpcServer, ReflectionListsTheServices) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  const grpc::Slice slice(std::string("\x3a\x01*", 3));
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer reply;
  call->Read(&reply, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Slice whole;
  ASSERT_TRUE(reply.DumpToSingleSlice(&whole).ok());
  const std::string text(reinterpret_cast<const char*>(whole.begin()), whole.size());
  for (const char* service :
       {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService",
        "inference.GRPCInferenceService", "grpc.health.v1.Health"}) {
    EXPECT_THAT(text, HasSubstr(service));
  }
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
}

}  // namespace
}  // namespace baton::api

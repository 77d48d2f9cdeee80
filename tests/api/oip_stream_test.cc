#include "server/api/oip_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::inference::ModelInferRequest;
using ::inference::ModelStreamInferResponse;
using ::testing::HasSubstr;

class OipStream : public baton::testing::ApiTest {
 protected:
  using Stream = grpc::ClientReaderWriter<ModelInferRequest, ModelStreamInferResponse>;

  // One stream with its context, which outlives it.
  struct Open {
    explicit Open(inference::GRPCInferenceService::Stub& stub)
        : stream(stub.ModelStreamInfer(&context)) {}
    grpc::ClientContext context;
    std::unique_ptr<Stream> stream;

    void Write(const std::string& model, const std::string& id, int64_t rows = 1) {
      ModelInferRequest request = AffineInfer(model, rows);
      request.set_id(id);
      ASSERT_TRUE(stream->Write(request));
    }
    ModelStreamInferResponse Read() {
      ModelStreamInferResponse reply;
      EXPECT_TRUE(stream->Read(&reply));
      return reply;
    }
    // Ends the client's side; no reply is left.
    grpc::Status End() {
      stream->WritesDone();
      ModelStreamInferResponse reply;
      EXPECT_FALSE(stream->Read(&reply)) << reply.ShortDebugString();
      return stream->Finish();
    }
  };
};

TEST_F(OipStream, EveryRequestIsAnsweredWithItsId) {
  PublishAffine("m", 3, 0.5F);
  Open open(*inference_);
  constexpr int kRequests = 3000;  // more than one stream may have under way
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i) open.Write("m", absl::StrCat(i));
    open.stream->WritesDone();
  });
  for (int i = 0; i < kRequests; ++i) {
    const ModelStreamInferResponse reply = open.Read();
    EXPECT_EQ(reply.error_message(), "");
    EXPECT_EQ(reply.infer_response().id(), absl::StrCat(i));
    EXPECT_EQ(reply.infer_response().model_version(), "3");
    EXPECT_EQ(reply.infer_response().outputs(0).name(), "y");
    EXPECT_TRUE(reply.infer_response().parameters().at("triton_final_response").bool_param());
  }
  writer.join();
  ModelStreamInferResponse reply;
  EXPECT_FALSE(open.stream->Read(&reply));
  EXPECT_TRUE(open.stream->Finish().ok());
}

TEST_F(OipStream, RepliesKeepTheOrderOfTheRequests) {
  const auto first = PublishHeld("first");
  const auto second = PublishHeld("second");
  Open open(*inference_);
  open.Write("first", "1");
  open.Write("second", "2");
  open.Write("second", "3");
  const serving::Task slow = first->Take();
  baton::testing::RunAffine(second->Take(), 0);
  baton::testing::RunAffine(second->Take(), 0);
  baton::testing::RunAffine(slow, 0);
  for (const char* id : {"1", "2", "3"}) EXPECT_EQ(open.Read().infer_response().id(), id);
  EXPECT_TRUE(open.End().ok());
}

TEST_F(OipStream, AnErrorIsOneRequestsOwn) {
  PublishAffine("m", 1, 0);
  Open open(*inference_);
  open.Write("m", "good");
  open.Write("nope", "unknown");
  open.Write("m", "too many", 9);
  open.Write("m", "good again");
  EXPECT_EQ(open.Read().error_message(), "");
  const ModelStreamInferResponse unknown = open.Read();
  EXPECT_THAT(unknown.error_message(), HasSubstr("nope"));
  EXPECT_EQ(unknown.infer_response().id(), "unknown");
  EXPECT_EQ(unknown.infer_response().model_name(), "nope");
  EXPECT_THAT(open.Read().error_message(), HasSubstr("at most 8 are allowed"));
  EXPECT_EQ(open.Read().infer_response().id(), "good again");
  EXPECT_TRUE(open.End().ok());
}

TEST_F(OipStream, ErrorsOfARunAreToldToo) {
  const auto servable = PublishHeld("m");
  Open open(*inference_);
  open.Write("m", "a");
  servable->Take().done(absl::InternalError("it broke"), {}, {});
  EXPECT_EQ(open.Read().error_message(), "it broke");
  open.Write("m", "b");
  servable->Take().done(absl::InternalError(""), {}, {});
  EXPECT_EQ(open.Read().error_message(), "INTERNAL") << "an error has some text";
  EXPECT_TRUE(open.End().ok());
}

TEST_F(OipStream, AStreamWithoutRequestsEndsWell) {
  Open open(*inference_);
  EXPECT_TRUE(open.End().ok());
}

TEST_F(OipStream, CancellingTellsTheTasks) {
  const auto servable = PublishHeld("m");
  Open open(*inference_);
  open.Write("m", "1");
  open.Write("m", "2");
  const serving::Task first = servable->Take();
  const serving::Task second = servable->Take();
  open.context.TryCancel();
  while (!*first.cancelled || !*second.cancelled) std::this_thread::yield();
  first.done(absl::CancelledError("cancelled"), {}, {});
  baton::testing::RunAffine(second, 0);  // an answer that nobody waits for does no harm
  EXPECT_EQ(open.stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(OipStream, TheDeadlineOfTheStreamIsThatOfItsRequests) {
  const auto servable = PublishHeld("m");
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  const auto stream = inference_->ModelStreamInfer(&context);
  ASSERT_TRUE(stream->Write(AffineInfer("m", 1)));
  const serving::Task task = servable->Take();
  EXPECT_LE(task.deadline, std::chrono::steady_clock::now() + std::chrono::minutes(61));
  EXPECT_GT(task.deadline, std::chrono::steady_clock::now() + std::chrono::minutes(30));
  baton::testing::RunAffine(task, 0);
  stream->WritesDone();
  ModelStreamInferResponse reply;
  EXPECT_TRUE(stream->Read(&reply));
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(OipStream, ManyStreamsAtOnce) {
  PublishAffine("m", 1, 0);
  std::vector<std::thread> clients;
  std::atomic<int> right = 0;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int round = 0; round < 5; ++round) {
        Open open(*inference_);
        for (int i = 0; i < 20; ++i) open.Write("m", absl::StrCat(c, ".", i));
        for (int i = 0; i < 20; ++i) {
          right += open.Read().infer_response().id() == absl::StrCat(c, ".", i);
        }
        right += open.End().ok();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 8 * 5 * 21);
}

TEST_F(OipStream, ShutdownAnswersWhatHasArrivedAndEndsIdleStreams) {
  const auto servable = PublishHeld("m");
  Open idle(*inference_);
  PublishAffine("other", 1, 0);
  idle.Write("other", "1");
  EXPECT_EQ(idle.Read().infer_response().id(), "1");
  Open busy(*inference_);
  busy.Write("m", "2");
  const serving::Task task = servable->Take();
  std::thread shutdown([&] {
    EXPECT_TRUE(grpc_->Shutdown(std::chrono::steady_clock::now() + std::chrono::hours(1)));
  });
  ModelStreamInferResponse reply;
  EXPECT_FALSE(idle.stream->Read(&reply));
  const grpc::Status ended = idle.stream->Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ended.error_message(), "the server is shutting down");
  baton::testing::RunAffine(task, 0);
  EXPECT_EQ(busy.Read().infer_response().id(), "2");
  EXPECT_FALSE(busy.stream->Read(&reply));
  EXPECT_EQ(busy.stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  shutdown.join();
}

}  // namespace
}  // namespace baton::api

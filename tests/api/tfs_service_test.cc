#include "server/api/tfs_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineRequest;
using ::tensorflow::serving::PredictRequest;
using ::tensorflow::serving::PredictResponse;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TfsService : public baton::testing::ApiTest {
 protected:
  grpc::Status Predict(const PredictRequest& request) {
    grpc::ClientContext context;
    return prediction_->Predict(&context, request, &response_);
  }
  PredictResponse response_;
};

TEST_F(TfsService, PredictAnswersAndNamesTheVersion) {
  PublishAffine("m", 3, 0.5f);
  PublishAffine("m", 2, 100);
  ASSERT_TRUE(Predict(AffineRequest("m", 1)).ok());
  EXPECT_EQ(response_.model_spec().name(), "m");
  EXPECT_EQ(response_.model_spec().version().value(), 3);
  EXPECT_EQ(response_.model_spec().signature_name(), "serving_default");
  const tensorflow::TensorProto& y = response_.outputs().at("y");
  EXPECT_EQ(y.dtype(), tensorflow::DT_FLOAT);
  EXPECT_THAT(y.float_val(), ElementsAre(2.5f, 4.5f, 6.5f, 8.5f));

  PredictRequest request = AffineRequest("m", 2);
  request.mutable_model_spec()->mutable_version()->set_value(2);
  request.mutable_model_spec()->set_signature_name("serving_default");
  request.add_output_filter("y");
  ASSERT_TRUE(Predict(request).ok());
  EXPECT_EQ(response_.model_spec().version().value(), 2);
  EXPECT_EQ(response_.outputs().at("y").float_val(0), 102);
  EXPECT_EQ(response_.outputs().at("y").tensor_shape().dim(0).size(), 2);
}

TEST_F(TfsService, LabelsPickAVersion) {
  PublishAffine("m", 1, 1);
  PublishAffine("m", 2, 2);
  models_->registry().SetLabels("m", {{"stable", 1}});
  PredictRequest request = AffineRequest("m", 1);
  request.mutable_model_spec()->set_version_label("stable");
  ASSERT_TRUE(Predict(request).ok());
  EXPECT_EQ(response_.model_spec().version().value(), 1);
  request.mutable_model_spec()->set_version_label("canary");
  EXPECT_EQ(Predict(request).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(TfsService, WrongRequestsGetTheRightCodeAndAreNamed) {
  PublishAffine("m", 1, 0);
  Fail("broken", 4, absl::InvalidArgumentError("node \"c\": operator Foo is not supported"));
  const auto expect = [&](const PredictRequest& request, grpc::StatusCode code,
                          const std::string& text) {
    const grpc::Status status = Predict(request);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  };
  expect(AffineRequest("nope", 1), grpc::StatusCode::NOT_FOUND, "nope");
  PredictRequest request = AffineRequest("m", 1);
  request.mutable_model_spec()->mutable_version()->set_value(7);
  expect(request, grpc::StatusCode::NOT_FOUND, "version 7");
  expect(AffineRequest("broken", 1), grpc::StatusCode::UNAVAILABLE, "operator Foo");
  expect(AffineRequest("m", 9), grpc::StatusCode::INVALID_ARGUMENT, "at most 8 are allowed");
  expect(AffineRequest("m", 0), grpc::StatusCode::INVALID_ARGUMENT, "the batch is empty");
  request = AffineRequest("m", 1);
  (*request.mutable_inputs())["xx"] = request.inputs().at("x");
  request.mutable_inputs()->erase("x");
  expect(request, grpc::StatusCode::INVALID_ARGUMENT, "did you mean \"x\"?");
  request = AffineRequest("m", 1);
  request.add_output_filter("z");
  expect(request, grpc::StatusCode::INVALID_ARGUMENT, "no output named \"z\"");
  request = AffineRequest("m", 1);
  request.mutable_model_spec()->set_signature_name("classify");
  expect(request, grpc::StatusCode::INVALID_ARGUMENT, "no signature named \"classify\"");
  EXPECT_TRUE(Predict(AffineRequest("m", 1)).ok()) << "the server goes on";
}

TEST_F(TfsService, LongNamesDoNotBreakTheReply) {
  const grpc::Status status = Predict(AffineRequest(std::string(500'000, 'n'), 1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << status.error_message();
}

TEST_F(TfsService, RefusalsOfTheQueueReachTheClient) {
  auto servable = std::make_shared<baton::testing::TestServable>(
      "full", 1, baton::testing::AffineSignature(), 8);
  servable->set_refusal(absl::ResourceExhaustedError("4096 requests are waiting"));
  Publish(servable);
  const grpc::Status status = Predict(AffineRequest("full", 1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "4096 requests are waiting");
}

TEST_F(TfsService, ErrorsOfARunReachTheClient) {
  auto servable = PublishHeld("m");
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = prediction_->AsyncPredict(&context, AffineRequest("m", 1), &queue);
  grpc::Status status;
  call->Finish(&response_, &status, nullptr);
  servable->Take().done(absl::InternalError("it broke"), {}, {});
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "it broke");
}

TEST_F(TfsService, DeadlineAndCancellationTravelWithTheTask) {
  auto servable = PublishHeld("m");
  grpc::ClientContext context;
  const auto deadline = std::chrono::system_clock::now() + std::chrono::hours(1);
  context.set_deadline(deadline);
  grpc::CompletionQueue queue;
  auto call = prediction_->AsyncPredict(&context, AffineRequest("m", 1), &queue);
  grpc::Status status;
  call->Finish(&response_, &status, nullptr);
  serving::Task task = servable->Take();
  const auto left = task.deadline - std::chrono::steady_clock::now();
  EXPECT_GT(left, std::chrono::minutes(30));
  EXPECT_LE(left, std::chrono::minutes(61));
  ASSERT_NE(task.cancelled, nullptr);
  EXPECT_FALSE(*task.cancelled);
  context.TryCancel();
  while (!*task.cancelled) std::this_thread::yield();
  task.done(absl::CancelledError("cancelled"), {}, {});
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(TfsService, NoDeadlineIsNoDeadline) {
  auto servable = PublishHeld("m");
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = prediction_->AsyncPredict(&context, AffineRequest("m", 1), &queue);
  grpc::Status status;
  call->Finish(&response_, &status, nullptr);
  serving::Task task = servable->Take();
  EXPECT_EQ(task.deadline, kNoDeadline);
  baton::testing::RunAffine(task, 0);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok());
}

TEST_F(TfsService, APassedDeadlineCancelsTheTask) {
  auto servable = PublishHeld("m");
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  auto call = prediction_->AsyncPredict(&context, AffineRequest("m", 1), &queue);
  grpc::Status status;
  call->Finish(&response_, &status, nullptr);
  serving::Task task = servable->Take();
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  while (!*task.cancelled) std::this_thread::yield();
  baton::testing::RunAffine(task, 0);  // an answer that nobody waits for does no harm
}

TEST_F(TfsService, MetadataDescribesTheSignature) {
  PublishAffine("m", 5, 0);
  tensorflow::serving::GetModelMetadataRequest request;
  tensorflow::serving::GetModelMetadataResponse response;
  const auto get = [&] {
    grpc::ClientContext context;
    return prediction_->GetModelMetadata(&context, request, &response);
  };
  request.mutable_model_spec()->set_name("m");
  EXPECT_EQ(get().error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "no metadata_field";
  request.add_metadata_field("graph");
  EXPECT_THAT(get().error_message(), HasSubstr("no metadata_field named \"graph\""));
  request.set_metadata_field(0, "signature_def");
  ASSERT_TRUE(get().ok());
  EXPECT_EQ(response.model_spec().version().value(), 5);
  tensorflow::serving::SignatureDefMap map;
  ASSERT_TRUE(response.metadata().at("signature_def").UnpackTo(&map));
  const tensorflow::SignatureDef& signature = map.signature_def().at("serving_default");
  EXPECT_EQ(signature.method_name(), "tensorflow/serving/predict");
  EXPECT_EQ(signature.inputs().at("x").dtype(), tensorflow::DT_FLOAT);
  EXPECT_EQ(signature.inputs().at("x").tensor_shape().dim(0).size(), -1);
  EXPECT_EQ(signature.outputs().at("y").tensor_shape().dim(1).size(), 4);
  request.mutable_model_spec()->set_name("nope");
  EXPECT_EQ(get().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(TfsService, StatusShowsEveryVersionAndWhyItFailed) {
  using ::tensorflow::serving::ModelVersionStatus;
  PublishAffine("m", 1, 0);
  Fail("m", 2, absl::InvalidArgumentError("sha256 of model.onnx is wrong"));
  tensorflow::serving::GetModelStatusRequest request;
  tensorflow::serving::GetModelStatusResponse response;
  const auto get = [&] {
    grpc::ClientContext context;
    return model_service_->GetModelStatus(&context, request, &response);
  };
  request.mutable_model_spec()->set_name("m");
  ASSERT_TRUE(get().ok());
  ASSERT_EQ(response.model_version_status_size(), 2);
  EXPECT_EQ(response.model_version_status(0).version(), 2);
  EXPECT_EQ(response.model_version_status(0).state(), ModelVersionStatus::END);
  EXPECT_EQ(response.model_version_status(0).status().error_code(),
            tensorflow::error::INVALID_ARGUMENT);
  EXPECT_EQ(response.model_version_status(0).status().error_message(),
            "sha256 of model.onnx is wrong");
  EXPECT_EQ(response.model_version_status(1).state(), ModelVersionStatus::AVAILABLE);
  EXPECT_EQ(response.model_version_status(1).status().error_code(), tensorflow::error::OK);

  request.mutable_model_spec()->mutable_version()->set_value(1);
  ASSERT_TRUE(get().ok());
  ASSERT_EQ(response.model_version_status_size(), 1);
  EXPECT_EQ(response.model_version_status(0).version(), 1);
  request.mutable_model_spec()->mutable_version()->set_value(9);
  const grpc::Status status = get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("it has: 2 (failed), 1 (ready)"));
}

TEST_F(TfsService, StatesAreTensorFlowServings) {
  using enum serving::VersionState;
  using ::tensorflow::serving::ModelVersionStatus;
  serving::Registry& registry = models_->registry();
  registry.AddModel("m");
  const std::pair<serving::VersionState, ModelVersionStatus::State> kSteps[] = {
      {kVerifying, ModelVersionStatus::START},    {kLoading, ModelVersionStatus::LOADING},
      {kWarming, ModelVersionStatus::LOADING},    {kReady, ModelVersionStatus::AVAILABLE},
      {kDraining, ModelVersionStatus::UNLOADING}, {kGone, ModelVersionStatus::END},
  };
  for (const auto& [ours, theirs] : kSteps) {
    registry.SetState("m", 1, ours, absl::OkStatus(),
                      ours == kReady ? std::make_shared<baton::testing::TestServable>(
                                           "m", 1, baton::testing::AffineSignature(), 8)
                                     : nullptr);
    tensorflow::serving::GetModelStatusRequest request;
    tensorflow::serving::GetModelStatusResponse response;
    request.mutable_model_spec()->set_name("m");
    grpc::ClientContext context;
    ASSERT_TRUE(model_service_->GetModelStatus(&context, request, &response).ok());
    EXPECT_EQ(response.model_version_status(0).state(), theirs);
  }
}

}  // namespace
}  // namespace baton::api

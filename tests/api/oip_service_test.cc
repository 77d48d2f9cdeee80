#include "server/api/oip_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "engine/base/version.h"
#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::inference::ModelInferRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OipService : public baton::testing::ApiTest {
 protected:
  grpc::Status Infer(const ModelInferRequest& request) {
    grpc::ClientContext context;
    response_.Clear();
    return inference_->ModelInfer(&context, request, &response_);
  }
  std::vector<float> Floats(int output) const {
    const std::string& raw = response_.raw_output_contents(output);
    std::vector<float> values(raw.size() / sizeof(float));
    std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }
  inference::ModelInferResponse response_;
};

TEST_F(OipService, InferAnswersRawAndNamesTheVersion) {
  PublishAffine("m", 3, 0.5f);
  ModelInferRequest request = AffineInfer("m", 1);
  request.set_id("request 17");
  ASSERT_TRUE(Infer(request).ok());
  EXPECT_EQ(response_.model_name(), "m");
  EXPECT_EQ(response_.model_version(), "3");
  EXPECT_EQ(response_.id(), "request 17");
  ASSERT_EQ(response_.outputs_size(), 1);
  EXPECT_EQ(response_.outputs(0).name(), "y");
  EXPECT_EQ(response_.outputs(0).datatype(), "FP32");
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(1, 4));
  EXPECT_THAT(Floats(0), ElementsAre(2.5f, 4.5f, 6.5f, 8.5f));

  const float x[4] = {10, 20, 30, 40};
  request.mutable_inputs(0)->clear_contents();
  request.add_raw_input_contents(std::string(reinterpret_cast<const char*>(x), sizeof(x)));
  ASSERT_TRUE(Infer(request).ok());
  EXPECT_THAT(Floats(0), ElementsAre(20.5f, 40.5f, 60.5f, 80.5f));
}

TEST_F(OipService, WrongRequestsGetTheRightCodeAndAreNamed) {
  PublishAffine("m", 1, 0);
  Fail("broken", 4, absl::InvalidArgumentError("node \"c\": operator Foo is not supported"));
  const auto expect = [&](const ModelInferRequest& request, grpc::StatusCode code,
                          const std::string& text) {
    const grpc::Status status = Infer(request);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  };
  expect(AffineInfer("nope", 1), grpc::StatusCode::NOT_FOUND, "nope");
  ModelInferRequest request = AffineInfer("m", 1);
  request.set_model_version("7");
  expect(request, grpc::StatusCode::NOT_FOUND, "version 7");
  request.set_model_version("newest");
  expect(request, grpc::StatusCode::NOT_FOUND, "newest");
  expect(AffineInfer("broken", 1), grpc::StatusCode::UNAVAILABLE, "operator Foo");
  expect(AffineInfer("m", 9), grpc::StatusCode::INVALID_ARGUMENT, "at most 8 are allowed");
  expect(AffineInfer("m", 0), grpc::StatusCode::INVALID_ARGUMENT, "the batch is empty");
  request = AffineInfer("m", 1);
  request.mutable_inputs(0)->set_name("X");
  expect(request, grpc::StatusCode::INVALID_ARGUMENT, "did you mean \"x\"?");
  request = AffineInfer("m", 1);
  request.mutable_inputs(0)->set_datatype("FP64");
  expect(request, grpc::StatusCode::INVALID_ARGUMENT, "sent FP64[1,4], expected FP32[?,4]");
  request = AffineInfer("m", 1);
  request.add_outputs()->set_name("z");
  expect(request, grpc::StatusCode::INVALID_ARGUMENT, "no output named \"z\"");
  request = AffineInfer("m", 1);
  (*request.mutable_parameters())["timeout"].set_string_param("soon");
  expect(request, grpc::StatusCode::INVALID_ARGUMENT, "\"timeout\" must be an int64_param");
  EXPECT_TRUE(Infer(AffineInfer("m", 1)).ok()) << "the server goes on";
}

TEST_F(OipService, TimeoutAndPriorityTravelWithTheTask) {
  auto servable = PublishHeld("m");
  ModelInferRequest request = AffineInfer("m", 1);
  (*request.mutable_parameters())["timeout"].set_int64_param(3'600'000'000);  // an hour
  (*request.mutable_parameters())["priority"].set_uint64_param(2);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = inference_->AsyncModelInfer(&context, request, &queue);
  grpc::Status status;
  call->Finish(&response_, &status, nullptr);
  serving::Task task = servable->Take();
  EXPECT_EQ(task.priority, 2);
  EXPECT_LE(task.deadline, std::chrono::steady_clock::now() + std::chrono::hours(1));
  EXPECT_GT(task.deadline, std::chrono::steady_clock::now() + std::chrono::minutes(30));
  baton::testing::RunAffine(task, 0);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok());
}

TEST_F(OipService, MetadataListsVersionsInputsAndOutputs) {
  PublishAffine("m", 2, 0);
  PublishAffine("m", 3, 0);
  Fail("m", 4, absl::InternalError("no"));
  inference::ModelMetadataRequest request;
  inference::ModelMetadataResponse response;
  request.set_name("m");
  grpc::ClientContext context;
  ASSERT_TRUE(inference_->ModelMetadata(&context, request, &response).ok());
  EXPECT_EQ(response.name(), "m");
  EXPECT_THAT(response.versions(), ElementsAre("3", "2"));
  ASSERT_EQ(response.inputs_size(), 1);
  EXPECT_EQ(response.inputs(0).name(), "x");
  EXPECT_EQ(response.inputs(0).datatype(), "FP32");
  EXPECT_THAT(response.inputs(0).shape(), ElementsAre(-1, 4));
  EXPECT_EQ(response.outputs(0).name(), "y");
}

TEST_F(OipService, ReadinessOfServerAndModels) {
  PublishAffine("m", 2, 0);
  const auto ready = [&](const std::string& name, const std::string& version) {
    inference::ModelReadyRequest request;
    inference::ModelReadyResponse response;
    request.set_name(name);
    request.set_version(version);
    grpc::ClientContext context;
    EXPECT_TRUE(inference_->ModelReady(&context, request, &response).ok());
    return response.ready();
  };
  EXPECT_TRUE(ready("m", ""));
  EXPECT_TRUE(ready("m", "2"));
  EXPECT_FALSE(ready("m", "3"));
  EXPECT_FALSE(ready("nope", ""));
  grpc::ClientContext context;
  inference::ServerLiveResponse live;
  ASSERT_TRUE(inference_->ServerLive(&context, {}, &live).ok());
  EXPECT_TRUE(live.live());
  grpc::ClientContext metadata_context;
  inference::ServerMetadataResponse metadata;
  ASSERT_TRUE(inference_->ServerMetadata(&metadata_context, {}, &metadata).ok());
  EXPECT_EQ(metadata.name(), "baton");
  EXPECT_EQ(metadata.version(), kBatonVersion);
}

TEST_F(OipService, IndexShowsStatesAndReasons) {
  PublishAffine("m", 2, 0);
  Fail("m", 3, absl::InvalidArgumentError("not ONNX"));
  models_->registry().AddModel("empty");
  inference::RepositoryIndexRequest request;
  inference::RepositoryIndexResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(inference_->RepositoryIndex(&context, request, &response).ok());
  }
  ASSERT_EQ(response.models_size(), 3);
  EXPECT_EQ(response.models(0).name(), "empty");
  EXPECT_EQ(response.models(0).state(), "UNAVAILABLE");
  EXPECT_EQ(response.models(1).version(), "3");
  EXPECT_EQ(response.models(1).state(), "UNAVAILABLE");
  EXPECT_EQ(response.models(1).reason(), "not ONNX");
  EXPECT_EQ(response.models(2).state(), "READY");
  request.set_ready(true);
  grpc::ClientContext context;
  ASSERT_TRUE(inference_->RepositoryIndex(&context, request, &response).ok());
  ASSERT_EQ(response.models_size(), 1);
  EXPECT_EQ(response.models(0).version(), "2");
}

TEST_F(OipService, OtherMethodsSayThatTheyAreNotThere) {
  grpc::ClientContext context;
  inference::SystemSharedMemoryStatusResponse response;
  const grpc::Status status = inference_->SystemSharedMemoryStatus(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("shared memory is not supported"));
  grpc::ClientContext stream_context;
  auto stream = inference_->ModelStreamInfer(&stream_context);
  const grpc::Status stream_status = stream->Finish();
  EXPECT_EQ(stream_status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(stream_status.error_message(), HasSubstr("call ModelInfer"));
}

}  // namespace
}  // namespace baton::api

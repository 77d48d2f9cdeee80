#include "server/api/oip_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "engine/base/version.h"
#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::baton::testing::Info;
using ::baton::testing::TestServable;
using ::inference::ModelInferRequest;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

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
  // The elements of a BYTES output.
  std::vector<std::string> Strings(int output) const {
    const std::string& raw = response_.raw_output_contents(output);
    std::vector<std::string> values;
    for (size_t at = 0; at < raw.size();) {
      uint32_t length = 0;
      std::memcpy(&length, raw.data() + at, sizeof(length));
      values.push_back(raw.substr(at + sizeof(length), length));
      at += sizeof(length) + length;
    }
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
  EXPECT_EQ(task.timeout, std::chrono::hours(1));
  EXPECT_EQ(task.deadline, kNoDeadline) << "the call has none";
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
  EXPECT_THAT(metadata.extensions(), Contains("statistics"));
  EXPECT_THAT(metadata.extensions(), Not(Contains("sequence")));
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

TEST_F(OipService, AnOutputComesAsItsHighestClasses) {
  auto servable = PublishAffine("m", 1, 0.5F);
  repository::ModelConfig config;
  config.class_labels["y"] = {"zero", "one", "two"};
  servable->set_config(std::move(config));
  ModelInferRequest request = AffineInfer("m", 2);  // y = 2.5, 4.5, 6.5, 8.5; 10.5 …
  auto& output = *request.add_outputs();
  output.set_name("y");
  (*output.mutable_parameters())["classification"].set_int64_param(2);
  ASSERT_TRUE(Infer(request).ok());
  EXPECT_EQ(response_.outputs(0).name(), "y");
  EXPECT_EQ(response_.outputs(0).datatype(), "BYTES");
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(2, 2));
  EXPECT_THAT(Strings(0),
              ElementsAre("8.500000:3", "6.500000:2:two", "16.500000:3", "14.500000:2:two"));
  (*output.mutable_parameters())["classification"].set_int64_param(1000);
  ASSERT_TRUE(Infer(request).ok());
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(2, 4));
  (*output.mutable_parameters())["classification"].set_int64_param(0);
  (*output.mutable_parameters())["binary_data"].set_bool_param(false);
  ASSERT_TRUE(Infer(request).ok());
  EXPECT_EQ(response_.outputs(0).datatype(), "FP32");
  (*output.mutable_parameters())["classification"].set_string_param("two");
  EXPECT_THAT(Infer(request).error_message(),
              HasSubstr("output \"y\": parameter \"classification\" must be an int64_param"));
}

TEST_F(OipService, SequencesAreRefusedByName) {
  PublishAffine("m", 1, 0);
  ModelInferRequest request = AffineInfer("m", 1);
  (*request.mutable_parameters())["sequence_id"].set_int64_param(0);
  (*request.mutable_parameters())["sequence_start"].set_bool_param(false);
  (*request.mutable_parameters())["anything"].set_string_param("of the client's own");
  EXPECT_TRUE(Infer(request).ok()) << "0 is no sequence";
  (*request.mutable_parameters())["sequence_id"].set_string_param("a");
  const grpc::Status status = Infer(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("parameter \"sequence_id\": sequences"));
}

TEST_F(OipService, ConfigIsCompletedFromTheModel) {
  auto plain = std::make_shared<TestServable>(
      "plain", 1,
      engine::Signature{{Info("a", DataType::kInt64, {2, 3}), Info("b", DataType::kString, {1})},
                        {Info("c", DataType::kFloat16, {-1})}},
      0);
  Publish(plain);
  auto servable = PublishAffine("m", 7, 0);
  servable->set_config(*repository::ParseModelConfig(R"(
    max_batch_size: 8
    output { name: "y" data_type: TYPE_FP32 dims: 4 label_filename: "labels.txt" }
    dynamic_batching { max_queue_delay_microseconds: 100 }
    instance_group { count: 3 }
    parameters { key: "precision" value { string_value: "f32" } })",
                                                     "config.pbtxt", "m"));
  const auto get = [&](const std::string& name, const std::string& version) {
    inference::ModelConfigRequest request;
    request.set_name(name);
    request.set_version(version);
    inference::ModelConfigResponse response;
    grpc::ClientContext context;
    const grpc::Status status = inference_->ModelConfig(&context, request, &response);
    EXPECT_EQ(status.ok(), response.has_config()) << status.error_message();
    return response.config();
  };
  const inference::ModelConfig m = get("m", "7");
  EXPECT_EQ(m.name(), "m");
  EXPECT_EQ(m.platform(), "onnxruntime_onnx");
  EXPECT_EQ(m.backend(), "onnxruntime");
  EXPECT_EQ(m.default_model_filename(), "model.onnx");
  EXPECT_EQ(m.version_policy().latest().num_versions(), 1U);
  EXPECT_EQ(m.max_batch_size(), 8);
  ASSERT_EQ(m.input_size(), 1);
  EXPECT_EQ(m.input(0).name(), "x");
  EXPECT_EQ(m.input(0).data_type(), inference::TYPE_FP32);
  EXPECT_THAT(m.input(0).dims(), ElementsAre(4)) << "without the batch dimension";
  EXPECT_EQ(m.output(0).label_filename(), "labels.txt");
  EXPECT_EQ(m.dynamic_batching().max_queue_delay_microseconds(), 100U);
  ASSERT_EQ(m.instance_group_size(), 1);
  EXPECT_EQ(m.instance_group(0).count(), 3);
  EXPECT_EQ(m.instance_group(0).kind(), inference::ModelInstanceGroup::KIND_CPU);
  EXPECT_EQ(m.parameters().at("precision").string_value(), "f32");

  const inference::ModelConfig p = get("plain", "");
  EXPECT_EQ(p.max_batch_size(), 0);
  EXPECT_THAT(p.input(0).dims(), ElementsAre(2, 3));
  EXPECT_EQ(p.input(0).data_type(), inference::TYPE_INT64);
  EXPECT_EQ(p.input(1).data_type(), inference::TYPE_STRING);
  EXPECT_EQ(p.output(0).data_type(), inference::TYPE_FP16);
  EXPECT_FALSE(p.has_dynamic_batching());
  EXPECT_EQ(get("nope", "").name(), "") << "NOT_FOUND";
  EXPECT_EQ(get("m", "8").name(), "") << "NOT_FOUND";
}

TEST_F(OipService, StatisticsCountRequestsExecutionsAndTime) {
  PublishAffine("m", 1, 0);
  auto servable = PublishAffine("m", 2, 0);
  PublishAffine("other", 1, 0);
  ASSERT_TRUE(Infer(AffineInfer("m", 1)).ok());
  ASSERT_TRUE(Infer(AffineInfer("m", 3)).ok());
  ASSERT_FALSE(Infer(AffineInfer("m", 9)).ok());
  // What a servable of the engine does itself.
  servable->metrics().RecordExecution(4, 0.001, 0.002);
  servable->metrics().RecordPhases(absl::OkStatus(), {0.5, 0.001, 0.002});

  inference::ModelStatisticsRequest request;
  inference::ModelStatisticsResponse response;
  const auto get = [&] {
    grpc::ClientContext context;
    response.Clear();
    return inference_->ModelStatistics(&context, request, &response);
  };
  request.set_name("m");
  request.set_version("2");
  ASSERT_TRUE(get().ok());
  ASSERT_EQ(response.model_stats_size(), 1);
  const inference::ModelStatistics& m = response.model_stats(0);
  EXPECT_EQ(m.name(), "m");
  EXPECT_EQ(m.version(), "2");
  EXPECT_EQ(m.inference_count(), 4U);
  EXPECT_EQ(m.execution_count(), 1U);
  EXPECT_GT(m.last_inference(), 0U);
  EXPECT_EQ(m.inference_stats().success().count(), 2U);
  EXPECT_GT(m.inference_stats().success().ns(), 0U);
  EXPECT_EQ(m.inference_stats().fail().count(), 1U);
  EXPECT_EQ(m.inference_stats().queue().count(), 1U);
  EXPECT_EQ(m.inference_stats().queue().ns(), 500'000'000U);
  EXPECT_EQ(m.inference_stats().compute_infer().ns(), 2'000'000U);
  ASSERT_EQ(m.batch_stats_size(), 1);
  EXPECT_EQ(m.batch_stats(0).batch_size(), 4U);
  EXPECT_EQ(m.batch_stats(0).compute_input().count(), 1U);
  EXPECT_EQ(m.memory_usage(0).type(), "CPU");

  request.clear_version();
  ASSERT_TRUE(get().ok());
  EXPECT_EQ(response.model_stats_size(), 2) << "all versions";
  request.clear_name();
  ASSERT_TRUE(get().ok());
  EXPECT_EQ(response.model_stats_size(), 3) << "all models";
  request.set_name("nope");
  EXPECT_EQ(get().error_code(), grpc::StatusCode::NOT_FOUND);
  request.clear_name();
  request.set_version("1");
  EXPECT_EQ(get().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(OipService, OtherMethodsSayThatTheyAreNotThere) {
  grpc::ClientContext context;
  inference::SystemSharedMemoryStatusResponse response;
  const grpc::Status status = inference_->SystemSharedMemoryStatus(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("shared memory is not supported"));
}

}  // namespace
}  // namespace baton::api

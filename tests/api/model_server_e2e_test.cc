// The API over the real ModelServer and engine: from a model file to an answer.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "server/api/grpc_server.h"
#include "server/serving/model_server.h"
#include "tests/api/api_fixture.h"
#include "tests/support/model_builder.h"
#include "tests/support/temp_dir.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineInfer;
using ::baton::testing::AffineRequest;
using ::testing::ElementsAre;

class RealModel : public ::testing::Test {
 protected:
  RealModel() {
    const std::string version = directory_ / "affine/1";
    std::filesystem::create_directories(version);
    BATON_CHECK(WriteFileDurably(version + "/model.onnx", testing::AffineModel(2, 0.5f)).ok());
    serving::ModelServerOptions options;
    options.repository = directory_.path();
    options.poll_seconds = 0.05;
    options.workers = 1;
    models_.emplace(options);
    BATON_CHECK(models_->Start().ok());
    GrpcOptions grpc_options;
    grpc_options.port = 0;
    auto grpc = GrpcServer::Start(grpc_options, *models_);
    BATON_CHECK(grpc.ok());
    grpc_ = *std::move(grpc);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", grpc_->port()),
                                   grpc::InsecureChannelCredentials());
    // Ready when health says so.
    grpc::ClientContext context;
    const auto watch = grpc::health::v1::Health::NewStub(channel_)->Watch(&context, {});
    grpc::health::v1::HealthCheckResponse health;
    while (health.status() != grpc::health::v1::HealthCheckResponse::SERVING) {
      BATON_CHECK(watch->Read(&health));
    }
    context.TryCancel();
    watch->Finish();
  }

  testing::TempDir directory_;
  std::optional<serving::ModelServer> models_;
  std::unique_ptr<GrpcServer> grpc_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(RealModel, AnswersThroughBothProtocols) {
  const auto prediction = tensorflow::serving::PredictionService::NewStub(channel_);
  for (int i = 0; i < 50; ++i) {  // first on a worker, then perhaps inline
    grpc::ClientContext context;
    tensorflow::serving::PredictResponse response;
    const grpc::Status status =
        prediction->Predict(&context, AffineRequest("affine", 1), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_THAT(response.outputs().at("y").float_val(), ElementsAre(2.5f, 4.5f, 6.5f, 8.5f));
    EXPECT_EQ(response.model_spec().version().value(), 1);
  }
  const auto inference = inference::GRPCInferenceService::NewStub(channel_);
  grpc::ClientContext context;
  inference::ModelInferResponse response;
  const grpc::Status status = inference->ModelInfer(&context, AffineInfer("affine", 3), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.raw_output_contents(0).size(), 3 * 4 * sizeof(float));
}

TEST_F(RealModel, NanGoesThrough) {
  auto request = AffineRequest("affine", 1);
  request.mutable_inputs()->at("x").set_float_val(0, std::numeric_limits<float>::quiet_NaN());
  grpc::ClientContext context;
  tensorflow::serving::PredictResponse response;
  ASSERT_TRUE(tensorflow::serving::PredictionService::NewStub(channel_)
                  ->Predict(&context, request, &response)
                  .ok());
  EXPECT_TRUE(std::isnan(response.outputs().at("y").float_val(0)));
  EXPECT_EQ(response.outputs().at("y").float_val(1), 4.5f);
}

TEST_F(RealModel, DrainAnswersWhatIsUnderWayAndRefusesTheRest) {
  models_->BeginDrain();
  const auto prediction = tensorflow::serving::PredictionService::NewStub(channel_);
  tensorflow::serving::PredictResponse response;
  {
    grpc::ClientContext context;
    EXPECT_TRUE(prediction->Predict(&context, AffineRequest("affine", 1), &response).ok())
        << "still served in the grace";
  }
  EXPECT_FALSE(models_->Ready());
  EXPECT_TRUE(models_->Drain(std::chrono::steady_clock::now() + std::chrono::hours(1)));
  grpc::ClientContext context;
  EXPECT_EQ(prediction->Predict(&context, AffineRequest("affine", 1), &response).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace baton::api

// ApiTest: a real gRPC and HTTP server over a real ModelServer, on free loopback ports, with test
// servables put into its registry.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <optional>
#include <string>

#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/grpc_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/model_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"
#include "server/api/grpc_server.h"
#include "server/api/http_server.h"
#include "server/serving/model_server.h"
#include "tests/api/test_servable.h"
#include "tests/support/temp_dir.h"

namespace baton::testing {

class ApiTest : public ::testing::Test {
 protected:
  ApiTest();
  ~ApiTest() override;

  // Makes `servable` ready under its name and version; the model is added if it is new.
  void Publish(const std::shared_ptr<TestServable>& servable);
  // A model float[?,4] → 2x + offset, at most 8 rows, answered at once.
  std::shared_ptr<TestServable> PublishAffine(const std::string& model, int64_t version,
                                              float offset);
  // As PublishAffine, but its tasks are held.
  std::shared_ptr<TestServable> PublishHeld(const std::string& model);
  void Fail(const std::string& model, int64_t version, const absl::Status& why);

  httplib::Client Http() const;

  TempDir directory_;  // the repository: empty
  std::optional<serving::ModelServer> models_;
  std::unique_ptr<api::GrpcServer> grpc_;
  std::unique_ptr<api::HttpServer> http_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<tensorflow::serving::PredictionService::Stub> prediction_;
  std::unique_ptr<tensorflow::serving::ModelService::Stub> model_service_;
  std::unique_ptr<inference::GRPCInferenceService::Stub> inference_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

// x = 1, 2, … as input "x" of `rows` rows of 4.
tensorflow::serving::PredictRequest AffineRequest(const std::string& model, int64_t rows);
inference::ModelInferRequest AffineInfer(const std::string& model, int64_t rows);

}  // namespace baton::testing

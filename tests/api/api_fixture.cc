#include "tests/api/api_fixture.h"

#include "absl/strings/str_cat.h"

namespace baton::testing {
namespace {

serving::ModelServerOptions Options(const std::string& repository) {
  serving::ModelServerOptions options;
  options.repository = repository;
  options.poll_seconds = 0;
  options.workers = 1;
  return options;
}

}  // namespace

ApiTest::ApiTest() {
  models_.emplace(Options(directory_.path()));
  absl::Status started = models_->Start();
  BATON_CHECK_MSG(started.ok(), started.ToString());
  api::GrpcOptions options;
  options.port = 0;
  options.max_message_mb = 1;
  auto grpc = api::GrpcServer::Start(options, *models_);
  BATON_CHECK_MSG(grpc.ok(), grpc.status().ToString());
  grpc_ = *std::move(grpc);
  auto http = api::HttpServer::Start({.port = 0, .threads = 2, .max_message_mb = 1}, *models_);
  BATON_CHECK_MSG(http.ok(), http.status().ToString());
  http_ = *std::move(http);
  channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", grpc_->port()),
                                 grpc::InsecureChannelCredentials());
  prediction_ = tensorflow::serving::PredictionService::NewStub(channel_);
  model_service_ = tensorflow::serving::ModelService::NewStub(channel_);
  inference_ = inference::GRPCInferenceService::NewStub(channel_);
  health_ = grpc::health::v1::Health::NewStub(channel_);
}

ApiTest::~ApiTest() {
  grpc_.reset();
  http_.reset();
  // Their series go before the metrics do.
  for (const serving::ModelStatus& model : models_->registry().StatusOfAll()) {
    for (const serving::VersionStatus& version : model.versions) {
      if (version.state != serving::VersionState::kReady) continue;
      models_->registry().SetState(model.name, version.version, serving::VersionState::kDraining);
    }
  }
}

void ApiTest::Publish(const std::shared_ptr<TestServable>& servable) {
  using enum serving::VersionState;
  servable->CountIn(models_->metrics());
  serving::Registry& registry = models_->registry();
  registry.AddModel(servable->model());
  for (const auto state : {kVerifying, kLoading, kWarming}) {
    registry.SetState(servable->model(), servable->version(), state);
  }
  registry.SetState(servable->model(), servable->version(), kReady, absl::OkStatus(), servable);
}

std::shared_ptr<TestServable> ApiTest::PublishAffine(const std::string& model, int64_t version,
                                                     float offset) {
  auto servable = std::make_shared<TestServable>(model, version, AffineSignature(), 8);
  servable->set_run([offset](const serving::Task& task) { RunAffine(task, offset); });
  Publish(servable);
  return servable;
}

std::shared_ptr<TestServable> ApiTest::PublishHeld(const std::string& model) {
  auto servable = std::make_shared<TestServable>(model, 1, AffineSignature(), 8);
  Publish(servable);
  return servable;
}

void ApiTest::Fail(const std::string& model, int64_t version, const absl::Status& why) {
  models_->registry().AddModel(model);
  models_->registry().SetState(model, version, serving::VersionState::kVerifying);
  models_->registry().SetState(model, version, serving::VersionState::kFailed, why);
}

httplib::Client ApiTest::Http() const { return httplib::Client("127.0.0.1", http_->port()); }

tensorflow::serving::PredictRequest AffineRequest(const std::string& model, int64_t rows) {
  tensorflow::serving::PredictRequest request;
  request.mutable_model_spec()->set_name(model);
  tensorflow::TensorProto& x = (*request.mutable_inputs())["x"];
  x.set_dtype(tensorflow::DT_FLOAT);
  x.mutable_tensor_shape()->add_dim()->set_size(rows);
  x.mutable_tensor_shape()->add_dim()->set_size(4);
  for (int64_t i = 1; i <= rows * 4; ++i) x.add_float_val(static_cast<float>(i));
  return request;
}

inference::ModelInferRequest AffineInfer(const std::string& model, int64_t rows) {
  inference::ModelInferRequest request;
  request.set_model_name(model);
  auto& x = *request.add_inputs();
  x.set_name("x");
  x.set_datatype("FP32");
  x.add_shape(rows);
  x.add_shape(4);
  for (int64_t i = 1; i <= rows * 4; ++i) {
    x.mutable_contents()->add_fp32_contents(static_cast<float>(i));
  }
  return request;
}

}  // namespace baton::testing

#include "tests/client/fake_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <cstring>
#include <vector>

#include "proto/grpc_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/model_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"

namespace baton::testing {
namespace {

using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;

Status UnknownModel(const std::string& name) {
  return Status(StatusCode::NOT_FOUND, "no model \"" + name + "\"");
}
bool IsKnown(const std::string& name) { return name == "affine" || name == "digits"; }

std::vector<float> Floats(const std::string& raw) {
  std::vector<float> values(raw.size() / sizeof(float));
  std::memcpy(values.data(), raw.data(), values.size() * sizeof(float));
  return values;
}
std::string Raw(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::vector<float> Answer(const std::string& model, const std::vector<float>& in, int64_t version) {
  std::vector<float> out;
  if (model == "affine") {
    for (const float x : in) out.push_back(x + static_cast<float>(version));
    return out;
  }
  for (size_t row = 0; row < in.size() / 784; ++row) {
    for (int label = 0; label < 10; ++label) {
      out.push_back(label == static_cast<int>(in[row * 784]) % 10 ? 0.91F : 0.01F);
    }
  }
  return out;
}

}  // namespace

class FakeServer::TensorFlowServing final : public tensorflow::serving::PredictionService::Service {
 public:
  explicit TensorFlowServing(FakeServer& fake) : fake_(fake) {}

  Status Predict(ServerContext* context, const tensorflow::serving::PredictRequest* request,
                 tensorflow::serving::PredictResponse* response) override {
    const std::string& model = request->model_spec().name();
    if (!IsKnown(model)) return UnknownModel(model);
    int64_t version = 0;
    if (Status status = fake_.Begin(context, &version); !status.ok()) return status;
    const std::string input = model == "affine" ? "x" : "image";
    const auto found = request->inputs().find(input);
    if (found == request->inputs().end()) {
      return Status(StatusCode::INVALID_ARGUMENT, "input \"" + input + "\" is missing");
    }
    response->mutable_model_spec()->set_name(model);
    response->mutable_model_spec()->mutable_version()->set_value(version);
    const std::vector<float> out = Answer(model, Floats(found->second.tensor_content()), version);
    auto& output = (*response->mutable_outputs())[model == "affine" ? "y" : "scores"];
    output.set_dtype(tensorflow::DT_FLOAT);
    const int64_t columns = model == "affine" ? 4 : 10;
    output.mutable_tensor_shape()->add_dim()->set_size(static_cast<int64_t>(out.size()) / columns);
    output.mutable_tensor_shape()->add_dim()->set_size(columns);
    for (const float value : out) output.add_float_val(value);
    return Status::OK;
  }

  Status GetModelMetadata(ServerContext*,
                          const tensorflow::serving::GetModelMetadataRequest* request,
                          tensorflow::serving::GetModelMetadataResponse* response) override {
    const std::string& model = request->model_spec().name();
    if (!IsKnown(model)) return UnknownModel(model);
    response->mutable_model_spec()->set_name(model);
    response->mutable_model_spec()->mutable_version()->set_value(1);
    tensorflow::serving::SignatureDefMap map;
    tensorflow::SignatureDef& signature = (*map.mutable_signature_def())["serving_default"];
    const auto add = [](tensorflow::TensorInfo& info, int64_t columns) {
      info.set_dtype(tensorflow::DT_FLOAT);
      info.mutable_tensor_shape()->add_dim()->set_size(-1);
      info.mutable_tensor_shape()->add_dim()->set_size(columns);
    };
    add((*signature.mutable_inputs())[model == "affine" ? "x" : "image"],
        model == "affine" ? 4 : 784);
    add((*signature.mutable_outputs())[model == "affine" ? "y" : "scores"],
        model == "affine" ? 4 : 10);
    (*response->mutable_metadata())["signature_def"].PackFrom(map);
    return Status::OK;
  }

 private:
  FakeServer& fake_;
};

class FakeServer::Models final : public tensorflow::serving::ModelService::Service {
  Status GetModelStatus(ServerContext*, const tensorflow::serving::GetModelStatusRequest* request,
                        tensorflow::serving::GetModelStatusResponse* response) override {
    if (!IsKnown(request->model_spec().name())) return UnknownModel(request->model_spec().name());
    auto* old = response->add_model_version_status();
    old->set_version(9);
    old->set_state(tensorflow::serving::ModelVersionStatus::AVAILABLE);
    auto* broken = response->add_model_version_status();
    broken->set_version(10);
    broken->set_state(tensorflow::serving::ModelVersionStatus::END);
    broken->mutable_status()->set_error_code(tensorflow::error::INVALID_ARGUMENT);
    broken->mutable_status()->set_error_message("golden sample 0 is off by 0.5");
    return Status::OK;
  }
};

class FakeServer::OpenInference final : public inference::GRPCInferenceService::Service {
 public:
  explicit OpenInference(FakeServer& fake) : fake_(fake) {}

  Status ModelInfer(ServerContext* context, const inference::ModelInferRequest* request,
                    inference::ModelInferResponse* response) override {
    const std::string& model = request->model_name();
    if (!IsKnown(model)) return UnknownModel(model);
    int64_t version = 0;
    if (Status status = fake_.Begin(context, &version); !status.ok()) return status;
    const std::string input = model == "affine" ? "x" : "image";
    if (request->inputs_size() != 1 || request->inputs(0).name() != input ||
        request->inputs(0).datatype() != "FP32" || request->raw_input_contents_size() != 1) {
      return Status(StatusCode::INVALID_ARGUMENT, "expected raw FP32 input \"" + input + "\"");
    }
    const std::vector<float> out = Answer(model, Floats(request->raw_input_contents(0)), version);
    response->set_model_name(model);
    response->set_model_version(std::to_string(version));
    auto* output = response->add_outputs();
    output->set_name(model == "affine" ? "y" : "scores");
    output->set_datatype("FP32");
    const int64_t columns = model == "affine" ? 4 : 10;
    output->add_shape(static_cast<int64_t>(out.size()) / columns);
    output->add_shape(columns);
    response->add_raw_output_contents(Raw(out));
    return Status::OK;
  }
  Status ModelMetadata(ServerContext*, const inference::ModelMetadataRequest* request,
                       inference::ModelMetadataResponse* response) override {
    if (!IsKnown(request->name())) return UnknownModel(request->name());
    const bool affine = request->name() == "affine";
    response->set_name(request->name());
    response->add_versions("9");
    auto* input = response->add_inputs();
    input->set_name(affine ? "x" : "image");
    input->set_datatype("FP32");
    input->add_shape(-1);
    input->add_shape(affine ? 4 : 784);
    auto* output = response->add_outputs();
    output->set_name(affine ? "y" : "scores");
    output->set_datatype("FP32");
    output->add_shape(-1);
    output->add_shape(affine ? 4 : 10);
    return Status::OK;
  }
  Status ModelReady(ServerContext*, const inference::ModelReadyRequest* request,
                    inference::ModelReadyResponse* response) override {
    response->set_ready(IsKnown(request->name()));
    return Status::OK;
  }
  Status ServerLive(ServerContext*, const inference::ServerLiveRequest*,
                    inference::ServerLiveResponse* response) override {
    response->set_live(true);
    return Status::OK;
  }
  Status ServerReady(ServerContext*, const inference::ServerReadyRequest*,
                     inference::ServerReadyResponse* response) override {
    response->set_ready(false);
    return Status::OK;
  }
  Status RepositoryIndex(ServerContext*, const inference::RepositoryIndexRequest*,
                         inference::RepositoryIndexResponse* response) override {
    if (!fake_.has_index) return Status(StatusCode::UNIMPLEMENTED, "");
    for (const char* version : {"2", "10"}) {
      auto* model = response->add_models();
      model->set_name("affine");
      model->set_version(version);
      model->set_state(version == std::string("2") ? "READY" : "UNAVAILABLE");
      if (version == std::string("10")) model->set_reason("sha256 differs");
    }
    return Status::OK;
  }

 private:
  FakeServer& fake_;
};

FakeServer::FakeServer()
    : tensorflow_serving_(std::make_unique<TensorFlowServing>(*this)),
      models_(std::make_unique<Models>()),
      open_inference_(std::make_unique<OpenInference>(*this)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(tensorflow_serving_.get());
  builder.RegisterService(models_.get());
  builder.RegisterService(open_inference_.get());
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() {
  hold = false;
  server_->Shutdown(std::chrono::system_clock::now());
}

std::string FakeServer::address() const { return "127.0.0.1:" + std::to_string(port_); }

Status FakeServer::Begin(ServerContext* context, int64_t* version_out) {
  MutexLock lock(mu_);
  const int64_t n = predicts_++;
  *version_out = version(n);
  came_.SignalAll();
  while (hold && !context->IsCancelled()) {
    came_.WaitUntil(mu_, std::chrono::steady_clock::now() + std::chrono::milliseconds(5));
  }
  return status(n);
}

void FakeServer::WaitForPredicts(int64_t n) {
  MutexLock lock(mu_);
  while (predicts_ < n) came_.Wait(mu_);
}

int64_t FakeServer::predicts() {
  MutexLock lock(mu_);
  return predicts_;
}

}  // namespace baton::testing

#include "tests/e2e/affine_client.h"

#include <cstring>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "proto/grpc_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/model_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"

namespace baton::testing {
namespace {

constexpr int64_t kColumns = 4;
constexpr std::chrono::seconds kDeadline(60);
constexpr size_t kMostProblems = 5;  // of one client; after that it stops

void SetDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
}

std::string Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::vector<float> Floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

class ClientBase : public AffineClient {
 public:
  ClientBase(std::string model, int64_t rows) : model_(std::move(model)), rows_(rows) {}

 protected:
  // Multiples of 1/64 below 16: x + version is exact for every version that a test uses.
  std::vector<float> NextInput() {
    std::vector<float> x(rows_ * kColumns);
    for (float& value : x) value = static_cast<float>(random_() % 1024) / 64;
    return x;
  }

  static Answer Check(const std::vector<float>& x, const std::vector<float>& y,
                      int64_t named_version) {
    Answer answer;
    answer.version = named_version;
    if (y.size() != x.size()) {
      answer.problem = absl::StrCat(y.size(), " values for ", x.size());
      return answer;
    }
    for (size_t i = 0; i < x.size(); ++i) {
      if (y[i] - x[i] != static_cast<float>(named_version)) {
        answer.problem = absl::StrCat("value ", i, " is x + ", y[i] - x[i],
                                      ", the reply names version ", named_version);
        return answer;
      }
    }
    return answer;
  }

  const std::string model_;
  const int64_t rows_;

 private:
  std::minstd_rand random_;
};

class TensorFlowClient final : public ClientBase {
 public:
  TensorFlowClient(const std::shared_ptr<grpc::Channel>& channel, std::string model, int64_t rows)
      : ClientBase(std::move(model), rows),
        stub_(tensorflow::serving::PredictionService::NewStub(channel)) {}

  Answer Call(std::optional<int64_t> version) override {
    const std::vector<float> x = NextInput();
    tensorflow::serving::PredictRequest request;
    request.mutable_model_spec()->set_name(model_);
    if (version) request.mutable_model_spec()->mutable_version()->set_value(*version);
    tensorflow::TensorProto& input = (*request.mutable_inputs())["x"];
    input.set_dtype(tensorflow::DT_FLOAT);
    input.mutable_tensor_shape()->add_dim()->set_size(rows_);
    input.mutable_tensor_shape()->add_dim()->set_size(kColumns);
    input.set_tensor_content(Bytes(x));
    grpc::ClientContext context;
    SetDeadline(context);
    tensorflow::serving::PredictResponse response;
    const grpc::Status status = stub_->Predict(&context, request, &response);
    if (!status.ok()) return {status};
    const auto y = response.outputs().find("y");
    if (y == response.outputs().end()) return {status, 0, "the reply has no output \"y\""};
    const auto& values = y->second.float_val();
    return Check(x,
                 y->second.tensor_content().empty()
                     ? std::vector<float>(values.begin(), values.end())
                     : Floats(y->second.tensor_content()),
                 response.model_spec().version().value());
  }

 private:
  const std::unique_ptr<tensorflow::serving::PredictionService::Stub> stub_;
};

class OpenInferenceClient final : public ClientBase {
 public:
  OpenInferenceClient(const std::shared_ptr<grpc::Channel>& channel, std::string model,
                      int64_t rows)
      : ClientBase(std::move(model), rows),
        stub_(inference::GRPCInferenceService::NewStub(channel)) {}

  Answer Call(std::optional<int64_t> version) override {
    const std::vector<float> x = NextInput();
    inference::ModelInferRequest request;
    request.set_model_name(model_);
    if (version) request.set_model_version(absl::StrCat(*version));
    auto& input = *request.add_inputs();
    input.set_name("x");
    input.set_datatype("FP32");
    input.add_shape(rows_);
    input.add_shape(kColumns);
    request.add_raw_input_contents(Bytes(x));
    grpc::ClientContext context;
    SetDeadline(context);
    inference::ModelInferResponse response;
    const grpc::Status status = stub_->ModelInfer(&context, request, &response);
    if (!status.ok()) return {status};
    int64_t named = 0;
    if (!absl::SimpleAtoi(response.model_version(), &named)) {
      return {status, 0,
              absl::StrCat("the reply names version \"", response.model_version(), "\"")};
    }
    if (response.outputs_size() != 1 || response.raw_output_contents_size() != 1) {
      return {status, 0, "the reply has not one raw output"};
    }
    return Check(x, Floats(response.raw_output_contents(0)), named);
  }

 private:
  const std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
};

}  // namespace

std::unique_ptr<AffineClient> AffineClient::Make(Protocol protocol,
                                                 std::shared_ptr<grpc::Channel> channel,
                                                 std::string model, int64_t rows) {
  if (protocol == Protocol::kTensorFlow) {
    return std::make_unique<TensorFlowClient>(channel, std::move(model), rows);
  }
  return std::make_unique<OpenInferenceClient>(channel, std::move(model), rows);
}

tensorflow::serving::ModelVersionStatus AffineClient::GetStatus(
    const std::shared_ptr<grpc::Channel>& channel, const std::string& model, int64_t version) {
  tensorflow::serving::GetModelStatusRequest request;
  request.mutable_model_spec()->set_name(model);
  grpc::ClientContext context;
  SetDeadline(context);
  tensorflow::serving::GetModelStatusResponse response;
  const auto stub = tensorflow::serving::ModelService::NewStub(channel);
  if (stub->GetModelStatus(&context, request, &response).ok()) {
    for (const auto& status : response.model_version_status()) {
      if (status.version() == version) return status;
    }
  }
  return {};
}

LoadOfClients::LoadOfClients(const ServerProcess& server, const std::string& model, int clients) {
  for (int i = 0; i < clients; ++i) {
    affine_.push_back(AffineClient::Make(
        i % 2 == 0 ? AffineClient::Protocol::kTensorFlow : AffineClient::Protocol::kOpenInference,
        server.NewChannel(), model, /*rows=*/1 + i % 3));
    clients_.push_back(std::make_unique<Client>());
  }
  for (int i = 0; i < clients; ++i) {
    clients_[i]->thread = std::thread([this, i] { Run(*clients_[i], *affine_[i]); });
  }
}

LoadOfClients::~LoadOfClients() {
  stop_ = true;
  for (const auto& client : clients_) {
    if (client->thread.joinable()) client->thread.join();
  }
}

int64_t LoadOfClients::newest_seen() const {
  int64_t newest = 0;
  for (const auto& client : clients_) newest = std::max(newest, client->current.load());
  return newest;
}

int64_t LoadOfClients::oldest_current() const {
  int64_t oldest = INT64_MAX;
  for (const auto& client : clients_) oldest = std::min(oldest, client->current.load());
  return oldest;
}

LoadOfClients::Result LoadOfClients::Stop() {
  stop_ = true;
  Result result;
  for (const auto& client : clients_) {
    client->thread.join();
    result.calls_by_client.push_back(client->calls);
    result.versions.insert(client->versions.begin(), client->versions.end());
    result.problems.insert(result.problems.end(), client->problems.begin(), client->problems.end());
  }
  return result;
}

void LoadOfClients::Run(Client& client, AffineClient& affine) {
  while (!stop_ && client.problems.size() < kMostProblems) {
    const AffineClient::Answer answer = affine.Call(std::nullopt);
    if (allow_unavailable_ && answer.status.error_code() == grpc::StatusCode::UNAVAILABLE) return;
    if (!answer.status.ok()) {
      client.problems.push_back(
          absl::StrCat("code ", answer.status.error_code(), ": ", answer.status.error_message()));
      continue;
    }
    ++client.calls;
    client.versions.insert(answer.version);
    if (!answer.problem.empty()) client.problems.push_back(answer.problem);
    if (answer.version < client.current) {
      client.problems.push_back(
          absl::StrCat("version ", answer.version, " after version ", client.current.load()));
    }
    client.current = answer.version;
  }
}

}  // namespace baton::testing

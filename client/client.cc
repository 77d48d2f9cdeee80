#include "client/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "client/tensor_codec.h"
#include "proto/baton/admin.grpc.pb.h"
#include "proto/grpc_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/model_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"

namespace baton {
namespace {

using inference::GRPCInferenceService;
using tensorflow::serving::ModelService;
using tensorflow::serving::PredictionService;

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::vector<TensorInfo> FromTensorFlow(
    const google::protobuf::Map<std::string, tensorflow::TensorInfo>& infos) {
  std::vector<TensorInfo> tensors;
  for (const auto& [name, info] : infos) {
    TensorInfo tensor{name, DataTypeFromTensorFlow(info.dtype()), {}};
    for (const auto& dim : info.tensor_shape().dim()) tensor.shape.push_back(dim.size());
    tensors.push_back(std::move(tensor));
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  return tensors;
}

template <typename Field>
std::vector<TensorInfo> FromOpenInference(const Field& infos) {
  std::vector<TensorInfo> tensors;
  for (const auto& info : infos) {
    tensors.push_back({info.name(), DataTypeFromOpenInference(info.datatype()),
                       Shape(info.shape().begin(), info.shape().end())});
  }
  return tensors;
}

// By model, then newest version first.
void Sort(std::vector<VersionState>& states) {
  const auto number = [](const VersionState& state) {
    int64_t version = 0;
    return absl::SimpleAtoi(state.version, &version) ? version : 0;
  };
  std::stable_sort(states.begin(), states.end(), [&](const VersionState& a, const VersionState& b) {
    return a.model != b.model ? a.model < b.model : number(a) > number(b);
  });
}

}  // namespace

absl::Status ValidateServerAddress(const std::string& server) {
  if (absl::StartsWith(server, "unix:") || absl::StartsWith(server, "unix-abstract:")) {
    return absl::OkStatus();
  }
  const size_t colon = server.rfind(':');
  int port = 0;
  const bool has_port = colon != std::string::npos && colon > 0 &&
                        absl::SimpleAtoi(server.substr(colon + 1), &port) && port > 0 &&
                        port < 65536;
  if (!has_port || absl::StrContains(server, "://")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", server, "\" is not a server's address; expected HOST:PORT or unix:PATH"));
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::Channel> NewChannel(const std::string& server,
                                          const ClientSecurity& security) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(-1);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A server that restarts is found again soon; the default waits up to two minutes.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  const auto credentials =
      security.ca.empty() ? grpc::InsecureChannelCredentials()
                          : grpc::SslCredentials({security.ca, security.key, security.certificate});
  return grpc::CreateCustomChannel(server, credentials, args);
}

void AddToken(const ClientSecurity& security, grpc::ClientContext& context) {
  if (security.token.empty()) return;
  context.AddMetadata("authorization", absl::StrCat("Bearer ", security.token));
}

absl::Status CallStatus(const grpc::Status& status, const std::string& server,
                        grpc::Channel& channel) {
  const bool connected = channel.GetState(false) == GRPC_CHANNEL_READY;
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && !connected) {
    return Annotate(ToStatus(status), absl::StrCat("cannot reach ", server));
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return Annotate(ToStatus(status), absl::StrCat("no answer from ", server, " in time",
                                                   connected ? "" : " (not connected)"));
  }
  return ToStatus(status);
}

Client::Client(std::string server, const ClientOptions& options)
    : server_(std::move(server)),
      options_(options),
      channel_(NewChannel(server_, options.security)) {}

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const std::string& server,
                                                       const ClientOptions& options) {
  RETURN_IF_ERROR(ValidateServerAddress(server));
  return std::unique_ptr<Client>(new Client(server, options));
}

template <typename Service, typename Request, typename Reply>
absl::StatusOr<Reply> Client::Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                         const Request&, Reply*),
                                   const Request& request) {
  const std::unique_ptr<typename Service::Stub> stub = Service::NewStub(channel_);
  grpc::ClientContext context;
  AddToken(options_.security, context);
  context.set_deadline(
      std::chrono::system_clock::now() +
      std::chrono::duration_cast<std::chrono::system_clock::duration>(options_.timeout));
  Reply reply;
  const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
  if (!status.ok()) return CallStatus(status, server_, *channel_);
  return reply;
}

absl::StatusOr<PredictResult> Client::Predict(const ModelRef& model,
                                              absl::Span<const NamedTensor> inputs) {
  RETURN_IF_ERROR(ValidateModelRef(options_.protocol, model));
  PredictResult result;
  if (options_.protocol == Protocol::kOpenInference) {
    inference::ModelInferRequest request;
    SetPredictRequest(model, inputs, &request);
    ASSIGN_OR_RETURN(const inference::ModelInferResponse reply,
                     Call<GRPCInferenceService>(&GRPCInferenceService::Stub::ModelInfer, request));
    result.version = reply.model_version();
    ASSIGN_OR_RETURN(result.outputs, DecodeOpenInferenceOutputs(reply));
    return result;
  }
  tensorflow::serving::PredictRequest request;
  SetPredictRequest(model, inputs, &request);
  ASSIGN_OR_RETURN(const tensorflow::serving::PredictResponse reply,
                   Call<PredictionService>(&PredictionService::Stub::Predict, request));
  if (reply.model_spec().has_version()) {
    result.version = absl::StrCat(reply.model_spec().version().value());
  }
  for (const auto& [name, proto] : reply.outputs()) {
    absl::StatusOr<Tensor> tensor = DecodeTensorFlow(proto);
    if (!tensor.ok()) {
      return Annotate(tensor.status(), absl::StrCat("the reply's output \"", name, "\""));
    }
    result.outputs.push_back({name, *std::move(tensor)});
  }
  std::sort(result.outputs.begin(), result.outputs.end(),
            [](const NamedTensor& a, const NamedTensor& b) { return a.name < b.name; });
  return result;
}

absl::StatusOr<Signature> Client::Metadata(const ModelRef& model) {
  RETURN_IF_ERROR(ValidateModelRef(options_.protocol, model));
  Signature signature;
  signature.model = model.name;
  if (options_.protocol == Protocol::kOpenInference) {
    inference::ModelMetadataRequest request;
    request.set_name(model.name);
    if (model.version.has_value()) request.set_version(absl::StrCat(*model.version));
    ASSIGN_OR_RETURN(
        const inference::ModelMetadataResponse reply,
        Call<GRPCInferenceService>(&GRPCInferenceService::Stub::ModelMetadata, request));
    signature.version =
        model.version.has_value() ? request.version() : absl::StrJoin(reply.versions(), ",");
    signature.inputs = FromOpenInference(reply.inputs());
    signature.outputs = FromOpenInference(reply.outputs());
    return signature;
  }
  tensorflow::serving::GetModelMetadataRequest request;
  SetModelSpec(model, request.mutable_model_spec());
  request.add_metadata_field("signature_def");
  ASSIGN_OR_RETURN(const tensorflow::serving::GetModelMetadataResponse reply,
                   Call<PredictionService>(&PredictionService::Stub::GetModelMetadata, request));
  tensorflow::serving::SignatureDefMap signatures;
  const auto field = reply.metadata().find("signature_def");
  if (field == reply.metadata().end() || !field->second.UnpackTo(&signatures)) {
    return absl::InternalError(
        absl::StrCat("the metadata of model \"", model.name, "\" has no signature_def"));
  }
  const auto served = signatures.signature_def().find("serving_default");
  if (served == signatures.signature_def().end()) {
    return absl::InternalError(
        absl::StrCat("model \"", model.name, "\" has no signature \"serving_default\""));
  }
  if (reply.model_spec().has_version()) {
    signature.version = absl::StrCat(reply.model_spec().version().value());
  }
  signature.inputs = FromTensorFlow(served->second.inputs());
  signature.outputs = FromTensorFlow(served->second.outputs());
  return signature;
}

absl::StatusOr<std::vector<VersionState>> Client::Status(const ModelRef& model) {
  RETURN_IF_ERROR(ValidateModelRef(options_.protocol, model));
  std::vector<VersionState> states;
  if (options_.protocol == Protocol::kTensorFlowServing) {
    tensorflow::serving::GetModelStatusRequest request;
    SetModelSpec(model, request.mutable_model_spec());
    ASSIGN_OR_RETURN(const tensorflow::serving::GetModelStatusResponse reply,
                     Call<ModelService>(&ModelService::Stub::GetModelStatus, request));
    for (const auto& version : reply.model_version_status()) {
      const bool known = tensorflow::serving::ModelVersionStatus::State_IsValid(version.state());
      VersionState state{model.name,
                         absl::StrCat(version.version()),
                         known
                             ? tensorflow::serving::ModelVersionStatus::State_Name(version.state())
                             : absl::StrCat("state ", version.state()),
                         {}};
      if (version.status().error_code() != 0) {
        const auto code = static_cast<absl::StatusCode>(version.status().error_code());
        state.reason = absl::Status(code, version.status().error_message()).ToString();
      }
      states.push_back(std::move(state));
    }
    Sort(states);
    return states;
  }
  const std::string version = model.version.has_value() ? absl::StrCat(*model.version) : "";
  const absl::StatusOr<std::vector<VersionState>> all = Models();
  if (all.ok()) {
    bool known = false;
    for (const VersionState& state : *all) {
      if (state.model != model.name) continue;
      known = true;
      if (version.empty() || state.version == version) states.push_back(state);
    }
    if (!states.empty()) return states;
    return absl::NotFoundError(absl::StrCat(
        "the server has no model \"", model.name, "\"",
        known ? absl::StrCat(" of version ", version) : std::string("; `baton models` lists all")));
  }
  if (!absl::IsUnimplemented(all.status())) return all.status();
  inference::ModelReadyRequest request;
  request.set_name(model.name);
  request.set_version(version);
  ASSIGN_OR_RETURN(const inference::ModelReadyResponse reply,
                   Call<GRPCInferenceService>(&GRPCInferenceService::Stub::ModelReady, request));
  states.push_back({model.name, version, reply.ready() ? "READY" : "UNAVAILABLE", {}});
  return states;
}

absl::StatusOr<std::vector<VersionState>> Client::Models() {
  absl::StatusOr<inference::RepositoryIndexResponse> reply = Call<GRPCInferenceService>(
      &GRPCInferenceService::Stub::RepositoryIndex, inference::RepositoryIndexRequest());
  if (absl::IsUnimplemented(reply.status())) {
    return absl::UnimplementedError(
        absl::StrCat("the server at ", server_, " does not list its models (it has no ",
                     "RepositoryIndex); ask for one by name: baton status --model=NAME"));
  }
  RETURN_IF_ERROR(reply.status());
  std::vector<VersionState> states;
  for (const auto& model : reply->models()) {
    states.push_back({model.name(), model.version(), model.state(), model.reason()});
  }
  Sort(states);
  return states;
}

absl::Status Client::LoadModel(const std::string& model, const std::optional<std::string>& config) {
  inference::RepositoryModelLoadRequest request;
  request.set_model_name(model);
  if (config.has_value()) (*request.mutable_parameters())["config"].set_string_param(*config);
  return Call<GRPCInferenceService>(&GRPCInferenceService::Stub::RepositoryModelLoad, request)
      .status();
}

absl::Status Client::UnloadModel(const std::string& model) {
  inference::RepositoryModelUnloadRequest request;
  request.set_model_name(model);
  return Call<GRPCInferenceService>(&GRPCInferenceService::Stub::RepositoryModelUnload, request)
      .status();
}

absl::Status Client::SetLabel(const std::string& model, const std::string& label, int64_t version) {
  SetLabelRequest request;
  request.set_model_name(model);
  request.set_label(label);
  request.set_version(version);
  const absl::Status status = Call<AdminService>(&AdminService::Stub::SetLabel, request).status();
  if (!absl::IsUnimplemented(status)) return status;
  return absl::UnimplementedError(
      absl::StrCat("the server at ", server_, " is not Baton: it has no call that sets labels"));
}

absl::StatusOr<ServerState> Client::Server() {
  ASSIGN_OR_RETURN(const inference::ServerLiveResponse live,
                   Call<GRPCInferenceService>(&GRPCInferenceService::Stub::ServerLive,
                                              inference::ServerLiveRequest()));
  ASSIGN_OR_RETURN(const inference::ServerReadyResponse ready,
                   Call<GRPCInferenceService>(&GRPCInferenceService::Stub::ServerReady,
                                              inference::ServerReadyRequest()));
  return ServerState{live.live(), ready.ready()};
}

}  // namespace baton

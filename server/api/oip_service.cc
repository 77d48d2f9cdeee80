#include "server/api/oip_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/version.h"
#include "server/api/oip_codec.h"
#include "server/api/refused_stream.h"
#include "server/api/run.h"
#include "server/api/unary_call.h"

namespace baton::api {
namespace {

using Service = inference::GRPCInferenceService::AsyncService;

// A version is a number; anything else is taken for a label.
serving::VersionChoice ChoiceOf(const std::string& version) {
  serving::VersionChoice choice;
  int64_t number = 0;
  if (version.empty()) return choice;
  if (absl::SimpleAtoi(version, &number)) {
    choice.version = number;
  } else {
    choice.label = version;
  }
  return choice;
}

// The request's deadline and priority: the call's, narrowed by Triton's parameters `timeout`
// (microseconds) and `priority`.
struct Terms {
  SteadyTime deadline;
  int priority = 0;
};

absl::StatusOr<Terms> TermsOf(const inference::ModelInferRequest& request,
                              const serving::Servable& servable, SteadyTime deadline) {
  Terms terms{deadline};
  const auto number = [&](const char* name) -> absl::StatusOr<int64_t> {
    const auto found = request.parameters().find(name);
    if (found == request.parameters().end()) return 0;
    const inference::InferParameter& parameter = found->second;
    constexpr int64_t kMost = int64_t{1} << 40;  // 12 days in microseconds
    int64_t value = -1;
    if (parameter.parameter_choice_case() == inference::InferParameter::kInt64Param) {
      value = parameter.int64_param();
    } else if (parameter.parameter_choice_case() == inference::InferParameter::kUint64Param) {
      value = static_cast<int64_t>(
          std::min<uint64_t>(parameter.uint64_param(), static_cast<uint64_t>(kMost) + 1));
    }
    if (value < 0 || value > kMost) {
      return absl::InvalidArgumentError(absl::StrCat(Describe(servable), ": parameter \"", name,
                                                     "\" must be an int64_param from 0 to ",
                                                     kMost));
    }
    return value;
  };
  ASSIGN_OR_RETURN(const int64_t timeout_us, number("timeout"));
  if (timeout_us > 0) {
    terms.deadline = std::min(
        terms.deadline, std::chrono::steady_clock::now() + std::chrono::microseconds(timeout_us));
  }
  ASSIGN_OR_RETURN(const int64_t priority, number("priority"));
  terms.priority = static_cast<int>(std::min<int64_t>(priority, 1 << 30));
  return terms;
}

absl::string_view IndexState(serving::VersionState state) {
  switch (state) {
    case serving::VersionState::kReady:
      return "READY";
    case serving::VersionState::kVerifying:
    case serving::VersionState::kLoading:
    case serving::VersionState::kWarming:
      return "LOADING";
    case serving::VersionState::kDraining:
      return "UNLOADING";
    case serving::VersionState::kAbsent:
    case serving::VersionState::kGone:
    case serving::VersionState::kFailed:
      return "UNAVAILABLE";
  }
  return "UNKNOWN";
}

void AddTensorMetadata(
    const std::vector<engine::ValueInfo>& infos,
    google::protobuf::RepeatedPtrField<inference::ModelMetadataResponse::TensorMetadata>& out) {
  for (const engine::ValueInfo& info : infos) {
    auto& added = *out.Add();
    added.set_name(info.name);
    added.set_datatype(OipTypeName(info.type));
    for (const engine::Dim& dim : info.dims) added.add_shape(dim.value);
  }
}

}  // namespace

void OipService::Register(grpc::ServerBuilder& builder) { builder.RegisterService(&service_); }

void OipService::Serve(CallLoop& loop, int busy_calls) {
  ServeUnary<RunState>(loop, service_, &Service::RequestModelInfer, busy_calls,
                       [this](auto& call) { ModelInfer(call); });
  ServeUnary(loop, service_, &Service::RequestServerLive, 1, [](auto& call) {
    call.response().set_live(true);
    call.Finish(absl::OkStatus());
  });
  ServeUnary(loop, service_, &Service::RequestServerReady, 1, [this](auto& call) {
    call.response().set_ready(server_.Ready());
    call.Finish(absl::OkStatus());
  });
  ServeUnary(loop, service_, &Service::RequestServerMetadata, 1, [](auto& call) {
    call.response().set_name("baton");
    call.response().set_version(kBatonVersion);
    call.Finish(absl::OkStatus());
  });
  ServeUnary(loop, service_, &Service::RequestModelReady, 1,
             [this](auto& call) { call.Finish(ModelReady(call.request(), call.response())); });
  ServeUnary(loop, service_, &Service::RequestModelMetadata, 1, [this](auto& call) {
    call.Finish(ModelMetadata(call.request(), call.arrived(), call.response()));
  });
  ServeUnary(loop, service_, &Service::RequestRepositoryIndex, 1,
             [this](auto& call) { call.Finish(RepositoryIndex(call.request(), call.response())); });
  ServeUnary(loop, service_, &Service::RequestRepositoryModelLoad, 1, [this](auto& call) {
    admin_.LoadModel(call.request(), call.context().peer(),
                     [&call](const absl::Status& status) { call.Finish(status); });
  });
  ServeUnary(loop, service_, &Service::RequestRepositoryModelUnload, 1, [this](auto& call) {
    admin_.UnloadModel(call.request(), call.context().peer(),
                       [&call](const absl::Status& status) { call.Finish(status); });
  });
  ServeRefusals(loop);
}

void OipService::ServeRefusals(CallLoop& loop) {
  RefusedStream<inference::ModelStreamInferResponse, inference::ModelInferRequest>::Serve(
      loop, service_, &Service::RequestModelStreamInfer,
      "ModelStreamInfer is not supported; call ModelInfer for each request");
  RefuseUnary(loop, service_, &Service::RequestModelConfig,
              "ModelConfig is not supported; ModelMetadata gives inputs and outputs");
  RefuseUnary(loop, service_, &Service::RequestModelStatistics,
              "ModelStatistics is not supported; GET /metrics gives counts and times");
  static constexpr char kShared[] = "shared memory is not supported; send tensors in the message";
  RefuseUnary(loop, service_, &Service::RequestSystemSharedMemoryStatus, kShared);
  RefuseUnary(loop, service_, &Service::RequestSystemSharedMemoryRegister, kShared);
  RefuseUnary(loop, service_, &Service::RequestSystemSharedMemoryUnregister, kShared);
  RefuseUnary(loop, service_, &Service::RequestCudaSharedMemoryStatus, kShared);
  RefuseUnary(loop, service_, &Service::RequestCudaSharedMemoryRegister, kShared);
  RefuseUnary(loop, service_, &Service::RequestCudaSharedMemoryUnregister, kShared);
  RefuseUnary(loop, service_, &Service::RequestTraceSetting, "tracing is not supported");
  RefuseUnary(loop, service_, &Service::RequestLogSettings,
              "log settings cannot be changed by request");
}

template <typename Call>
void OipService::ModelInfer(Call& call) {
  constexpr serving::Method kMethod = serving::Method::kModelInfer;
  const inference::ModelInferRequest& request = call.request();
  auto servable =
      server_.registry().Acquire(request.model_name(), ChoiceOf(request.model_version()));
  if (!servable.ok()) {
    RecordUnserved(server_, request.model_name(), kMethod, servable.status());
    return call.Finish(servable.status());
  }
  RunState& state = call.state();
  state.servable = *std::move(servable);
  auto terms = TermsOf(request, *state.servable, DeadlineOf(call.context()));
  if (!terms.ok()) return Answer(call, kMethod, terms.status());
  auto outputs = InferOutputs(request, *state.servable);
  if (!outputs.ok()) return Answer(call, kMethod, outputs.status());
  state.outputs = *std::move(outputs);
  auto inputs = DecodeInferInputs(request, *state.servable, max_tensor_bytes_);
  if (!inputs.ok()) return Answer(call, kMethod, inputs.status());
  Run(call, kMethod, *std::move(inputs), terms->deadline, terms->priority,
      [](Call& answered, absl::Span<const TensorView> results) {
        const serving::Servable& by = *answered.state().servable;
        inference::ModelInferResponse& response = answered.response();
        response.set_model_name(by.model());
        response.set_model_version(absl::StrCat(by.version()));
        response.set_id(answered.request().id());
        for (const size_t index : answered.state().outputs) {
          AddInferOutput(by.signature().outputs[index].name, results[index], response);
        }
      });
}

absl::Status OipService::ModelMetadata(const inference::ModelMetadataRequest& request,
                                       SteadyTime arrived,
                                       inference::ModelMetadataResponse& response) {
  constexpr serving::Method kMethod = serving::Method::kModelMetadata;
  auto servable = server_.registry().Acquire(request.name(), ChoiceOf(request.version()));
  if (!servable.ok()) {
    RecordUnserved(server_, request.name(), kMethod, servable.status());
    return servable.status();
  }
  const engine::Signature& signature = (*servable)->signature();
  response.set_name((*servable)->model());
  response.set_platform("onnxruntime_onnx");  // what clients know ONNX models by
  if (request.version().empty()) {
    if (const auto status = server_.registry().Status(request.name()); status.ok()) {
      for (const serving::VersionStatus& version : status->versions) {
        if (version.state != serving::VersionState::kReady) continue;
        response.add_versions(absl::StrCat(version.version));
      }
    }
  } else {
    response.add_versions(absl::StrCat((*servable)->version()));
  }
  AddTensorMetadata(signature.inputs, *response.mutable_inputs());
  AddTensorMetadata(signature.outputs, *response.mutable_outputs());
  (*servable)->metrics().RecordRequest(kMethod, absl::StatusCode::kOk,
                                       Seconds(std::chrono::steady_clock::now() - arrived));
  return absl::OkStatus();
}

absl::Status OipService::ModelReady(const inference::ModelReadyRequest& request,
                                    inference::ModelReadyResponse& response) {
  // As Triton: a model that is not there is simply not ready.
  const bool ready = server_.registry().Acquire(request.name(), ChoiceOf(request.version())).ok();
  RecordUnserved(server_, request.name(), serving::Method::kModelReady, absl::OkStatus());
  response.set_ready(ready);
  return absl::OkStatus();
}

absl::Status OipService::RepositoryIndex(const inference::RepositoryIndexRequest& request,
                                         inference::RepositoryIndexResponse& response) {
  for (const serving::ModelStatus& model : server_.Index()) {
    const auto add = [&](absl::string_view state, const absl::Status& error) {
      auto& entry = *response.add_models();
      entry.set_name(model.name);
      entry.set_state(std::string(state));
      entry.set_reason(std::string(error.message()));
      return &entry;
    };
    if (model.versions.empty() && !request.ready()) add("UNAVAILABLE", model.error);
    for (const serving::VersionStatus& version : model.versions) {
      if (request.ready() && version.state != serving::VersionState::kReady) continue;
      add(IndexState(version.state), version.error)->set_version(absl::StrCat(version.version));
    }
  }
  return absl::OkStatus();
}

}  // namespace baton::api

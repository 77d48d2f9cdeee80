#include "server/api/oip_service.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/version.h"
#include "server/api/oip_codec.h"
#include "server/api/oip_inference.h"
#include "server/api/oip_model_config.h"
#include "server/api/oip_statistics.h"
#include "server/api/unary_call.h"

namespace baton::api {
namespace {

using Service = inference::GRPCInferenceService::AsyncService;

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

void AddToIndex(const serving::ModelStatus& model, bool only_ready,
                inference::RepositoryIndexResponse& response) {
  const auto add = [&](absl::string_view state, const absl::Status& error) {
    auto& entry = *response.add_models();
    entry.set_name(model.name);
    entry.set_state(std::string(state));
    entry.set_reason(std::string(error.message()));
    return &entry;
  };
  if (model.versions.empty() && !only_ready) add("UNAVAILABLE", model.error);
  for (const serving::VersionStatus& version : model.versions) {
    if (only_ready && version.state != serving::VersionState::kReady) continue;
    auto* entry = add(IndexState(version.state), version.error);
    entry->set_version(absl::StrCat(version.version));
    if (version.error.ok()) entry->set_reason(version.note);
  }
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
  ServeUnary(loop, service_, &Service::RequestModelInfer, busy_calls, [this](auto& call) {
    Infer(server_, call.request(), call.Terms(serving::Method::kModelInfer, max_tensor_bytes_),
          call.response(), call.Finisher());
  });
  StreamCall::Post(std::make_shared<const StreamCall::Method>(
      StreamCall::Method{loop, service_, server_, max_tensor_bytes_, streams_}));
  const auto live = [](auto& call) {
    call.response().set_live(true);
    call.Finish(absl::OkStatus());
  };
  const auto ready = [this](auto& call) {
    call.response().set_ready(server_.Ready());
    call.Finish(absl::OkStatus());
  };
  ServeUnary(loop, service_, &Service::RequestServerLive, 1, live, Access::kOpen);
  ServeUnary(loop, service_, &Service::RequestServerReady, 1, ready, Access::kOpen);
  ServeUnary(loop, service_, &Service::RequestServerMetadata, 1, [](auto& call) {
    call.response().set_name("baton");
    call.response().set_version(kBatonVersion);
    for (const char* extension : kOipExtensions) call.response().add_extensions(extension);
    call.Finish(absl::OkStatus());
  });
  ServeUnary(loop, service_, &Service::RequestModelReady, 1,
             [this](auto& call) { call.Finish(ModelReady(call.request(), call.response())); });
  ServeUnary(loop, service_, &Service::RequestModelMetadata, 1, [this](auto& call) {
    call.Finish(ModelMetadata(call.request(), call.arrived(), call.response()));
  });
  ServeUnary(loop, service_, &Service::RequestModelConfig, 1, [this](auto& call) {
    call.Finish(ModelConfigResponse(server_.registry(), call.request(), call.response()));
  });
  ServeUnary(loop, service_, &Service::RequestModelStatistics, 1, [this](auto& call) {
    call.Finish(ModelStatisticsResponse(server_.registry(), call.request(), call.response()));
  });
  ServeUnary(loop, service_, &Service::RequestRepositoryIndex, 1, [this](auto& call) {
    RepositoryIndex(call.request(), call.response(), call.Finisher());
  });
  const auto load = [this](auto& call) {
    admin_.LoadModel(call.request(), call.context().peer(), call.Finisher());
  };
  const auto unload = [this](auto& call) {
    admin_.UnloadModel(call.request(), call.context().peer(), call.Finisher());
  };
  ServeUnary(loop, service_, &Service::RequestRepositoryModelLoad, 1, load, Access::kAdmin);
  ServeUnary(loop, service_, &Service::RequestRepositoryModelUnload, 1, unload, Access::kAdmin);
  ServeRefusals(loop);
}

void OipService::ServeRefusals(CallLoop& loop) {
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

void OipService::RepositoryIndex(const inference::RepositoryIndexRequest& request,
                                 inference::RepositoryIndexResponse& response, Done done) {
  server_.Index([&request, &response,
                 done = std::move(done)](const std::vector<serving::ModelStatus>& models) {
    for (const serving::ModelStatus& model : models) AddToIndex(model, request.ready(), response);
    done(absl::OkStatus());
  });
}

}  // namespace baton::api

#include "server/api/tfs_service.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/model_status.h"
#include "server/api/run.h"
#include "server/api/tfs_inference.h"
#include "server/api/tfs_signature.h"
#include "server/api/unary_call.h"

namespace baton::api {
namespace {

using tensorflow::serving::ModelSpec;

constexpr char kSignatureField[] = "signature_def";

}  // namespace

void TfsService::Register(grpc::ServerBuilder& builder) {
  builder.RegisterService(&prediction_);
  builder.RegisterService(&model_);
}

void TfsService::Serve(CallLoop& loop, int busy_calls) {
  using Prediction = tensorflow::serving::PredictionService::AsyncService;
  using Model = tensorflow::serving::ModelService::AsyncService;
  const auto serve = [&](auto method, serving::Method counted, int posted, auto run) {
    ServeUnary(loop, prediction_, method, posted, [this, counted, run](auto& call) {
      run(server_, call.request(), call.Terms(counted, max_tensor_bytes_), call.response(),
          call.Finisher());
    });
  };
  serve(&Prediction::RequestPredict, serving::Method::kPredict, busy_calls, &Predict);
  serve(&Prediction::RequestClassify, serving::Method::kClassify, busy_calls, &Classify);
  serve(&Prediction::RequestRegress, serving::Method::kRegress, busy_calls, &Regress);
  serve(&Prediction::RequestMultiInference, serving::Method::kMultiInference, 1, &MultiInference);
  ServeUnary(loop, prediction_, &Prediction::RequestGetModelMetadata, 1, [this](auto& call) {
    call.Finish(GetModelMetadata(call.request(), call.arrived(), call.response()));
  });
  ServeUnary(loop, model_, &Model::RequestGetModelStatus, 1,
             [this](auto& call) { call.Finish(GetModelStatus(call.request(), call.response())); });
  const auto reload = [this](auto& call) {
    admin_.ReloadConfig(
        call.request(), call.context().peer(), [this, &call](const absl::Status& status) {
          server_.metrics().RecordUnserved("", serving::Method::kReloadConfig, status.code());
          call.Finish(status);
        });
  };
  ServeUnary(loop, model_, &Model::RequestHandleReloadConfigRequest, 1, reload, Access::kAdmin);
}

absl::Status TfsService::GetModelMetadata(
    const tensorflow::serving::GetModelMetadataRequest& request, SteadyTime arrived,
    tensorflow::serving::GetModelMetadataResponse& response) {
  constexpr serving::Method kMethod = serving::Method::kGetModelMetadata;
  const ModelSpec& spec = request.model_spec();
  auto acquired = server_.registry().Acquire(spec.name(), ChoiceOf(spec));
  if (!acquired.ok()) {
    RecordUnserved(server_, spec.name(), kMethod, acquired.status());
    return acquired.status();
  }
  serving::Servable& servable = **acquired;
  const auto record = [&](const absl::Status& status) {
    servable.metrics().RecordRequest(kMethod, status.code(),
                                     Seconds(std::chrono::steady_clock::now() - arrived));
    return status;
  };
  if (request.metadata_field().empty()) {
    return record(absl::InvalidArgumentError(absl::StrCat(
        Describe(servable), ": metadata_field is empty; ask for \"", kSignatureField, "\"")));
  }
  for (const std::string& field : request.metadata_field()) {
    if (field == kSignatureField) continue;
    return record(absl::InvalidArgumentError(absl::StrCat(
        Describe(servable), ": no metadata_field named \"", absl::CHexEscape(field.substr(0, 100)),
        "\"; there is \"", kSignatureField, "\"")));
  }
  SetModelSpec(servable, "", *response.mutable_model_spec());
  (*response.mutable_metadata())[kSignatureField].PackFrom(DescribeSignatures(servable));
  return record(absl::OkStatus());
}

absl::Status TfsService::GetModelStatus(const tensorflow::serving::GetModelStatusRequest& request,
                                        tensorflow::serving::GetModelStatusResponse& response) {
  auto found = ModelStatusResponse(server_.registry(), request.model_spec());
  RecordUnserved(server_, request.model_spec().name(), serving::Method::kGetModelStatus,
                 found.status());
  if (found.ok()) response = *std::move(found);
  return found.status();
}

}  // namespace baton::api

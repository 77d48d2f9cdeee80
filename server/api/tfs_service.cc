#include "server/api/tfs_service.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/model_status.h"
#include "server/api/run.h"
#include "server/api/tfs_codec.h"
#include "server/api/unary_call.h"

namespace baton::api {
namespace {

using tensorflow::serving::ModelSpec;

constexpr char kSignature[] = "serving_default";
constexpr char kPredictMethod[] = "tensorflow/serving/predict";
constexpr char kSignatureField[] = "signature_def";

absl::Status CheckSpec(const ModelSpec& spec, const serving::Servable& servable) {
  const std::string& signature = spec.signature_name();
  if (signature.empty() || signature == kSignature) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(Describe(servable), ": no signature named \"",
                                                 absl::CHexEscape(signature.substr(0, 100)),
                                                 "\"; it has \"", kSignature, "\""));
}

// The version that answers.
void Resolve(const serving::Servable& servable, ModelSpec& spec) {
  spec.set_name(servable.model());
  spec.mutable_version()->set_value(servable.version());
  spec.set_signature_name(kSignature);
}

}  // namespace

void TfsService::Register(grpc::ServerBuilder& builder) {
  builder.RegisterService(&prediction_);
  builder.RegisterService(&model_);
}

void TfsService::Serve(CallLoop& loop, int busy_calls) {
  using Prediction = tensorflow::serving::PredictionService::AsyncService;
  using Model = tensorflow::serving::ModelService::AsyncService;
  ServeUnary<RunState>(loop, prediction_, &Prediction::RequestPredict, busy_calls,
                       [this](auto& call) { Predict(call); });
  ServeUnary(loop, prediction_, &Prediction::RequestGetModelMetadata, 1, [this](auto& call) {
    call.Finish(GetModelMetadata(call.request(), call.arrived(), call.response()));
  });
  ServeUnary(loop, model_, &Model::RequestGetModelStatus, 1,
             [this](auto& call) { call.Finish(GetModelStatus(call.request(), call.response())); });
  RefuseUnary(loop, prediction_, &Prediction::RequestClassify,
              "Classify is not supported; call Predict with the model's input tensors");
  RefuseUnary(loop, prediction_, &Prediction::RequestRegress,
              "Regress is not supported; call Predict with the model's input tensors");
  RefuseUnary(loop, prediction_, &Prediction::RequestMultiInference,
              "MultiInference is not supported; call Predict with the model's input tensors");
  ServeUnary(loop, model_, &Model::RequestHandleReloadConfigRequest, 1, [this](auto& call) {
    admin_.ReloadConfig(
        call.request(), call.context().peer(), [this, &call](const absl::Status& status) {
          server_.metrics().RecordUnserved("", serving::Method::kReloadConfig, status.code());
          call.Finish(status);
        });
  });
}

template <typename Call>
void TfsService::Predict(Call& call) {
  constexpr serving::Method kMethod = serving::Method::kPredict;
  const ModelSpec& spec = call.request().model_spec();
  auto servable = server_.registry().Acquire(spec.name(), ChoiceOf(spec));
  if (!servable.ok()) {
    RecordUnserved(server_, spec.name(), kMethod, servable.status());
    return call.Finish(servable.status());
  }
  RunState& state = call.state();
  state.servable = *std::move(servable);
  if (const absl::Status status = CheckSpec(spec, *state.servable); !status.ok()) {
    return Answer(call, kMethod, status);
  }
  auto outputs = PredictOutputs(call.request(), *state.servable);
  if (!outputs.ok()) return Answer(call, kMethod, outputs.status());
  state.outputs = *std::move(outputs);
  auto inputs = DecodePredictInputs(call.request(), *state.servable, max_tensor_bytes_);
  if (!inputs.ok()) return Answer(call, kMethod, inputs.status());
  Run(call, kMethod, *std::move(inputs), DeadlineOf(call.context()), /*priority=*/0,
      [](Call& answered, absl::Span<const TensorView> results) {
        const serving::Servable& by = *answered.state().servable;
        Resolve(by, *answered.response().mutable_model_spec());
        auto& map = *answered.response().mutable_outputs();
        for (const size_t index : answered.state().outputs) {
          EncodeTfTensor(results[index], map[by.signature().outputs[index].name]);
        }
      });
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
  tensorflow::serving::SignatureDefMap map;
  tensorflow::SignatureDef& signature = (*map.mutable_signature_def())[kSignature];
  signature.set_method_name(kPredictMethod);
  for (const engine::ValueInfo& info : servable.signature().inputs) {
    (*signature.mutable_inputs())[info.name] = ToTensorInfo(info);
  }
  for (const engine::ValueInfo& info : servable.signature().outputs) {
    (*signature.mutable_outputs())[info.name] = ToTensorInfo(info);
  }
  Resolve(servable, *response.mutable_model_spec());
  response.mutable_model_spec()->clear_signature_name();
  (*response.mutable_metadata())[kSignatureField].PackFrom(map);
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

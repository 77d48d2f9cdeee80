#include "server/api/rest_tfs.h"

#include <google/protobuf/util/json_util.h>

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/http_call.h"
#include "server/api/input_check.h"
#include "server/api/model_status.h"
#include "server/api/rest_examples.h"
#include "server/api/rest_predict.h"
#include "server/api/run.h"
#include "server/api/tfs_inference.h"
#include "server/api/tfs_signature.h"

namespace baton::api {
namespace {

using tensorflow::serving::ModelSpec;

absl::StatusOr<ModelSpec> SpecOf(const HttpCall& call) {
  ModelSpec spec;
  spec.set_name(call.Variable("model"));
  spec.set_version_label(call.Variable("label"));
  const std::string& text = call.Variable("version");
  int64_t version = 0;
  if (text.empty()) return spec;
  if (!absl::SimpleAtoi(text, &version)) {
    return absl::InvalidArgumentError(
        absl::StrCat("version \"", absl::CHexEscape(absl::string_view(text).substr(0, 100)),
                     "\" is not a number; labels go as /labels/NAME"));
  }
  spec.mutable_version()->set_value(version);
  return spec;
}

// A message as TensorFlow Serving prints it.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) {
    return absl::InternalError("the reply has no JSON form");
  }
  return json;
}

// What requests for the signature call the inputs; for a wrong signature, about which Predict will
// complain, the model's own.
std::vector<NamedType> InputsOf(const serving::Servable& servable, ModelSpec spec,
                                const std::string& signature_name) {
  spec.set_signature_name(signature_name);
  const auto signature = FindSignature(spec, servable, repository::SignatureMethod::kPredict);
  std::vector<NamedType> inputs;
  for (const engine::ValueInfo& info : signature.ok() && *signature != nullptr
                                           ? RequestInputs(**signature, servable)
                                           : servable.signature().inputs) {
    inputs.push_back({info.name, info.type});
  }
  return inputs;
}

// A POST for compute: finds the version, lets `answer(servable, spec)` read the body and run it,
// and counts what never ran.
template <typename Answer>
void Compute(serving::ModelServer& server, HttpCall& call, const Answer& answer) {
  const auto spec = SpecOf(call);
  if (!spec.ok()) return call.SendError(spec.status());
  auto servable =
      AcquireCounted(server, spec->name(), ChoiceOf(*spec), serving::Method::kRestPredict);
  if (!servable.ok()) return call.SendError(servable.status());
  call.Send(answer(**servable, *spec));
}

// Counts a request whose body cannot be read, and says whose it was.
absl::Status Unreadable(const HttpCall& call, serving::Servable& servable,
                        const absl::Status& status) {
  RecordAnswer(servable, call.Terms(serving::Method::kRestPredict), status);
  return Annotate(status, Describe(servable));
}

void PostPredict(serving::ModelServer& server, HttpCall& call) {
  Compute(server, call,
          [&](serving::Servable& servable, const ModelSpec& spec) -> absl::StatusOr<std::string> {
            tensorflow::serving::PredictRequest request;
            *request.mutable_model_spec() = spec;
            const auto form = ReadPredictBody(
                call.body, [&](const std::string& name) { return InputsOf(servable, spec, name); },
                call.max_tensor_bytes, request);
            if (!form.ok()) return Unreadable(call, servable, form.status());
            tensorflow::serving::PredictResponse response;
            RETURN_IF_ERROR(call.Await(serving::Method::kRestPredict,
                                       [&](const CallTerms& terms, const Done& done) {
                                         Predict(server, request, terms, response, done);
                                       }));
            return PredictReply(response, *form);
          });
}

// Classify and Regress.
template <typename Request, typename Response>
void PostExamples(serving::ModelServer& server, HttpCall& call,
                  void (*run)(serving::ModelServer&, const Request&, const CallTerms&, Response&,
                              const Done&),
                  std::string (*reply)(const Response&)) {
  Compute(server, call,
          [&](serving::Servable& servable, const ModelSpec& spec) -> absl::StatusOr<std::string> {
            Request request;
            *request.mutable_model_spec() = spec;
            const absl::Status read =
                ReadExamplesBody(call.body, *request.mutable_model_spec()->mutable_signature_name(),
                                 *request.mutable_input());
            if (!read.ok()) return Unreadable(call, servable, read);
            Response response;
            RETURN_IF_ERROR(call.Await(serving::Method::kRestPredict,
                                       [&](const CallTerms& terms, const Done& done) {
                                         run(server, request, terms, response, done);
                                       }));
            return reply(response);
          });
}

absl::StatusOr<std::string> GetStatus(serving::ModelServer& server, const HttpCall& call) {
  ASSIGN_OR_RETURN(const ModelSpec spec, SpecOf(call));
  ASSIGN_OR_RETURN(const auto status, ModelStatusResponse(server.registry(), spec));
  return ToJson(status);
}

absl::StatusOr<std::string> GetMetadata(TfsService& service, const HttpCall& call) {
  tensorflow::serving::GetModelMetadataRequest request;
  tensorflow::serving::GetModelMetadataResponse response;
  ASSIGN_OR_RETURN(*request.mutable_model_spec(), SpecOf(call));
  request.add_metadata_field("signature_def");
  RETURN_IF_ERROR(service.GetModelMetadata(request, call.arrived, response));
  return ToJson(response);
}

}  // namespace

void AddTfsRoutes(serving::ModelServer& server, TfsService& service, HttpRouter& router) {
  for (const char* model : {"/v1/models/{model}", "/v1/models/{model}/versions/{version}",
                            "/v1/models/{model}/labels/{label}"}) {
    router.Add("GET", model, [&server](HttpCall& call) { call.Send(GetStatus(server, call)); });
    router.Add("GET", absl::StrCat(model, "/metadata"),
               [&service](HttpCall& call) { call.Send(GetMetadata(service, call)); });
    router.Add("POST", absl::StrCat(model, ":predict"),
               [&server](HttpCall& call) { PostPredict(server, call); });
    router.Add("POST", absl::StrCat(model, ":classify"), [&server](HttpCall& call) {
      PostExamples(server, call, &Classify, &ClassifyReply);
    });
    router.Add("POST", absl::StrCat(model, ":regress"),
               [&server](HttpCall& call) { PostExamples(server, call, &Regress, &RegressReply); });
  }
}

}  // namespace baton::api

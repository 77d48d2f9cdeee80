#include "server/api/rest_oip.h"

#include <httplib.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/version.h"
#include "server/api/http_call.h"
#include "server/api/input_check.h"
#include "server/api/json_reader.h"
#include "server/api/message_json.h"
#include "server/api/oip_inference.h"
#include "server/api/oip_model_config.h"
#include "server/api/oip_statistics.h"
#include "server/api/rest_infer.h"
#include "server/api/run.h"

namespace baton::api {
namespace {

constexpr char kJsonSizeHeader[] = "Inference-Header-Content-Length";

absl::StatusOr<std::optional<size_t>> JsonSize(const httplib::Request& request) {
  if (!request.has_header(kJsonSizeHeader)) return std::optional<size_t>();
  const std::string text = request.get_header_value(kJsonSizeHeader);
  uint64_t size = 0;
  if (!absl::SimpleAtoi(text, &size)) {
    return absl::InvalidArgumentError(absl::StrCat("header ", kJsonSizeHeader, " is \"",
                                                   absl::CHexEscape(text.substr(0, 40)),
                                                   "\", expected a number of bytes"));
  }
  return std::optional<size_t>(size);
}

absl::StatusOr<InferForm> ReadInfer(const HttpCall& call, inference::ModelInferRequest& request) {
  ASSIGN_OR_RETURN(const auto json_size, JsonSize(call.request));
  return ReadInferBody(call.body, json_size, call.max_tensor_bytes, request);
}

absl::StatusOr<InferReply> RunInfer(serving::ModelServer& server, HttpCall& call) {
  constexpr serving::Method kMethod = serving::Method::kRestInfer;
  inference::ModelInferRequest request;
  request.set_model_name(call.Variable("model"));
  request.set_model_version(call.Variable("version"));
  ASSIGN_OR_RETURN(const auto servable, AcquireCounted(server, request.model_name(),
                                                       ChoiceOf(request.model_version()), kMethod));
  const auto form = ReadInfer(call, request);
  if (!form.ok()) {
    RecordAnswer(*servable, call.Terms(kMethod), form.status());
    return Annotate(form.status(), Describe(*servable));
  }
  inference::ModelInferResponse response;
  RETURN_IF_ERROR(call.Await(kMethod, [&](CallTerms terms, const Done& done) {
    Infer(server, request, std::move(terms), response, done);
  }));
  return WriteInferReply(response, *form);
}

void PostInfer(serving::ModelServer& server, HttpCall& call) {
  absl::StatusOr<InferReply> reply = RunInfer(server, call);
  if (!reply.ok()) return call.SendError(reply.status());
  call.Send(std::move(reply->body), reply->json_size.has_value() ? kBinaryType : kJsonType);
  if (reply->json_size.has_value()) {
    call.response.set_header(kJsonSizeHeader, absl::StrCat(*reply->json_size));
  }
}

// {"ready": true}, or no body at all.
absl::Status ReadIndexBody(absl::string_view body, inference::RepositoryIndexRequest& request) {
  JsonReader reader(body);
  if (body.empty()) return absl::OkStatus();
  if (!reader.EnterObject()) return reader.status();
  std::string key;
  while (reader.NextKey(key)) {
    bool ready = false;
    if (key != "ready") {
      if (!reader.Skip()) return reader.status();
    } else if (reader.ReadBool(ready)) {
      request.set_ready(ready);
    }
  }
  reader.ReadEnd();
  return reader.status();
}

absl::StatusOr<std::string> PostIndex(OipService& service, HttpCall& call) {
  inference::RepositoryIndexRequest request;
  inference::RepositoryIndexResponse response;
  RETURN_IF_ERROR(ReadIndexBody(call.body, request));
  RETURN_IF_ERROR(call.Await(serving::Method::kModelMetadata, [&](CallTerms, const Done& done) {
    service.RepositoryIndex(request, response, done);
  }));
  std::string json = "[";
  for (const auto& model : response.models()) {
    if (json.size() > 1) json.push_back(',');
    AppendMessageJson(model, json);
  }
  json.append("]\n");
  return json;
}

// Like gRPC's ModelReady, but says what is wrong.
void GetReady(serving::ModelServer& server, HttpCall& call) {
  const auto servable =
      server.registry().Acquire(call.Variable("model"), ChoiceOf(call.Variable("version")));
  RecordUnserved(server, call.Variable("model"), serving::Method::kModelReady, absl::OkStatus());
  if (!servable.ok()) return call.SendError(servable.status());
  call.Send("{\"ready\":true}\n", kJsonType);
}

std::string ServerMetadata() {
  inference::ServerMetadataResponse response;
  response.set_name("baton");
  response.set_version(kBatonVersion);
  for (const char* extension : kOipExtensions) response.add_extensions(extension);
  response.add_extensions("binary_tensor_data");  // HTTP alone has it
  std::string json;
  AppendMessageJson(response, json);
  return json;
}

// A route that asks for the model and version in the path: `answer(call, request, response)` is the
// call's function, and `part(response)` the message that is shown.
template <typename Request, typename Response, typename Answer, typename Part>
HttpRouter::Handler ByName(Answer answer, Part part) {
  return [answer, part](HttpCall& call) {
    Request request;
    Response response;
    request.set_name(call.Variable("model"));
    request.set_version(call.Variable("version"));
    if (const absl::Status status = answer(call, request, response); !status.ok()) {
      return call.SendError(status);
    }
    std::string json;
    AppendMessageJson(part(response), json);
    call.Send(std::move(json), kJsonType);
  };
}

constexpr auto kWhole = [](const auto& response) -> const auto& { return response; };

}  // namespace

void AddOipRoutes(serving::ModelServer& server, OipService& service, HttpRouter& router) {
  const auto metadata = ByName<inference::ModelMetadataRequest, inference::ModelMetadataResponse>(
      [&service](const HttpCall& call, const auto& request, auto& response) {
        return service.ModelMetadata(request, call.arrived, response);
      },
      kWhole);
  const auto config = ByName<inference::ModelConfigRequest, inference::ModelConfigResponse>(
      [&server](const HttpCall&, const auto& request, auto& response) {
        return ModelConfigResponse(server.registry(), request, response);
      },
      [](const auto& response) -> const auto& { return response.config(); });
  const auto statistics =
      ByName<inference::ModelStatisticsRequest, inference::ModelStatisticsResponse>(
          [&server](const HttpCall&, const auto& request, auto& response) {
            return ModelStatisticsResponse(server.registry(), request, response);
          },
          kWhole);
  router.Add("GET", "/v2", [](HttpCall& call) { call.Send(ServerMetadata(), kJsonType); });
  router.Add("POST", "/v2/repository/index",
             [&service](HttpCall& call) { call.Send(PostIndex(service, call)); });
  router.Add("GET", "/v2/models/stats", statistics);
  for (const char* model : {"/v2/models/{model}", "/v2/models/{model}/versions/{version}"}) {
    router.Add("GET", model, metadata);
    router.Add("GET", absl::StrCat(model, "/config"), config);
    router.Add("GET", absl::StrCat(model, "/stats"), statistics);
    router.Add("GET", absl::StrCat(model, "/ready"),
               [&server](HttpCall& call) { GetReady(server, call); });
    router.Add("POST", absl::StrCat(model, "/infer"),
               [&server](HttpCall& call) { PostInfer(server, call); });
  }
}

}  // namespace baton::api

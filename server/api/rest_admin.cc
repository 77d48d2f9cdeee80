#include "server/api/rest_admin.h"

#include <httplib.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "server/api/http_call.h"
#include "server/api/json_reader.h"

namespace baton::api {
namespace {

using Parameters = google::protobuf::Map<std::string, inference::ModelRepositoryParameter>;

// {"parameters": {"config": "…", "unload_dependents": true}}, or no body at all.
absl::Status ReadBody(absl::string_view body, Parameters& parameters) {
  JsonReader reader(body);
  if (body.empty()) return absl::OkStatus();
  if (!reader.EnterObject()) return reader.status();
  std::string key;
  while (reader.NextKey(key)) {
    if (key != "parameters") {
      if (!reader.Skip()) return reader.status();
      continue;
    }
    if (!reader.EnterObject()) return reader.status();
    std::string name;
    while (reader.NextKey(name)) {
      inference::ModelRepositoryParameter& parameter = parameters[name];
      bool boolean = false;
      if (reader.Peek() == JsonKind::kBool) {
        if (!reader.ReadBool(boolean)) return reader.status();
        parameter.set_bool_param(boolean);
      } else if (!reader.ReadString(*parameter.mutable_string_param())) {
        return reader.status();
      }
    }
  }
  reader.ReadEnd();
  return reader.status();
}

template <typename Request>
HttpRouter::Handler Route(Admin& admin,
                          void (Admin::*call)(const Request&, absl::string_view, Admin::Done)) {
  return [&admin, call](HttpCall& http) {
    Request request;
    request.set_model_name(http.Variable("model"));
    if (const absl::Status wrong = ReadBody(http.body, *request.mutable_parameters());
        !wrong.ok()) {
      return http.SendError(wrong);
    }
    const absl::Status status =
        http.Await(serving::Method::kReloadConfig,
                   [&](CallTerms, const Done& done) { (admin.*call)(request, http.Peer(), done); });
    if (!status.ok()) return http.SendError(status);
    http.Send("{}\n", kJsonType);
  };
}

}  // namespace

void AddAdminRoutes(Admin& admin, HttpRouter& router) {
  router.Add("POST", "/v2/repository/models/{model}/load", Route(admin, &Admin::LoadModel),
             Access::kAdmin);
  router.Add("POST", "/v2/repository/models/{model}/unload", Route(admin, &Admin::UnloadModel),
             Access::kAdmin);
}

}  // namespace baton::api

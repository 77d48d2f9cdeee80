#include "server/api/admin.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/log.h"
#include "server/api/unary_call.h"
#include "server/repository/server_config.h"

namespace baton::api {
namespace {

// Logs what was asked for, and how it ended.
Admin::Done Logged(std::string what, absl::string_view peer, Admin::Done done) {
  BATON_LOG(Info) << what << ", asked for by " << peer;
  return [what = std::move(what), done = std::move(done)](const absl::Status& status) {
    if (!status.ok()) BATON_LOG(Warning) << what << ": " << status.message();
    done(status);
  };
}

// The config that a load brings along. Triton's clients send one as parameter "config".
absl::StatusOr<std::optional<std::string>> ConfigOf(
    const inference::RepositoryModelLoadRequest& request) {
  std::optional<std::string> config;
  for (const auto& [name, value] : request.parameters()) {
    if (name != "config") {
      return absl::InvalidArgumentError(
          absl::StrCat("model \"", request.model_name(), "\": parameter \"", name,
                       "\" of a load is not supported; put files into the model repository, and "
                       "send at most \"config\""));
    }
    if (value.parameter_choice_case() != inference::ModelRepositoryParameter::kStringParam) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model \"", request.model_name(),
          "\": parameter \"config\" must be a string_param with JSON of a ModelConfig"));
    }
    config = value.string_param();
  }
  return config;
}

}  // namespace

void Admin::Serve(CallLoop& loop) {
  ServeUnary(
      loop, service_, &AdminService::AsyncService::RequestSetLabel, 1,
      [this](auto& call) { SetLabel(call.request(), call.context().peer(), call.Finisher()); },
      Access::kAdmin);
}

void Admin::ReloadConfig(const tensorflow::serving::ReloadConfigRequest& request,
                         absl::string_view peer, Done done) {
  if (!request.config().has_model_config_list()) {
    return done(absl::InvalidArgumentError(
        "the request has no config.model_config_list; to take all models away send an empty one"));
  }
  auto config = repository::ConvertServerConfig(request.config());
  if (!config.ok()) return done(config.status());
  const std::string what = absl::StrCat("a config of ", config->models.size(),
                                        config->models.size() == 1 ? " model" : " models");
  server_.ReloadConfig(*std::move(config), Logged(what, peer, std::move(done)));
}

void Admin::LoadModel(const inference::RepositoryModelLoadRequest& request, absl::string_view peer,
                      Done done) {
  auto config = ConfigOf(request);
  if (!config.ok()) return done(config.status());
  server_.LoadModel(
      request.model_name(), *std::move(config),
      Logged(absl::StrCat("load of model \"", request.model_name(), "\""), peer, std::move(done)));
}

void Admin::UnloadModel(const inference::RepositoryModelUnloadRequest& request,
                        absl::string_view peer, Done done) {
  for (const auto& [name, value] : request.parameters()) {
    // There are no ensembles, so no models that depend on this one.
    if (name == "unload_dependents") continue;
    return done(absl::InvalidArgumentError(absl::StrCat("model \"", request.model_name(),
                                                        "\": parameter \"", name,
                                                        "\" of an unload is not supported")));
  }
  server_.UnloadModel(request.model_name(),
                      Logged(absl::StrCat("unload of model \"", request.model_name(), "\""), peer,
                             std::move(done)));
}

void Admin::SetLabel(const SetLabelRequest& request, absl::string_view peer, Done done) {
  server_.SetLabel(request.model_name(), request.label(), request.version(),
                   Logged(absl::StrCat("label \"", request.label(), "\" of model \"",
                                       request.model_name(), "\" for version ", request.version()),
                          peer, std::move(done)));
}

}  // namespace baton::api

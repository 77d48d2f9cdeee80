#include "server/repository/server_config.h"

#include <google/protobuf/text_format.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "proto/tensorflow_serving/config/model_server_config.pb.h"
#include "server/repository/scan.h"
#include "server/repository/text_errors.h"

namespace baton::repository {
namespace {

using tensorflow::serving::ModelServerConfig;
using Policy = tensorflow::serving::FileSystemStoragePathSourceConfig::ServableVersionPolicy;

VersionPolicy ConvertPolicy(const Policy& message) {
  VersionPolicy policy;
  switch (message.policy_choice_case()) {
    case Policy::kAll:
      policy.kind = VersionPolicy::Kind::kAll;
      break;
    case Policy::kSpecific:
      policy.kind = VersionPolicy::Kind::kSpecific;
      policy.specific.insert(message.specific().versions().begin(),
                             message.specific().versions().end());
      break;
    case Policy::kLatest:
      policy.latest = std::max<int64_t>(message.latest().num_versions(), 1);
      break;
    case Policy::POLICY_CHOICE_NOT_SET:
      break;
  }
  return policy;
}

absl::StatusOr<ModelSource> ConvertModel(const tensorflow::serving::ModelConfig& message,
                                         std::vector<std::string>& warnings) {
  RETURN_IF_ERROR(CheckModelName(message.name()));
  ModelSource model{message.name(), message.base_path()};
  if (model.base_path.empty()) return absl::InvalidArgumentError("base_path is missing");
  // What TensorFlow's exporters and Triton's users write there; the file decides what it is.
  static const std::set<std::string> kPlatforms = {"", "onnx", "onnxruntime_onnx", "baton"};
  if (message.model_platform() == "tensorflow") {
    warnings.push_back(absl::StrCat("model \"", message.name(),
                                    "\": model_platform \"tensorflow\" is taken for \"onnx\", "
                                    "which is what is served"));
  } else if (!kPlatforms.contains(message.model_platform())) {
    return absl::InvalidArgumentError(absl::StrCat("model_platform is \"", message.model_platform(),
                                                   "\"; expected \"onnx\", or nothing"));
  }
  if (message.has_logging_config()) {
    warnings.push_back(
        absl::StrCat("model \"", message.name(), "\": logging_config is not honoured"));
  }
  if (message.has_model_version_policy()) {
    model.settings.version_policy = ConvertPolicy(message.model_version_policy());
    RETURN_IF_ERROR(model.settings.version_policy->Validate());
  }
  for (const auto& [label, version] : message.version_labels()) {
    if (label.empty() || version < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("version_labels[\"", label, "\"] is ", version,
                       "; expected a label that is not empty, and a version from 1 up"));
    }
    model.settings.labels[label] = version;
  }
  return model;
}

}  // namespace

absl::StatusOr<ServerConfig> ConvertServerConfig(const ModelServerConfig& config) {
  if (config.has_custom_model_config()) {
    return absl::InvalidArgumentError(
        "custom_model_config is not supported; list the models in model_config_list");
  }
  ServerConfig out;
  std::set<std::string> names;
  for (const auto& message : config.model_config_list().config()) {
    absl::StatusOr<ModelSource> model = ConvertModel(message, out.warnings);
    if (!model.ok()) {
      return Annotate(model.status(), absl::StrCat("model \"", message.name(), "\""));
    }
    if (!names.insert(model->name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("model \"", model->name, "\" is listed twice"));
    }
    out.models.push_back(*std::move(model));
  }
  return out;
}

absl::StatusOr<ServerConfig> ParseServerConfig(absl::string_view text, const std::string& path) {
  TextErrors errors(path);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  ModelServerConfig message;
  if (!parser.ParseFromString(std::string(text), &message)) {
    return absl::InvalidArgumentError(errors.Text());
  }
  absl::StatusOr<ServerConfig> config = ConvertServerConfig(message);
  if (!config.ok()) return Annotate(config.status(), path);
  return config;
}

}  // namespace baton::repository

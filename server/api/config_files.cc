#include "server/api/config_files.h"

#include <google/protobuf/text_format.h>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "proto/tensorflow_serving/config/monitoring_config.pb.h"
#include "server/repository/text_errors.h"

namespace baton::api {
namespace {

absl::StatusOr<std::string> Read(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  return text;
}

}  // namespace

absl::StatusOr<repository::BatchingParameters> ReadBatchingFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, Read(path));
  ASSIGN_OR_RETURN(repository::BatchingParameters parameters,
                   repository::ParseBatchingParameters(text, path));
  for (const std::string& warning : parameters.warnings) BATON_LOG(Warning) << warning;
  return parameters;
}

absl::StatusOr<MonitoringConfig> ReadMonitoringFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, Read(path));
  repository::TextErrors errors(path);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  tensorflow::serving::MonitoringConfig message;
  if (!parser.ParseFromString(text, &message)) return absl::InvalidArgumentError(errors.Text());
  MonitoringConfig config;
  if (!message.has_prometheus_config()) return config;
  config.metrics = message.prometheus_config().enable();
  config.metrics_path = message.prometheus_config().path();
  if (!config.metrics_path.empty() && config.metrics_path[0] != '/') {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": prometheus_config.path is \"", config.metrics_path, "\"; expected a leading /"));
  }
  return config;
}

}  // namespace baton::api

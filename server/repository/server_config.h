// ServerConfig: the models that a tensorflow.serving.ModelServerConfig lists, from a file
// (--model_config_file) or a request. Checked whole before anything comes of it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/repository/model_settings.h"

namespace tensorflow::serving {
class ModelServerConfig;
}  // namespace tensorflow::serving

namespace baton::repository {

struct ServerConfig {
  std::vector<ModelSource> models;
  std::vector<std::string> warnings;  // what was set and is not honoured, one text each
};

// kInvalidArgument, naming the model and the field: an unnamed model, one that is listed twice or
// has no base path, a platform that is not ONNX's, a wrong policy, a label without a version.
absl::StatusOr<ServerConfig> ConvertServerConfig(
    const tensorflow::serving::ModelServerConfig& config);

// The text format. `path` is for messages: "<path>:<line>:<column>: …" for wrong syntax and unknown
// fields. Empty text is a config without models.
absl::StatusOr<ServerConfig> ParseServerConfig(absl::string_view text, const std::string& path);

}  // namespace baton::repository

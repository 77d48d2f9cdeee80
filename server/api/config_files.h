// The files that flags of TensorFlow Serving name: messages in text format.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/repository/batching_parameters.h"

namespace baton::api {

// Both: kInvalidArgument, with the file's path, for a file that cannot be read or parsed, since the
// flag is wrong then.

// --batching_parameters_file. What is not honoured has been logged.
absl::StatusOr<repository::BatchingParameters> ReadBatchingFile(const std::string& path);

// --monitoring_config_file.
struct MonitoringConfig {
  bool metrics = true;       // serve them at all
  std::string metrics_path;  // also under this path; "": under the usual ones only
};
absl::StatusOr<MonitoringConfig> ReadMonitoringFile(const std::string& path);

}  // namespace baton::api

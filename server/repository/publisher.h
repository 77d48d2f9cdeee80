// Publisher: puts a new version into a model's directory so that nobody ever sees part of it.
// Everything is staged in `<model>/.tmp-*/` and fsynced, the manifest last; one rename makes it
// `<model>/<version>/`. Several publishers may work on one model at once.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tensor_io.h"

namespace baton::repository {

// Inputs and the outputs that the model must give for them. Names are those of the model.
struct PublishSample {
  std::vector<NamedTensor> inputs;
  std::vector<NamedTensor> outputs;
};

struct PublishRequest {
  std::string model_directory;  // REPOSITORY/NAME; made if it does not exist
  std::string onnx;             // contents of model.onnx
  // Where the files are that hold the external data of `onnx`; "" if it has none.
  std::string external_data_directory;
  std::vector<PublishSample> samples;
  double rtol = 1e-3;  // tolerance of the samples
  double atol = 1e-5;
  std::map<std::string, double> metrics;
  std::optional<int64_t> version;  // not given: one more than the highest there is
  int keep_last = 0;               // remove all but the highest N versions; 0 keeps all
};

// Publishes and returns the version. On error nothing is left behind. kInvalidArgument: a request
// that cannot be published as it is; kAlreadyExists: the version asked for exists. The new version
// is never among those that `keep_last` removes; an old version that cannot be removed is logged.
absl::StatusOr<int64_t> Publish(const PublishRequest& request);

}  // namespace baton::repository

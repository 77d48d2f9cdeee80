// The samples of a config's model_warmup, run as Triton runs them: a request of `batch_size` rows
// that are all alike, `count` times. Data that is wrong in any way fails the load, as it does
// there.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/serving/servable.h"

namespace baton::serving {

// Runs all samples of `servable`'s config on it. Files are read from kWarmUpDirectory in
// `model_directory`, which they may not leave; of one that is too long the first bytes count.
// `servable` runs what is submitted inside Submit. A sample without a batch size, of a model with a
// batch dimension, is passed over (as by Triton). What was passed over is added to `warnings`.
//
// kInvalidArgument: names the sample, its input, what was found and what is expected; errors of
// ReadFile, of Servable::Submit and of Task::done.
absl::Status RunWarmUpSamples(const std::string& model_directory, Servable& servable,
                              std::vector<std::string>& warnings);

}  // namespace baton::serving

// Training and evaluation of a network on a dataset. The result depends only on network, data,
// options and the number of OpenMP threads.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include "trainer/dataset.h"
#include "trainer/network.h"
#include "trainer/optimizer.h"
#include "trainer/pass.h"

namespace baton::trainer {

// Grey value to input: what the exported graph does first, too.
inline constexpr float kPixelScale = 1.0f / 255.0f;

struct TrainingOptions {
  int epochs = 10;
  int64_t batch_size = 64;
  double learning_rate = 1e-3;  // at the start; falls along a half cosine towards 0 at the end
  uint64_t seed = 1;            // of the order of items; and of the weights, where a job draws them
  OptimizerOptions optimizer;

  // kInvalidArgument, naming the option, its value and what is expected.
  absl::Status Validate() const;
};

// Where training stands; scores are of the epoch so far.
struct Progress {
  int epoch = 0, epochs = 0;  // from 1
  int64_t batch = 0, batches = 0;
  Score score;
};

class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void OnBatch(const Progress& progress) = 0;
  // After the last batch of an epoch's.
  virtual void OnEpoch(const Progress& progress) = 0;
};

// Trains `network` in place. kCancelled soon after `stop` became true; kFailedPrecondition if the
// loss is no longer a number; kInvalidArgument for options or data that do not fit the network.
absl::Status Train(Network& network, const Dataset& data, const TrainingOptions& options,
                   TrainingObserver& observer, const std::atomic<bool>& stop);

// Loss and accuracy over all of `data`. kCancelled and kInvalidArgument as above.
absl::StatusOr<Score> Evaluate(Network& network, const Dataset& data,
                               const std::atomic<bool>& stop);

}  // namespace baton::trainer

// Pass: a network compiled for one batch size: forward, and for training backward. Softmax with
// cross-entropy is its end: the loss, and the gradient that backward begins with.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/layer_pass.h"
#include "trainer/network.h"
#include "trainer/onednn.h"

namespace baton::trainer {

// Loss and hits of a number of items, summed.
struct Score {
  double loss = 0;
  int64_t correct = 0;
  int64_t items = 0;

  void Add(const Score& other) {
    loss += other.loss;
    correct += other.correct;
    items += other.items;
  }
  double mean_loss() const { return items == 0 ? 0 : loss / static_cast<double>(items); }
  double accuracy() const {
    return items == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(items);
  }
};

// Softmax of each row of `logits` [rows, classes], into `probabilities`; the spans may be one.
void Softmax(absl::Span<const float> logits, int64_t classes, absl::Span<float> probabilities);

// Cross-entropy of softmax(logits) [rows, classes] and one label a row, and, where `gradient` is
// not empty, the gradient of its mean over the rows: (softmax - one-hot) / rows. Computed together
// and from the logits, as the logarithm of a softmax that underflowed would be infinite.
Score SoftmaxCrossEntropy(absl::Span<const float> logits, int64_t classes,
                          absl::Span<const uint8_t> labels, absl::Span<float> gradient);

// Not thread-safe; runs on the calling thread and OpenMP's. A Pass is not movable: its primitives
// point into it and into the network.
class Pass {
 public:
  // `network` must outlive the pass and is read and (gradients) written through it. kInternal if
  // oneDNN fails.
  static absl::StatusOr<std::unique_ptr<Pass>> Create(Network& network, int64_t batch,
                                                      Purpose purpose);
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  int64_t batch() const { return batch_; }
  // What Forward reads: [batch, …input shape], to be filled by the caller.
  absl::Span<float> input() { return input_.mutable_values<float>(); }
  absl::Status Forward();
  // Forward's result, [batch, classes]: what softmax makes probabilities of.
  absl::Span<const float> logits() const;
  // What Backward reads: the loss's gradient with respect to the logits. REQUIRES: kTraining.
  absl::Span<float> logits_gradient();
  // Writes the gradients of all the network's parameters. REQUIRES: kTraining, after Forward.
  absl::Status Backward();

 private:
  Pass() = default;
  int64_t batch_ = 0;
  Device device_;
  Tensor input_;
  std::vector<std::unique_ptr<LayerPass>> layers_;
};

}  // namespace baton::trainer

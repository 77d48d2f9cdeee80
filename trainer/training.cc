#include "trainer/training.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace baton::trainer {
namespace {

constexpr int64_t kEvaluationBatch = 500;

absl::Status CheckFits(const Network& network, const Dataset& data) {
  if (data.size() == 0) return absl::InvalidArgumentError("the data set holds no items");
  if (NumElements(network.input_shape()) != data.pixels_per_image()) {
    return absl::InvalidArgumentError(absl::StrCat("images are ", data.rows, "x", data.columns,
                                                   ", but the network's input is ",
                                                   ShapeToString(network.input_shape())));
  }
  return absl::OkStatus();
}

absl::Status Interrupted() { return absl::CancelledError("interrupted"); }

// Runs a network forward on chosen items of a dataset. One pass for each batch size that occurs:
// the usual one, and one for what remains at the end.
class BatchRunner {
 public:
  BatchRunner(Network& network, const Dataset& data, Purpose purpose)
      : network_(network), data_(data), purpose_(purpose) {}

  // Gathers the items, runs forward, and for training backward.
  absl::StatusOr<Score> Run(absl::Span<const int64_t> items) {
    ASSIGN_OR_RETURN(Pass * pass, PassFor(static_cast<int64_t>(items.size())));
    float* next = pass->input().data();
    labels_.clear();
    for (const int64_t item : items) {
      for (const uint8_t pixel : data_.image(item)) *next++ = pixel * kPixelScale;
      labels_.push_back(data_.labels[static_cast<size_t>(item)]);
    }
    RETURN_IF_ERROR(pass->Forward());
    const bool training = purpose_ == Purpose::kTraining;
    const Score score =
        SoftmaxCrossEntropy(pass->logits(), network_.classes(), labels_,
                            training ? pass->logits_gradient() : absl::Span<float>());
    if (training) RETURN_IF_ERROR(pass->Backward());
    return score;
  }

 private:
  absl::StatusOr<Pass*> PassFor(int64_t batch) {
    std::unique_ptr<Pass>& pass = passes_[batch];
    if (pass == nullptr) {
      ASSIGN_OR_RETURN(pass, Pass::Create(network_, batch, purpose_));
    }
    return pass.get();
  }

  Network& network_;
  const Dataset& data_;
  const Purpose purpose_;
  std::map<int64_t, std::unique_ptr<Pass>> passes_;
  std::vector<uint8_t> labels_;
};

absl::Status Expected(absl::string_view option, double found, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(option, " is ", found, ", expected ", expected));
}

}  // namespace

absl::Status TrainingOptions::Validate() const {
  if (epochs < 1) return Expected("epochs", epochs, "at least 1");
  if (batch_size < 1) return Expected("batch size", static_cast<double>(batch_size), "at least 1");
  if (!(learning_rate > 0 && std::isfinite(learning_rate))) {
    return Expected("learning rate", learning_rate, "a number over 0");
  }
  if (!(optimizer.weight_decay >= 0 && std::isfinite(optimizer.weight_decay))) {
    return Expected("weight decay", optimizer.weight_decay, "0 or more");
  }
  return absl::OkStatus();
}

absl::Status Train(Network& network, const Dataset& data, const TrainingOptions& options,
                   TrainingObserver& observer, const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(options.Validate());
  RETURN_IF_ERROR(CheckFits(network, data));
  const std::unique_ptr<Optimizer> optimizer =
      Optimizer::Make(options.optimizer, network.parameters());
  BatchRunner runner(network, data, Purpose::kTraining);
  Progress progress{.epochs = options.epochs,
                    .batches = (data.size() + options.batch_size - 1) / options.batch_size,
                    .score = {}};
  const double steps = static_cast<double>(progress.batches) * options.epochs;
  int64_t step = 0;
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    progress.epoch = epoch + 1;
    progress.score = {};
    const std::vector<int64_t> order = ShuffledIndices(data.size(), options.seed, epoch);
    for (int64_t batch = 0; batch < progress.batches; ++batch, ++step) {
      if (stop) return Interrupted();
      ASSIGN_OR_RETURN(const Score score, runner.Run(absl::MakeConstSpan(order).subspan(
                                              static_cast<size_t>(batch * options.batch_size),
                                              static_cast<size_t>(options.batch_size))));
      progress.score.Add(score);
      progress.batch = batch + 1;
      if (!std::isfinite(score.loss)) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the loss is ", score.loss, " at epoch ", progress.epoch, ", batch ", progress.batch,
            ": training diverged; use a smaller learning rate than ", options.learning_rate));
      }
      const double along = static_cast<double>(step) / steps;
      optimizer->Step(options.learning_rate * (1 + std::cos(std::numbers::pi * along)) / 2);
      observer.OnBatch(progress);
    }
    observer.OnEpoch(progress);
  }
  return absl::OkStatus();
}

absl::StatusOr<Score> Evaluate(Network& network, const Dataset& data,
                               const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(CheckFits(network, data));
  BatchRunner runner(network, data, Purpose::kInference);
  std::vector<int64_t> items;
  Score total;
  for (int64_t begin = 0; begin < data.size(); begin += kEvaluationBatch) {
    if (stop) return Interrupted();
    items.clear();
    for (int64_t i = begin; i < std::min(begin + kEvaluationBatch, data.size()); ++i) {
      items.push_back(i);
    }
    ASSIGN_OR_RETURN(const Score score, runner.Run(items));
    total.Add(score);
  }
  return total;
}

}  // namespace baton::trainer

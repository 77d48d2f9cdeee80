#include "trainer/pass.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"

namespace baton::trainer {
namespace {

absl::Span<float> FloatsOf(const dnnl::memory& memory, int64_t count) {
  return {static_cast<float*>(memory.get_data_handle()), static_cast<size_t>(count)};
}

}  // namespace

void Softmax(absl::Span<const float> logits, int64_t classes, absl::Span<float> probabilities) {
  const size_t n = static_cast<size_t>(classes);
  for (size_t begin = 0; begin < logits.size(); begin += n) {
    const absl::Span<const float> row = logits.subspan(begin, n);
    const float max = *std::max_element(row.begin(), row.end());
    float sum = 0;
    for (size_t i = 0; i < n; ++i) {
      probabilities[begin + i] = std::exp(row[i] - max);
      sum += probabilities[begin + i];
    }
    for (size_t i = 0; i < n; ++i) probabilities[begin + i] /= sum;
  }
}

Score SoftmaxCrossEntropy(absl::Span<const float> logits, int64_t classes,
                          absl::Span<const uint8_t> labels, absl::Span<float> gradient) {
  const size_t n = static_cast<size_t>(classes);
  const float scale = 1 / static_cast<float>(labels.size());
  Score score;
  for (size_t r = 0; r < labels.size(); ++r) {
    const absl::Span<const float> row = logits.subspan(r * n, n);
    const size_t best = static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin());
    double sum = 0;
    for (const float logit : row) sum += std::exp(double{logit} - row[best]);
    const size_t label = labels[r];
    score.loss += std::log(sum) + row[best] - row[label];
    score.correct += best == label;
    ++score.items;
    if (gradient.empty()) continue;
    for (size_t i = 0; i < n; ++i) {
      const float probability = static_cast<float>(std::exp(double{row[i]} - row[best]) / sum);
      gradient[r * n + i] = (probability - (i == label ? 1.0f : 0.0f)) * scale;
    }
  }
  return score;
}

absl::StatusOr<std::unique_ptr<Pass>> Pass::Create(Network& network, int64_t batch,
                                                   Purpose purpose) {
  BATON_CHECK(batch > 0);
  std::unique_ptr<Pass> pass(new Pass);
  pass->batch_ = batch;
  const auto compile = [&] {
    Shape shape = {batch};
    shape.insert(shape.end(), network.input_shape().begin(), network.input_shape().end());
    pass->input_ = Tensor(DataType::kFloat, shape);
    Value value{shape, MemoryOf(pass->device_, pass->input_), {}};
    for (Layer& layer : network.layers()) {
      pass->layers_.push_back(LayerPass::Make(pass->device_, layer, value, purpose));
      value = pass->layers_.back()->output();
    }
  };
  RETURN_IF_ERROR(CatchDnnl(absl::StrCat("compile the network for batch ", batch), compile));
  return pass;
}

absl::Status Pass::Forward() {
  return CatchDnnl("forward pass", [&] {
    for (const auto& layer : layers_) layer->Forward(device_);
    device_.stream.wait();
  });
}

absl::Status Pass::Backward() {
  return CatchDnnl("backward pass", [&] {
    for (size_t i = layers_.size(); i-- > 0;) layers_[i]->Backward(device_);
    device_.stream.wait();
  });
}

absl::Span<const float> Pass::logits() const {
  const Value& output = layers_.back()->output();
  return FloatsOf(output.data, NumElements(output.shape));
}

absl::Span<float> Pass::logits_gradient() {
  const Value& output = layers_.back()->output();
  BATON_CHECK(static_cast<bool>(output.gradient));
  return FloatsOf(output.gradient, NumElements(output.shape));
}

}  // namespace baton::trainer

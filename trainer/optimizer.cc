#include "trainer/optimizer.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace baton::trainer {
namespace {

// A parameter with zeroed tensors of its shape beside it.
template <int kCount>
struct Slot {
  explicit Slot(Parameter* p) : parameter(p) {
    for (Tensor& tensor : state) tensor = Tensor(DataType::kFloat, p->value.shape());
  }
  Parameter* parameter;
  Tensor state[kCount];
};

template <int kCount>
std::vector<Slot<kCount>> MakeSlots(const std::vector<Parameter*>& parameters) {
  return std::vector<Slot<kCount>>(parameters.begin(), parameters.end());
}

float Decay(const Parameter& parameter, double rate, double weight_decay) {
  return parameter.value.shape().size() < 2 ? 1.0f : static_cast<float>(1 - rate * weight_decay);
}

class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, const std::vector<Parameter*>& parameters)
      : options_(options), slots_(MakeSlots<1>(parameters)) {}

  void Step(double rate) override {
    const float momentum = static_cast<float>(options_.momentum);
    const float step = static_cast<float>(rate);
    for (auto& [parameter, state] : slots_) {
      const float decay = Decay(*parameter, rate, options_.weight_decay);
      float* w = parameter->value.mutable_values<float>().data();
      float* v = state[0].mutable_values<float>().data();
      const absl::Span<const float> g = parameter->gradient.values<float>();
      for (size_t i = 0; i < g.size(); ++i) {
        v[i] = momentum * v[i] + g[i];
        w[i] = decay * w[i] - step * v[i];
      }
    }
  }

 private:
  const OptimizerOptions options_;
  std::vector<Slot<1>> slots_;  // velocity
};

class Adam final : public Optimizer {
 public:
  Adam(const OptimizerOptions& options, const std::vector<Parameter*>& parameters)
      : options_(options), slots_(MakeSlots<2>(parameters)) {}

  void Step(double rate) override {
    ++steps_;
    const float beta1 = static_cast<float>(options_.beta1);
    const float beta2 = static_cast<float>(options_.beta2);
    // The corrections of both means for their start at zero, put into the rate and into the root.
    const double correction1 = 1 - std::pow(options_.beta1, steps_);
    const double correction2 = 1 - std::pow(options_.beta2, steps_);
    const float step = static_cast<float>(rate / correction1);
    const float root_scale = static_cast<float>(1 / std::sqrt(correction2));
    const float epsilon = static_cast<float>(options_.epsilon);
    for (auto& [parameter, state] : slots_) {
      const float decay = Decay(*parameter, rate, options_.weight_decay);
      float* w = parameter->value.mutable_values<float>().data();
      float* m = state[0].mutable_values<float>().data();
      float* v = state[1].mutable_values<float>().data();
      const absl::Span<const float> g = parameter->gradient.values<float>();
      for (size_t i = 0; i < g.size(); ++i) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
        w[i] = decay * w[i] - step * m[i] / (std::sqrt(v[i]) * root_scale + epsilon);
      }
    }
  }

 private:
  const OptimizerOptions options_;
  std::vector<Slot<2>> slots_;  // means of the gradient and of its square
  double steps_ = 0;
};

}  // namespace

absl::StatusOr<OptimizerKind> ParseOptimizer(const std::string& name) {
  if (name == "sgd") return OptimizerKind::kSgd;
  if (name == "adam") return OptimizerKind::kAdam;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown optimizer \"", name, "\"; expected sgd or adam"));
}

std::string OptimizerName(OptimizerKind kind) {
  return kind == OptimizerKind::kSgd ? "sgd" : "adam";
}

std::unique_ptr<Optimizer> Optimizer::Make(const OptimizerOptions& options,
                                           std::vector<Parameter*> parameters) {
  if (options.kind == OptimizerKind::kSgd) return std::make_unique<Sgd>(options, parameters);
  return std::make_unique<Adam>(options, parameters);
}

}  // namespace baton::trainer

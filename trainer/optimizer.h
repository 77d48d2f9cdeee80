// Optimizers: how a gradient changes the parameters.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/network.h"

namespace baton::trainer {

enum class OptimizerKind { kSgd, kAdam };

// "sgd", "adam". kInvalidArgument for another name.
absl::StatusOr<OptimizerKind> ParseOptimizer(const std::string& name);
std::string OptimizerName(OptimizerKind kind);

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdam;
  double momentum = 0.9;    // sgd
  double beta1 = 0.9;       // adam: decay of the mean of gradients
  double beta2 = 0.999;     // adam: decay of the mean of their squares
  double epsilon = 1e-8;    // adam
  double weight_decay = 0;  // share of a weight (not a bias) taken off a step, times the rate
};

class Optimizer {
 public:
  // `parameters` must outlive the optimizer.
  //   sgd:  v ← momentum·v + g;  w ← w - rate·v
  //   adam: Kingma and Ba 2015, algorithm 1
  // and in both, decoupled from the gradient (Loshchilov and Hutter 2019):
  //   w ← w - rate·weight_decay·w   for parameters of rank 2 or more
  static std::unique_ptr<Optimizer> Make(const OptimizerOptions& options,
                                         std::vector<Parameter*> parameters);
  virtual ~Optimizer() = default;
  // One step with learning rate `rate` along the parameters' gradients as they are now.
  virtual void Step(double rate) = 0;
};

}  // namespace baton::trainer

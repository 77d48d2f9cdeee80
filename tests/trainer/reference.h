// Layers computed naively in double, to check the trainer's against, and gradients by finite
// differences of them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/network.h"

namespace baton::trainer::testing {

using Values = std::vector<double>;

// What a layer computes for `batch` items; `weights` and `bias` as in Layer::parameters.
Values ReferenceForward(const Layer& layer, int64_t batch, const Values& source,
                        const Values& weights, const Values& bias);

// Central differences of `f` by each element of `at`.
Values NumericGradient(const std::function<double(const Values&)>& f, Values at);

// Mean cross-entropy of softmax over rows of `classes`.
double ReferenceCrossEntropy(const Values& logits, int64_t classes,
                             const std::vector<uint8_t>& labels);

// `count` numbers in [-1, 1), by seed.
Values RandomValues(int64_t count, uint64_t seed);

}  // namespace baton::trainer::testing

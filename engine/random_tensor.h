// Random values for a tensor whose meaning is not known: made-up inputs of a model.
#pragma once

#include <random>

#include "engine/tensor.h"

namespace baton {

// Fills `tensor`, the same for the same state of `random`: floats in [-1,1), 8- and 16-bit integers
// in all their range, wider ones 0 or 1 (valid as an index into anything). Strings stay as they
// are.
void FillRandom(Tensor& tensor, std::mt19937& random);

}  // namespace baton

// What the engine's benchmarks share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model.h"
#include "engine/tensor.h"

namespace baton::bench {

// REQUIRES: there are values. The upper one of two in the middle.
double Median(std::vector<double> values);

std::string Duration(double seconds);

// As the kernel names it.
std::string CpuModel();

// Is a network of tests/nets/nets.sh one that reads texts?
bool IsOfTexts(absl::string_view net);

// The dimensions that a network of tests/nets/nets.sh leaves open beside the batch: height and
// width of an image, words of a text.
std::vector<int64_t> OpenSizes(absl::string_view net, int64_t words);

// An input of a model: pixels at random, words 0 and 1, all of which count. Its first dimension is
// the batch, others that are open are `sizes`.
absl::StatusOr<Tensor> MakeInput(const engine::ValueInfo& info, int64_t batch,
                                 const std::vector<int64_t>& sizes);

}  // namespace baton::bench

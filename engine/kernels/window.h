// The sliding window of convolutions and pools: kernel_shape, strides, dilations, pads, auto_pad,
// ceil_mode, as ONNX defines them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/graph.h"

namespace baton::engine {

struct Window {
  std::vector<int64_t> kernel;                    // empty: to be taken from the weights
  std::vector<int64_t> strides, dilations, pads;  // empty: all 1, 1, 0
  std::string auto_pad = "NOTSET";
  bool ceil_mode = false;
};

// kInvalidArgument for values that make no sense.
absl::StatusOr<Window> ParseWindow(const Node& node);

// A window fitted to an input.
struct FittedWindow {
  std::vector<int64_t> kernel, strides, dilations, pads_begin, pads_end;
  std::vector<int64_t> output;  // spatial dimensions; pads_end covers all of it, ceil_mode too
};

// `spatial`: the input's dimensions after N and C. kInvalidArgument if the ranks differ or the
// window does not fit.
absl::StatusOr<FittedWindow> FitWindow(const Window& window, absl::Span<const int64_t> kernel,
                                       absl::Span<const int64_t> spatial);

}  // namespace baton::engine

#include "engine/kernels/window.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace baton::engine {

absl::StatusOr<Window> ParseWindow(const Node& node) {
  Window window;
  ASSIGN_OR_RETURN(window.kernel, node.Ints("kernel_shape", {}));
  ASSIGN_OR_RETURN(window.strides, node.Ints("strides", {}));
  ASSIGN_OR_RETURN(window.dilations, node.Ints("dilations", {}));
  ASSIGN_OR_RETURN(window.pads, node.Ints("pads", {}));
  ASSIGN_OR_RETURN(window.auto_pad, node.String("auto_pad", "NOTSET"));
  ASSIGN_OR_RETURN(const int64_t ceil_mode, node.Int("ceil_mode", 0));
  window.ceil_mode = ceil_mode != 0;
  const auto check = [](const char* name, const std::vector<int64_t>& values, int64_t least) {
    for (const int64_t v : values) {
      if (v < least || v > (1 << 24)) {
        return absl::InvalidArgumentError(
            absl::StrCat("attribute \"", name, "\": ", v, " is not in [", least, ", 2^24]"));
      }
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(check("kernel_shape", window.kernel, 1));
  RETURN_IF_ERROR(check("strides", window.strides, 1));
  RETURN_IF_ERROR(check("dilations", window.dilations, 1));
  RETURN_IF_ERROR(check("pads", window.pads, 0));
  return window;
}

absl::StatusOr<FittedWindow> FitWindow(const Window& window, absl::Span<const int64_t> kernel,
                                       absl::Span<const int64_t> spatial) {
  const size_t n = spatial.size();
  const auto wrong_rank = [&](const char* name, size_t size) {
    return absl::InvalidArgumentError(absl::StrCat("attribute \"", name, "\" has ", size,
                                                   " values, the input has ", n,
                                                   " spatial dimensions"));
  };
  FittedWindow fitted;
  fitted.kernel.assign(kernel.begin(), kernel.end());
  if (kernel.size() != n) return wrong_rank("kernel_shape", kernel.size());
  fitted.strides = window.strides.empty() ? std::vector<int64_t>(n, 1) : window.strides;
  fitted.dilations = window.dilations.empty() ? std::vector<int64_t>(n, 1) : window.dilations;
  if (fitted.strides.size() != n) return wrong_rank("strides", fitted.strides.size());
  if (fitted.dilations.size() != n) return wrong_rank("dilations", fitted.dilations.size());
  const bool explicit_pads = window.auto_pad == "NOTSET" || window.auto_pad.empty();
  if (explicit_pads && !window.pads.empty() && window.pads.size() != 2 * n) {
    return wrong_rank("pads", window.pads.size());
  }
  const bool same_upper = window.auto_pad == "SAME_UPPER",
             same_lower = window.auto_pad == "SAME_LOWER";
  if (!explicit_pads && !same_upper && !same_lower && window.auto_pad != "VALID") {
    return absl::InvalidArgumentError(
        absl::StrCat("attribute \"auto_pad\" is \"", window.auto_pad,
                     "\"; expected NOTSET, SAME_UPPER, SAME_LOWER or VALID"));
  }
  for (size_t i = 0; i < n; ++i) {
    const int64_t reach = (fitted.kernel[i] - 1) * fitted.dilations[i] + 1;
    const int64_t stride = fitted.strides[i];
    int64_t begin = 0, end = 0, output = 0;
    if (same_upper || same_lower) {
      output = (spatial[i] + stride - 1) / stride;
      const int64_t total = std::max<int64_t>(0, (output - 1) * stride + reach - spatial[i]);
      begin = same_upper ? total / 2 : total - total / 2;
      end = total - begin;
    } else {
      if (explicit_pads && !window.pads.empty()) {
        begin = window.pads[i];
        end = window.pads[i + n];
      }
      const int64_t room = spatial[i] + begin + end - reach;
      if (room < 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the window (", reach, " wide with its dilation) does not fit spatial dimension ", i,
            " (", spatial[i], " with pads ", begin, " and ", end, ")"));
      }
      output = room / stride + 1;
      if (window.ceil_mode && room % stride != 0) {
        // One more window, if it starts inside the input or its left padding.
        if (output * stride < spatial[i] + begin) {
          ++output;
          end = std::max(end, (output - 1) * stride + reach - spatial[i] - begin);
        }
      }
    }
    fitted.pads_begin.push_back(begin);
    fitted.pads_end.push_back(end);
    fitted.output.push_back(output);
  }
  return fitted;
}

}  // namespace baton::engine

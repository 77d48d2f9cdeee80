// The one table of supported operators. A row: domain, operator, the first opset of this form, the
// factory. Of several rows for an operator the one with the highest first opset that is not above
// the model's counts.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/kernel.h"

namespace baton::engine {

struct KernelEntry {
  absl::string_view domain;
  absl::string_view op;
  int first_opset;
  KernelFactory make;
};

absl::Span<const KernelEntry> Kernels();

// Null if the operator is not supported at this opset.
const KernelEntry* FindKernel(absl::string_view domain, absl::string_view op, int opset);

}  // namespace baton::engine

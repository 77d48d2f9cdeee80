// The table of supported operators in docs/operators.md, made from the kernel table and from what
// the node tests show, so that it cannot say what is not so.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tests/engine/node_suite/manifest.h"

namespace baton::testing {

// The whole Markdown file. `data` is the directory whose tests `manifest` lists. Errors: a model
// that cannot be read.
absl::StatusOr<std::string> OperatorTable(const std::string& data, const Manifest& manifest);

}  // namespace baton::testing

#include "client/signature.h"

#include "absl/strings/str_join.h"

namespace baton {

absl::StatusOr<TensorInfo> FindInput(const Signature& signature, const std::string& name) {
  if (name.empty() && signature.inputs.size() == 1) return signature.inputs.front();
  for (const TensorInfo& input : signature.inputs) {
    if (input.name == name) return input;
  }
  const std::string inputs =
      absl::StrJoin(signature.inputs, ", ", [](std::string* out, const TensorInfo& input) {
        absl::StrAppend(out, "\"", input.name, "\" ", TypeAndShape(input));
      });
  if (name.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("model \"", signature.model, "\" has ",
                                                   signature.inputs.size(), " inputs (", inputs,
                                                   "); say which one, as NAME=VALUE"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model \"", signature.model, "\" has no input \"", name, "\"; it has ", inputs));
}

}  // namespace baton

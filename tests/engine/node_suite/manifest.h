// Manifest: which tests of a suite must pass, and why the others do not. A text file, one line a
// test, sorted by name; "#" begins a comment line.
//   pass NAME            claimed: it must pass
//   skip NAME: REASON    not supported; the reason is the engine's own, written by --update
//   exempt NAME: REASON  can never pass; the reason is written by hand and --update keeps it
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::testing {

struct ManifestEntry {
  enum class Kind { kPass, kSkip, kExempt };
  Kind kind = Kind::kPass;
  std::string reason;  // not empty unless kPass
};

using Manifest = std::map<std::string, ManifestEntry>;

// kInvalidArgument names the line: unknown word, no name, no reason, a name that is there twice.
absl::StatusOr<Manifest> ParseManifest(absl::string_view text);
std::string FormatManifest(const Manifest& manifest);

}  // namespace baton::testing

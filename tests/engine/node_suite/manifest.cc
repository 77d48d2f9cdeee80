#include "tests/engine/node_suite/manifest.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace baton::testing {

absl::StatusOr<Manifest> ParseManifest(absl::string_view text) {
  Manifest manifest;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.empty() || absl::StartsWith(line, "#")) continue;
    const auto error = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, " \"", line, "\": ", what));
    };
    const std::pair<absl::string_view, absl::string_view> word =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const std::pair<absl::string_view, absl::string_view> rest =
        absl::StrSplit(word.second, absl::MaxSplits(": ", 1));
    ManifestEntry entry{.reason = std::string(absl::StripAsciiWhitespace(rest.second))};
    if (word.first == "pass") {
      entry.kind = ManifestEntry::Kind::kPass;
    } else if (word.first == "skip") {
      entry.kind = ManifestEntry::Kind::kSkip;
    } else if (word.first == "exempt") {
      entry.kind = ManifestEntry::Kind::kExempt;
    } else {
      return error("expected pass, skip or exempt");
    }
    if (rest.first.empty()) return error("no test named");
    if (entry.kind != ManifestEntry::Kind::kPass && entry.reason.empty()) {
      return error("no reason; expected NAME: REASON");
    }
    if (!manifest.emplace(std::string(rest.first), std::move(entry)).second) {
      return error("this test is there twice");
    }
  }
  return manifest;
}

std::string FormatManifest(const Manifest& manifest) {
  std::string text;
  for (const auto& [name, entry] : manifest) {
    switch (entry.kind) {
      case ManifestEntry::Kind::kPass:
        absl::StrAppend(&text, "pass ", name, "\n");
        break;
      case ManifestEntry::Kind::kSkip:
        absl::StrAppend(&text, "skip ", name, ": ", entry.reason, "\n");
        break;
      case ManifestEntry::Kind::kExempt:
        absl::StrAppend(&text, "exempt ", name, ": ", entry.reason, "\n");
        break;
    }
  }
  return text;
}

}  // namespace baton::testing

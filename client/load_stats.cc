#include "client/load_stats.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace baton {

void LoadStats::AddReply(int64_t version, int64_t latency_ns, double at_s) {
  latency.Record(latency_ns);
  VersionReplies& seen = versions[version];
  if (seen.replies++ == 0) seen.first_s = at_s;
  seen.last_s = at_s;
}

void LoadStats::AddError(const absl::Status& status, int64_t latency_ns) {
  ErrorCount& error = errors[status.code()];
  if (error.count++ == 0) error.example = std::string(status.message());
  error.latency.Record(latency_ns);
}

void LoadStats::AddStepBack(int64_t floor, int64_t found, int connection) {
  if (steps_back++ == 0) {
    step_back_example = absl::StrCat("version ", found, " answered after version ", floor,
                                     " on connection ", connection);
  }
}

void LoadStats::Merge(const LoadStats& other) {
  latency.Merge(other.latency);
  send_lag.Merge(other.send_lag);
  for (const auto& [code, error] : other.errors) {
    ErrorCount& mine = errors[code];
    if (mine.count == 0) mine.example = error.example;
    mine.count += error.count;
    mine.latency.Merge(error.latency);
  }
  for (const auto& [version, theirs] : other.versions) {
    VersionReplies& mine = versions[version];
    mine.first_s = mine.replies == 0 ? theirs.first_s : std::min(mine.first_s, theirs.first_s);
    mine.last_s = std::max(mine.last_s, theirs.last_s);
    mine.replies += theirs.replies;
  }
  if (steps_back == 0) step_back_example = other.step_back_example;
  steps_back += other.steps_back;
}

int64_t LoadStats::Failures() const {
  int64_t failures = 0;
  for (const auto& [code, error] : errors) failures += error.count;
  return failures;
}

}  // namespace baton

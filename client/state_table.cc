#include "client/state_table.h"

#include <algorithm>

#include "absl/strings/str_replace.h"
#include "client/command.h"

namespace baton {

std::string StatesToTable(const std::vector<VersionState>& states) {
  const bool reasons = std::any_of(states.begin(), states.end(),
                                   [](const VersionState& state) { return !state.reason.empty(); });
  std::vector<std::vector<std::string>> rows{
      {"MODEL", "VERSION", "STATE", reasons ? "REASON" : ""}};
  for (const VersionState& state : states) {
    rows.push_back({state.model, state.version.empty() ? "-" : state.version, state.state,
                    absl::StrReplaceAll(state.reason, {{"\n", " "}})});
  }
  return Columns(rows);
}

nlohmann::json StatesToJson(const std::vector<VersionState>& states) {
  nlohmann::json list = nlohmann::json::array();
  for (const VersionState& state : states) {
    nlohmann::json row{{"model", state.model}, {"version", state.version}, {"state", state.state}};
    if (!state.reason.empty()) row["reason"] = state.reason;
    list.push_back(std::move(row));
  }
  return list;
}

}  // namespace baton

// The states of versions as text and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/client.h"

namespace baton {

std::string StatesToTable(const std::vector<VersionState>& states);
// [{"model", "version", "state", "reason"}…]; "reason" only where there is one.
nlohmann::json StatesToJson(const std::vector<VersionState>& states);

}  // namespace baton

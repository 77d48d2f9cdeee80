// What the owner of a model says about it, besides what is in its directory: the command line, a
// ModelServerConfig, or a request to load it. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "server/repository/version_policy.h"

namespace baton::repository {

struct ModelSettings {
  std::optional<VersionPolicy> version_policy;  // instead of config.pbtxt's
  // label → version; over config.pbtxt's. 0: there is no such label.
  std::map<std::string, int64_t> labels = {};
  std::optional<std::string> config = {};  // JSON of a ModelConfig, instead of config.pbtxt
  friend bool operator==(const ModelSettings&, const ModelSettings&) = default;
};

// A model that is to be served: where it is and what its owner says.
struct ModelSource {
  std::string name;
  std::string base_path;  // holds the version directories
  std::string root = {};  // what symbolic links must not leave; "": base_path
  ModelSettings settings = {};
  // 0: every scan looks for its versions. Else they are looked for once for each value: a server
  // under explicit control takes new versions when it is told to.
  uint64_t reading = 0;
  // Says something of a model that is below a root, and makes none: there are only settings.
  bool overlay = false;
  friend bool operator==(const ModelSource&, const ModelSource&) = default;
};

}  // namespace baton::repository

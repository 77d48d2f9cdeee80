// Asks the system whether a TCP port can be listened on, for an error that says why not; the
// libraries that then listen only say that they could not.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace baton::api {

// kFailedPrecondition if `port` is in use, kPermissionDenied if it may not be used, naming `flag`,
// which sets it. OK for 0, any free port.
absl::Status CheckPortFree(int port, const std::string& flag);

}  // namespace baton::api

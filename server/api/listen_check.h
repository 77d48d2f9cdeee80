// What both servers check before they listen. Whether a TCP port or Unix socket can be listened on
// the system is asked for an error that says why not; the libraries that then listen only say that
// they could not.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace baton::api {

// kFailedPrecondition if `port` is in use, kPermissionDenied if it may not be used, naming `flag`,
// which sets it. OK for 0, any free port.
absl::Status CheckPortFree(int port, const std::string& flag);

// The same for a Unix socket. A socket file that nobody listens on, left behind by a server that
// was killed, is removed; kFailedPrecondition if another server listens on it, or if the path is a
// file of another kind or cannot be made.
absl::Status CheckSocketFree(const std::string& path, const std::string& flag);

// kInvalidArgument unless --connection_idle_seconds may be `seconds`.
absl::Status CheckIdleSeconds(int seconds);

}  // namespace baton::api

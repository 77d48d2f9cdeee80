// Compressed replies.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "server/api/http_connection.h"

namespace baton::api {

// `body` compressed for speed; "" if it is too large for that, or the system lacks the memory.
// REQUIRES: not kIdentity.
std::string Compress(absl::string_view body, Encoding encoding);

}  // namespace baton::api

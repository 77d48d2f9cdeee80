// Status at the edge: the one conversion to gRPC's, and HTTP's code for each.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace baton::api {

// The same code and message; a message that is too long for HTTP/2's headers is cut.
grpc::Status ToGrpcStatus(const absl::Status& status);

// 200, 400, 404, 503 …
int HttpCode(absl::StatusCode code);

}  // namespace baton::api

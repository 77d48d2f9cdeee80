// What goes with a gRPC reply besides message and status.
#pragma once

#include <grpcpp/server_context.h>

#include "absl/status/status.h"

namespace baton::api {

// Bytes of a reply that may gain from it; whether a client asks for it costs a look at all of the
// call's metadata, which the smallest replies are spared.
inline constexpr size_t kLeastToCompress = 128;

// Compresses the reply (gzip or deflate) if the client asks for it with the metadata
// "accept-encoding", as a client of HTTP does; what gRPC itself sends about compression says only
// what a client can read. REQUIRES: before the first message of the call is sent.
void ChooseCompression(grpc::ServerContext& context);

// With serving::RetryAfter, "grpc-retry-pushback-ms", which gRPC's clients wait before they try
// again. REQUIRES: before the call is finished.
void AddRetryPushback(grpc::ServerContext& context, const absl::Status& status);

}  // namespace baton::api

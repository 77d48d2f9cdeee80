// gRPC's connections over TLS.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/api/secrets.h"

namespace baton::api {

// Credentials that show each new connection what `secrets.tls()` is then. For one port; they and
// `secrets` outlive the server that listens on it. REQUIRES: `secrets.tls()` is not null.
std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(const Secrets& secrets);

}  // namespace baton::api

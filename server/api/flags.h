// The command line of baton-server. Names, defaults and meaning are TensorFlow Serving's where it
// has the flag.
#pragma once

#include <optional>

#include "server/api/grpc_server.h"
#include "server/api/http_server.h"
#include "server/api/secrets.h"
#include "server/serving/model_server.h"

namespace baton::api {

struct ServerFlags {
  serving::ModelServerOptions serving;
  GrpcOptions grpc;
  std::optional<HttpOptions> http;  // no value: off
  SecretFiles secrets;
  double drain_seconds = 30;
};

// Fills `flags`. A value means: exit with it now; everything has been printed (0 after --help and
// --version, 2 after one line that says what is wrong).
std::optional<int> ParseServerFlags(int argc, char** argv, ServerFlags& flags);

}  // namespace baton::api

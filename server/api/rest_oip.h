// Open Inference's REST with Triton's extensions: /v2 and below. It is JSON before and after the
// same functions that answer gRPC.
#pragma once

#include "server/api/http_router.h"
#include "server/api/oip_service.h"
#include "server/serving/model_server.h"

namespace baton::api {

// Adds the routes; `server` and `service` outlive them.
void AddOipRoutes(serving::ModelServer& server, OipService& service, HttpRouter& router);

}  // namespace baton::api

// TensorFlow Serving's REST: /v1/models/NAME[/versions/N|/labels/L] and below. It is JSON before
// and after the same functions that answer gRPC.
#pragma once

#include "server/api/http_router.h"
#include "server/api/tfs_service.h"
#include "server/serving/model_server.h"

namespace baton::api {

// Adds the routes; `server` and `service` outlive them.
void AddTfsRoutes(serving::ModelServer& server, TfsService& service, HttpRouter& router);

}  // namespace baton::api

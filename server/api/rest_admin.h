// Triton's REST for loading and unloading: POST /v2/repository/models/NAME/load and /unload. JSON
// before the same functions that answer gRPC; the reply comes when it is done.
#pragma once

#include "server/api/admin.h"
#include "server/api/http_router.h"

namespace baton::api {

// Adds the routes; `admin` outlives them.
void AddAdminRoutes(Admin& admin, HttpRouter& router);

}  // namespace baton::api

#include "server/api/run.h"

namespace baton::api {

void RecordUnserved(serving::ModelServer& server, const std::string& model, serving::Method method,
                    const absl::Status& status) {
  const bool known = server.registry().Status(model).ok();
  server.metrics().RecordUnserved(known ? model : "", method, status.code());
}

}  // namespace baton::api

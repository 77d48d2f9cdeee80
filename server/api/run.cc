#include "server/api/run.h"

namespace baton::api {

void RecordUnserved(serving::ModelServer& server, const std::string& model, serving::Method method,
                    const absl::Status& status) {
  server.metrics().RecordUnserved(server.registry().Knows(model) ? model : "", method,
                                  status.code());
}

absl::StatusOr<std::shared_ptr<serving::Servable>> AcquireCounted(
    serving::ModelServer& server, const std::string& model, const serving::VersionChoice& choice,
    serving::Method method) {
  auto servable = server.registry().Acquire(model, choice);
  if (!servable.ok()) RecordUnserved(server, model, method, servable.status());
  return servable;
}

void RecordAnswer(serving::Servable& servable, const CallTerms& terms, const absl::Status& status) {
  servable.metrics().RecordRequest(terms.method, status.code(),
                                   Seconds(std::chrono::steady_clock::now() - terms.arrived));
}

}  // namespace baton::api

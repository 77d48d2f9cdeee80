// HttpServer: both protocols' REST, metrics, health and model states over HTTP, for clients,
// people, probes and Prometheus. Used from one thread. Its threads and connections are those of
// HttpTransport.
//
// Where there is a certificate all of it is HTTPS. Where there are tokens, health and metrics are
// open all the same, and everything else needs one: 401 without.
//
//   /healthz  /v2/health/live     200 while the process runs
//   /readyz   /v2/health/ready    200 or 503, as ModelServer::Ready
//   /metrics  /monitoring/prometheus/metrics
//   /v1/…     TensorFlow Serving's REST (rest_tfs.h)
//   /v2/…     Open Inference's REST (rest_oip.h)
//   /         models, versions and states as text
//
// Bodies may come compressed (gzip, deflate, br), and go so (gzip, deflate) to those who ask.
// Errors are {"error": text}: 404 for an unknown path, 405 for a wrong method, 413 for a body that
// is too large, also when it is decompressed, 415 for an unknown Content-Encoding, 408 for a
// request that does not come whole in time; else HttpCode() of the status.
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "server/api/admin.h"
#include "server/api/gate.h"
#include "server/api/http_router.h"
#include "server/api/oip_service.h"
#include "server/api/secrets.h"
#include "server/api/tfs_service.h"
#include "server/serving/model_server.h"

namespace httplib {
struct Request;
struct Response;
class ContentReader;
}  // namespace httplib

namespace baton::api {

class HttpTransport;

struct HttpOptions {
  int port = 8501;          // 0: any that is free
  int threads = 32;         // requests with a body that are worked on at once
  int max_message_mb = 64;  // largest body, 1 … 2047
  int timeout_ms = 30000;   // a request that has not run by then is not run
  AdminAccess admin = AdminAccess::kLocal;
  int max_connections = 0;           // 0: no bound
  int connection_idle_seconds = 60;  // after which one that sends nothing is closed
  bool serve_metrics = true;
  std::string metrics_path = {};  // another path for them; "": none

  // kInvalidArgument, naming the flag, its value and what is allowed.
  absl::Status Validate() const;
};

class HttpServer {
 public:
  // Listens and serves. `server` and `secrets` (null: no TLS, no tokens) outlive this.
  // kInvalidArgument for wrong options; kFailedPrecondition or kPermissionDenied for a port that
  // cannot be used.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpOptions& options,
                                                           serving::ModelServer& server,
                                                           const Secrets* secrets = nullptr);
  ~HttpServer();  // ends what is being answered, and joins
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }

 private:
  HttpServer(const HttpOptions& options, serving::ModelServer& server, const Secrets* secrets);
  absl::Status Listen();
  void AddRoutes();
  void SetHandlers();
  // Answers a request; a null `body` for one that has none.
  void Dispatch(const httplib::Request& request, httplib::Response& response,
                const httplib::ContentReader* body) const;
  // False if it has answered already: the body is not there, or too large.
  bool ReadBody(const httplib::ContentReader& reader, HttpCall& call) const;
  size_t max_body_bytes() const { return static_cast<size_t>(options_.max_message_mb) << 20; }

  const HttpOptions options_;
  serving::ModelServer& model_server_;
  const Gate gate_;
  Admin admin_;
  TfsService tfs_;  // for their functions; gRPC knows nothing of these two
  OipService oip_;
  HttpRouter router_;
  std::unique_ptr<HttpTransport> transport_;
  int port_ = 0;
};

}  // namespace baton::api

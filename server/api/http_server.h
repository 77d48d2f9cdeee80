// HttpServer: metrics, health and model states over HTTP, for people, probes and Prometheus.
// Used from one thread. Threads it owns: one that accepts, and a fixed number that answer; each
// connection is closed after one answer, so that idle ones cannot hold them.
//
//   /healthz  /v2/health/live     200 while the process runs
//   /readyz   /v2/health/ready    200 or 503, as ModelServer::Ready
//   /metrics  /monitoring/prometheus/metrics
//   /v1/models/NAME[/versions/N|/labels/L]   states, as TensorFlow Serving's REST
//   /         models, versions and states as text
#pragma once

#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "server/serving/model_server.h"

namespace httplib {
class Server;
struct Request;
struct Response;
}  // namespace httplib

namespace baton::api {

struct HttpOptions {
  int port = 8501;  // 0: any that is free
  int threads = 8;  // that answer

  // kInvalidArgument, naming the flag, its value and what is allowed.
  absl::Status Validate() const;
};

class HttpServer {
 public:
  // Listens and serves. `server` outlives this. kInvalidArgument for wrong options;
  // kFailedPrecondition or kPermissionDenied for a port that cannot be used.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpOptions& options,
                                                           serving::ModelServer& server);
  ~HttpServer();  // ends what is being answered, and joins
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }

 private:
  explicit HttpServer(serving::ModelServer& server);
  absl::Status Listen(const HttpOptions& options);
  void Route();
  void Ready(httplib::Response& response) const;
  void ModelStatus(const httplib::Request& request, httplib::Response& response) const;
  void Overview(httplib::Response& response) const;

  serving::ModelServer& model_server_;
  std::unique_ptr<httplib::Server> http_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace baton::api

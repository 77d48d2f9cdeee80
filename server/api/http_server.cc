#include "server/api/http_server.h"

#include <google/protobuf/util/json_util.h>
#include <httplib.h>

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/version.h"
#include "server/api/grpc_status.h"
#include "server/api/listen_check.h"
#include "server/api/model_status.h"

namespace baton::api {
namespace {

// Bounds how long a connection that sends nothing, or slowly, keeps a thread.
constexpr int kPatienceSeconds = 2;
constexpr size_t kMaxBodyBytes = size_t{1} << 20;  // nothing here takes a body
constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kJson[] = "application/json";

void SetSocketOptions(socket_t socket) {
  // Not SO_REUSEPORT, the library's default: a second server on the port must fail.
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

void SendError(const absl::Status& status, httplib::Response& response) {
  response.status = HttpCode(status.code());
  const nlohmann::json body = {{"error", std::string(status.message())}};
  response.set_content(body.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
                       kJson);
}

}  // namespace

absl::Status HttpOptions::Validate() const {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rest_api_port=", port, ": must be from 0 (off) to 65535"));
  }
  if (threads < 1 || threads > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rest_api_num_threads=", threads, ": must be from 1 to 1024"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options,
                                                              serving::ModelServer& server) {
  RETURN_IF_ERROR(options.Validate());
  RETURN_IF_ERROR(CheckPortFree(options.port, "--rest_api_port"));
  std::unique_ptr<HttpServer> out(new HttpServer(server));
  RETURN_IF_ERROR(out->Listen(options));
  return out;
}

HttpServer::HttpServer(serving::ModelServer& server)
    : model_server_(server), http_(std::make_unique<httplib::Server>()) {}

absl::Status HttpServer::Listen(const HttpOptions& options) {
  http_->new_task_queue = [threads = options.threads] {
    return new httplib::ThreadPool(static_cast<size_t>(threads));
  };
  http_->set_socket_options(&SetSocketOptions);
  http_->set_keep_alive_max_count(1);
  http_->set_keep_alive_timeout(kPatienceSeconds);
  http_->set_read_timeout(kPatienceSeconds);
  http_->set_payload_max_length(kMaxBodyBytes);
  Route();
  for (const char* address : {"::", "0.0.0.0"}) {  // the second where there is no IPv6
    if (options.port == 0) {
      port_ = http_->bind_to_any_port(address);
    } else if (http_->bind_to_port(address, options.port)) {
      port_ = options.port;
    }
    if (port_ > 0) break;
    port_ = 0;
  }
  if (port_ == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on port ", options.port, " (--rest_api_port)"));
  }
  thread_ = std::thread([this] { http_->listen_after_bind(); });
  // stop() has no effect on a server that does not run yet.
  while (!http_->is_running()) std::this_thread::yield();
  return absl::OkStatus();
}

HttpServer::~HttpServer() {
  if (!thread_.joinable()) return;
  http_->stop();
  thread_.join();
}

void HttpServer::Route() {
  using httplib::Request;
  using httplib::Response;
  const auto live = [](const Request&, Response& response) { response.set_content("ok\n", kText); };
  const auto ready = [this](const Request&, Response& response) { Ready(response); };
  const auto metrics = [this](const Request&, Response& response) {
    response.set_content(model_server_.metrics().Render(),
                         "text/plain; version=0.0.4; charset=utf-8");
  };
  const auto status = [this](const Request& request, Response& response) {
    ModelStatus(request, response);
  };
  http_->Get("/healthz", live);
  http_->Get("/v2/health/live", live);
  http_->Get("/readyz", ready);
  http_->Get("/v2/health/ready", ready);
  http_->Get("/metrics", metrics);
  http_->Get("/monitoring/prometheus/metrics", metrics);
  http_->Get(R"(/v1/models/([^/:]+))", status);
  http_->Get(R"(/v1/models/([^/:]+)/versions/([^/:]+))", status);
  http_->Get(R"(/v1/models/([^/:]+)/labels/([^/:]+))", status);
  http_->Get("/", [this](const Request&, Response& response) { Overview(response); });
  http_->set_error_handler([](const Request& request, Response& response) {
    if (!response.body.empty()) return;
    const nlohmann::json body = {
        {"error", response.status == 404
                      ? absl::StrCat("no such path: ", request.method, " ", request.path)
                      : absl::StrCat("HTTP ", response.status)}};
    response.set_content(body.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
                         kJson);
  });
}

void HttpServer::Ready(httplib::Response& response) const {
  const bool ready = model_server_.Ready();
  response.status = ready ? 200 : 503;
  response.set_content(ready ? "ready\n" : "not ready\n", kText);
}

void HttpServer::ModelStatus(const httplib::Request& request, httplib::Response& response) const {
  tensorflow::serving::ModelSpec spec;
  spec.set_name(request.matches[1].str());
  if (request.matches.size() > 2) {
    const std::string choice = request.matches[2].str();
    int64_t version = 0;
    if (request.path.find("/labels/") != std::string::npos) {
      spec.set_version_label(choice);
    } else if (absl::SimpleAtoi(choice, &version)) {
      spec.mutable_version()->set_value(version);
    } else {
      return SendError(
          absl::InvalidArgumentError(absl::StrCat("version \"", choice, "\" is not a number")),
          response);
    }
  }
  const auto status = ModelStatusResponse(model_server_.registry(), spec);
  if (!status.ok()) return SendError(status.status(), response);
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(*status, &json, options).ok()) {
    return SendError(absl::InternalError("the status has no JSON form"), response);
  }
  response.set_content(json, kJson);
}

void HttpServer::Overview(httplib::Response& response) const {
  std::string text = absl::StrCat("baton ", kBatonVersion,
                                  model_server_.Ready() ? ", ready" : ", not ready", "\n\n");
  for (const serving::ModelStatus& model : model_server_.registry().StatusOfAll()) {
    absl::StrAppend(&text, model.name, "\n");
    if (!model.error.ok()) absl::StrAppend(&text, "  ", model.error.message(), "\n");
    for (const serving::VersionStatus& version : model.versions) {
      absl::StrAppend(&text, "  ", version.version, "  ", serving::VersionStateName(version.state));
      if (!version.error.ok()) absl::StrAppend(&text, ": ", version.error.message());
      absl::StrAppend(&text, "\n");
    }
  }
  response.set_content(text, kText);
}

}  // namespace baton::api

#include "server/api/http_server.h"

#include <httplib.h>

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/version.h"
#include "server/api/http_call.h"
#include "server/api/http_compression.h"
#include "server/api/http_transport.h"
#include "server/api/json_writer.h"
#include "server/api/listen_check.h"
#include "server/api/rest_admin.h"
#include "server/api/rest_oip.h"
#include "server/api/rest_tfs.h"

namespace baton::api {
namespace {

// Shorter replies do not gain from it.
constexpr size_t kLeastToCompress = 1400;
// Longer paths name no model that could be in a repository.
constexpr size_t kLongestPath = 1024;

std::string Overview(serving::ModelServer& server) {
  std::string text =
      absl::StrCat("baton ", kBatonVersion, server.Ready() ? ", ready" : ", not ready", "\n\n");
  for (const serving::ModelStatus& model : server.registry().StatusOfAll()) {
    absl::StrAppend(&text, model.name, "\n");
    if (!model.error.ok()) absl::StrAppend(&text, "  ", model.error.message(), "\n");
    for (const serving::VersionStatus& version : model.versions) {
      absl::StrAppend(&text, "  ", version.version, "  ", serving::VersionStateName(version.state));
      if (!version.error.ok()) absl::StrAppend(&text, ": ", version.error.message());
      if (!version.note.empty()) absl::StrAppend(&text, ": ", version.note);
      absl::StrAppend(&text, "\n");
    }
  }
  return text;
}

// An error that is HTTP's own.
void SendHttpError(int code, absl::string_view text, httplib::Response& response) {
  response.status = code;
  response.body = ErrorJson(text);
  response.headers.erase("Content-Type");  // set_header only adds
  response.set_header("Content-Type", kJsonType);
}

// What the library refuses by itself. It has read an unknown part of the request.
void SendLibraryError(const httplib::Request&, httplib::Response& response) {
  if (!response.body.empty()) return;
  HttpTransport::Current().CloseAfterReply();
  const int code = response.status;
  SendHttpError(code,
                code == 400   ? "malformed HTTP request"
                : code == 413 ? "the request is larger than --max_message_mb allows"
                : code == 414 ? "the path is too long"
                : code == 416 ? "malformed Range header"
                              : absl::StrCat("HTTP ", code),
                response);
}

void CompressReply(httplib::Response& response) {
  const Encoding encoding = HttpTransport::Current().reply_encoding();
  if (encoding == Encoding::kIdentity || response.body.size() < kLeastToCompress) return;
  std::string compressed = Compress(response.body, encoding);
  if (compressed.empty() || compressed.size() >= response.body.size()) return;
  response.body = std::move(compressed);
  response.set_header("Content-Encoding", encoding == Encoding::kGzip ? "gzip" : "deflate");
}

// 0 where it is not known.
size_t ContentLength(const httplib::Request& request) {
  uint64_t length = 0;
  return absl::SimpleAtoi(request.get_header_value("Content-Length"), &length) ? length : 0;
}

bool KnownEncoding(const std::string& encoding) {
  return encoding.empty() || encoding == "identity" || encoding == "gzip" ||
         encoding == "deflate" || encoding == "br";
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
  if (max_message_mb < 1 || max_message_mb > 2047) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max_message_mb=", max_message_mb, ": must be from 1 to 2047"));
  }
  if (timeout_ms < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rest_api_timeout_in_ms=", timeout_ms, ": must be 1 or more"));
  }
  if (max_connections < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max_connections=", max_connections, ": must be 0 (no bound) or more"));
  }
  return CheckIdleSeconds(connection_idle_seconds);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options,
                                                              serving::ModelServer& server,
                                                              const Secrets* secrets) {
  RETURN_IF_ERROR(options.Validate());
  RETURN_IF_ERROR(CheckPortFree(options.port, "--rest_api_port"));
  std::unique_ptr<HttpServer> out(new HttpServer(options, server, secrets));
  RETURN_IF_ERROR(out->Listen());
  return out;
}

HttpServer::HttpServer(const HttpOptions& options, serving::ModelServer& server,
                       const Secrets* secrets)
    : options_(options),
      model_server_(server),
      gate_(options.admin, secrets),
      admin_(server),
      tfs_(server, admin_, max_body_bytes()),
      oip_(server, admin_, max_body_bytes()),
      transport_(std::make_unique<HttpTransport>(
          HttpTransport::Options{.threads = options.threads,
                                 .request_timeout = std::chrono::milliseconds(options.timeout_ms),
                                 .idle_time = std::chrono::seconds(options.connection_idle_seconds),
                                 .max_connections = options.max_connections,
                                 .secrets = secrets})) {
  AddRoutes();
  SetHandlers();
}

HttpServer::~HttpServer() { transport_->Stop(); }

absl::Status HttpServer::Listen() {
  for (const char* address : {"::", "0.0.0.0"}) {  // the second where there is no IPv6
    if (options_.port == 0) {
      port_ = transport_->bind_to_any_port(address);
    } else if (transport_->bind_to_port(address, options_.port)) {
      port_ = options_.port;
    }
    if (port_ > 0) break;
    port_ = 0;
  }
  if (port_ == 0 || !transport_->Start()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on port ", options_.port, " (--rest_api_port)"));
  }
  return absl::OkStatus();
}

void HttpServer::AddRoutes() {
  for (const char* path : {"/healthz", "/v2/health/live"}) {
    router_.Add(
        "GET", path, [](HttpCall& call) { call.Send("ok\n", kTextType); }, Access::kOpen);
  }
  for (const char* path : {"/readyz", "/v2/health/ready"}) {
    const auto answer = [this](HttpCall& call) {
      const bool ready = model_server_.Ready();
      call.Send(ready ? "ready\n" : "not ready\n", kTextType);
      if (!ready) call.response.status = 503;
    };
    router_.Add("GET", path, answer, Access::kOpen);
  }
  std::vector<std::string> metrics_paths;
  if (options_.serve_metrics) metrics_paths = {"/metrics", "/monitoring/prometheus/metrics"};
  if (options_.serve_metrics && !options_.metrics_path.empty()) {
    metrics_paths.push_back(options_.metrics_path);
  }
  for (const std::string& path : metrics_paths) {
    const auto answer = [this](HttpCall& call) {
      call.Send(model_server_.metrics().Render(), "text/plain; version=0.0.4; charset=utf-8");
    };
    router_.Add("GET", path, answer, Access::kOpen);
  }
  router_.Add("GET", "/",
              [this](HttpCall& call) { call.Send(Overview(model_server_), kTextType); });
  AddTfsRoutes(model_server_, tfs_, router_);
  AddOipRoutes(model_server_, oip_, router_);
  AddAdminRoutes(admin_, router_);
}

// The library's own routes are regular expressions tried one after the other, each time; it only
// hands over what it has parsed.
void HttpServer::SetHandlers() {
  using httplib::Request;
  using httplib::Response;
  using httplib::Server;
  transport_->set_payload_max_length(max_body_bytes());
  transport_->set_pre_routing_handler([this](const Request& request, Response& response) {
    if (request.path.size() > kLongestPath) {
      response.status = 414;
      SendLibraryError(request, response);
    } else if (request.method == "POST") {
      return Server::HandlerResponse::Unhandled;  // its body comes with the handler below
    } else {
      Dispatch(request, response, nullptr);
    }
    return Server::HandlerResponse::Handled;
  });
  transport_->Post(R"([\s\S]*)", [this](const Request& request, Response& response,
                                        const httplib::ContentReader& body) {
    Dispatch(request, response, &body);
  });
  // A client that asks before it sends learns in time.
  transport_->set_expect_100_continue_handler([this](const Request& request, Response& response) {
    if (ContentLength(request) <= max_body_bytes()) return 100;
    return response.status = 413;
  });
  transport_->set_post_routing_handler([](const Request&, Response& response) {
    if (!HttpTransport::Current().close_after_reply()) return;
    response.headers.erase("Keep-Alive");
    response.headers.erase("Connection");
    response.set_header("Connection", "close");
  });
  transport_->set_error_handler(
      [](const Request& request, Response& response) { SendLibraryError(request, response); });
  transport_->set_exception_handler([](const Request&, Response& response, std::exception_ptr) {
    HttpTransport::Current().CloseAfterReply();
    SendHttpError(500, "the server lacks the memory for this request", response);
  });
}

void HttpServer::Dispatch(const httplib::Request& request, httplib::Response& response,
                          const httplib::ContentReader* body) const {
  HttpRouter::Found found = router_.Find(request.method, request.path);
  if (found.handler == nullptr) {
    // The body stays where it is.
    if (body != nullptr) HttpTransport::Current().CloseAfterReply();
    const std::string path = absl::CHexEscape(request.path.substr(0, 200));
    if (found.allowed.empty()) {
      return SendHttpError(404, absl::StrCat("no such path: ", request.method, " ", path),
                           response);
    }
    response.set_header("Allow", found.allowed);
    return SendHttpError(
        405, absl::StrCat(path, " does not take ", request.method, ", but ", found.allowed),
        response);
  }
  HttpCall call{request, response, std::move(found.variables), "", {}};
  if (!gate_.IsOpenTo(found.access)) {
    const absl::Status allowed =
        gate_.Check(found.access, call.Peer(), request.get_header_value("Authorization"));
    if (!allowed.ok()) {
      // Strangers do not get to send a body.
      if (body != nullptr) HttpTransport::Current().CloseAfterReply();
      return call.SendError(allowed);
    }
  }
  if (body != nullptr && !ReadBody(*body, call)) return;
  call.arrived = std::chrono::steady_clock::now();
  call.deadline = call.arrived + std::chrono::milliseconds(options_.timeout_ms);
  call.max_tensor_bytes = max_body_bytes();
  (*found.handler)(call);
  CompressReply(response);
}

bool HttpServer::ReadBody(const httplib::ContentReader& reader, HttpCall& call) const {
  HttpConnection& connection = HttpTransport::Current();
  const auto refuse = [&](int code, absl::string_view text) {
    connection.CloseAfterReply();
    SendHttpError(code, text, call.response);
    return false;
  };
  const std::string encoding = call.request.get_header_value("Content-Encoding");
  if (!KnownEncoding(encoding)) {
    return refuse(415, absl::StrCat("Content-Encoding \"", absl::CHexEscape(encoding.substr(0, 40)),
                                    "\" is not supported; send gzip, deflate, br or none"));
  }
  const std::string too_large =
      absl::StrCat("the request's body is larger than ", max_body_bytes(),
                   " bytes (--max_message_mb=", options_.max_message_mb, ")");
  const size_t length = ContentLength(call.request);
  if (length > max_body_bytes()) return refuse(413, too_large);
  call.body.reserve(length);
  bool fits = true;
  const bool whole = reader([&](const char* data, size_t size) {
    fits = call.body.size() + size <= max_body_bytes();
    if (fits) call.body.append(data, size);
    return fits;
  });
  if (whole) return true;
  // Newer versions of the library refuse some by themselves.
  if (!fits || call.response.status == 413) return refuse(413, too_large);
  if (connection.timed_out()) {
    return refuse(408, absl::StrCat("the request did not come whole within ", options_.timeout_ms,
                                    " ms (--rest_api_timeout_in_ms), or it stalled"));
  }
  return refuse(400, encoding.empty() ? "the request's body is not whole"
                                      : absl::StrCat("the request's body is not valid ", encoding));
}

}  // namespace baton::api

#include "server/api/grpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/cpu.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "server/api/grpc_tls.h"
#include "server/api/listen_check.h"

namespace baton::api {
namespace {

// Calls of a busy method that wait posted on each loop: as many may arrive at once without waiting
// for another to be posted.
constexpr int kBusyCalls = 64;
constexpr int kCoresPerLoop = 8;

// A client may ask as often whether the server is still there, also while it has no calls; one that
// asks more often is cut off after a few times.
constexpr int kLeastPingIntervalMs = 10'000;
constexpr int kMostHastyPings = 2;

// What holds unless the command line says otherwise.
std::vector<ChannelArgument> OwnArguments(const GrpcOptions& options) {
  std::vector<ChannelArgument> arguments = {
      // Else a second server could listen on the same port, and take half of the requests.
      {GRPC_ARG_ALLOW_REUSEPORT, 0},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kLeastPingIntervalMs},
      {GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMostHastyPings},
  };
  if (options.connection_idle_seconds.has_value()) {
    arguments.push_back({GRPC_ARG_MAX_CONNECTION_IDLE_MS, *options.connection_idle_seconds * 1000});
  }
  return arguments;
}

// True for the first of a second. Thread-safe.
bool MayLogHandshake() {
  static std::atomic<SteadyTime> next{SteadyTime::min()};
  const SteadyTime now = std::chrono::steady_clock::now();
  SteadyTime due = next.load();
  return now >= due && next.compare_exchange_strong(due, now + std::chrono::seconds(1));
}

void ForwardGrpcLog(gpr_log_func_args* line) {
  if (line->severity != GPR_LOG_SEVERITY_ERROR) return;
  // Anyone can fail at a handshake, as often as he likes.
  if (absl::StartsWith(line->message, "Handshake failed") && !MayLogHandshake()) return;
  BATON_LOG(Warning) << "gRPC: " << line->message;
}

}  // namespace

absl::Status GrpcOptions::Validate() const {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("--port=", port, ": must be from 0 (any) to 65535"));
  }
  if (max_message_mb < 1 || max_message_mb > 2047) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max_message_mb=", max_message_mb, ": must be from 1 to 2047"));
  }
  if (max_pollers < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--grpc_max_threads=", max_pollers, ": must be 0 (no bound) or more"));
  }
  if (poll_spin_us < 0 || poll_spin_us > 1'000'000) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--grpc_poll_spin_us=", poll_spin_us, ": must be from 0 (none) to 1000000 (a second)"));
  }
  if (connection_idle_seconds.has_value()) {
    RETURN_IF_ERROR(CheckIdleSeconds(*connection_idle_seconds));
  }
  // sockaddr_un::sun_path with its end.
  if (socket_path.size() > 107) {
    return absl::InvalidArgumentError(absl::StrCat("--grpc_socket_path=", socket_path,
                                                   ": longer than a socket's path may be (107)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcOptions& options,
                                                              serving::ModelServer& server,
                                                              const Secrets* secrets) {
  RETURN_IF_ERROR(options.Validate());
  RETURN_IF_ERROR(CheckPortFree(options.port, "--port"));
  if (!options.socket_path.empty()) {
    RETURN_IF_ERROR(CheckSocketFree(options.socket_path, "--grpc_socket_path"));
  }
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function(&ForwardGrpcLog);
    // It has a line for each message that cannot be parsed, and anyone can send such messages.
    google::protobuf::SetLogHandler(nullptr);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
  std::unique_ptr<GrpcServer> out(new GrpcServer(options, server, secrets));
  RETURN_IF_ERROR(out->Listen());
  return out;
}

GrpcServer::GrpcServer(const GrpcOptions& options, serving::ModelServer& server,
                       const Secrets* secrets)
    : options_(options),
      model_server_(server),
      credentials_(secrets != nullptr && secrets->tls() != nullptr
                       ? TlsServerCredentials(*secrets)
                       : grpc::InsecureServerCredentials()),
      gate_(options.admin, secrets),
      admin_(server),
      tfs_(server, admin_, static_cast<size_t>(options.max_message_mb) << 20),
      oip_(server, admin_, static_cast<size_t>(options.max_message_mb) << 20),
      health_(server) {}

absl::Status GrpcServer::Listen() {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(options_.max_message_mb << 20);
  std::vector<ChannelArgument> arguments = options_.channel_arguments;
  for (ChannelArgument& own : OwnArguments(options_)) {
    const bool given = std::any_of(arguments.begin(), arguments.end(),
                                   [&](const auto& other) { return other.name == own.name; });
    if (!given) arguments.push_back(std::move(own));
  }
  for (const ChannelArgument& argument : arguments) {
    std::visit([&](const auto& value) { builder.AddChannelArgument(argument.name, value); },
               argument.value);
  }
  // Reflection is the one service of gRPC's own threads.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
  builder.AddListeningPort(absl::StrCat("[::]:", options_.port), credentials_, &port_);
  if (!options_.socket_path.empty()) {
    builder.AddListeningPort(absl::StrCat("unix:", options_.socket_path),
                             grpc::InsecureServerCredentials());
  }
  tfs_.Register(builder);
  oip_.Register(builder);
  admin_.Register(builder);
  if (options_.enable_health) health_.Register(builder);
  int pollers =
      options_.pollers > 0 ? options_.pollers : std::max(1, AvailableCores() / kCoresPerLoop);
  if (options_.max_pollers > 0) pollers = std::min(pollers, options_.max_pollers);
  for (int i = 0; i < pollers; ++i) {
    loops_.push_back(std::make_unique<CallLoop>(builder.AddCompletionQueue(), gate_,
                                                std::chrono::microseconds(options_.poll_spin_us)));
  }
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    return absl::FailedPreconditionError(
        port_ == 0 ? absl::StrCat("cannot listen on port ", options_.port, " (--port)")
                   : absl::StrCat("cannot listen on the Unix socket ", options_.socket_path,
                                  " (--grpc_socket_path)"));
  }
  for (const std::unique_ptr<CallLoop>& loop : loops_) {
    tfs_.Serve(*loop, kBusyCalls);
    oip_.Serve(*loop, kBusyCalls);
    admin_.Serve(*loop);
    if (options_.enable_health) health_.Serve(*loop);
    loop->Start([this] { return model_server_.NewExecutor(); });
  }
  return absl::OkStatus();
}

GrpcServer::~GrpcServer() {
  Shutdown(std::chrono::steady_clock::now());
  for (const std::unique_ptr<CallLoop>& loop : loops_) loop->Stop();
}

bool GrpcServer::Shutdown(SteadyTime deadline) {
  if (server_ == nullptr) return true;
  std::thread shutdown;
  if (!shut_down_) {
    shut_down_ = true;
    health_.SetNotServing();
    health_.Close();
    oip_.Close();
    // gRPC waits for its connections, too, and a client that is idle may never close its own.
    // So it waits on the side, until no call is left.
    shutdown = std::thread([this, deadline] {
      const auto left = deadline - std::chrono::steady_clock::now();
      server_->Shutdown(std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(left));
    });
  }
  bool all = true;
  for (const std::unique_ptr<CallLoop>& loop : loops_) all = loop->WaitForCalls(deadline) && all;
  if (shutdown.joinable()) {
    if (all) grpc_server_cancel_all_calls(server_->c_server());  // closes the connections
    shutdown.join();
  }
  return all;
}

}  // namespace baton::api

#include "tests/support/server_process.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <httplib.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/file.h"

namespace baton::testing {
namespace {

constexpr std::chrono::milliseconds kPollInterval(10);
constexpr std::chrono::seconds kStartLimit(60);

// A port that nobody listens on now, below those that Linux gives to outgoing connections: one of
// them could take it before a server does.
int FreePort() {
  std::random_device random;
  std::uniform_int_distribution<int> ports(10000, 32767);
  for (;;) {
    const int port = ports(random);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    BATON_CHECK(fd >= 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    if (free) return port;
  }
}

}  // namespace

bool WaitUntil(const std::function<bool()>& condition, std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(
    std::vector<std::string> flags) {
  std::unique_ptr<ServerProcess> server(new ServerProcess());
  server->grpc_port_ = FreePort();
  do {
    server->http_port_ = FreePort();
  } while (server->http_port_ == server->grpc_port_);
  flags.push_back(absl::StrCat("--port=", server->grpc_port_));
  flags.push_back(absl::StrCat("--rest_api_port=", server->http_port_));
  const std::string log = server->directory_ / "log";
  server->pid_ = StartProgram("baton-server", flags, log, log);

  const auto channel = server->NewChannel();
  std::optional<int> exit_code;
  const bool up = WaitUntil(
      [&] {
        exit_code = server->WaitForExit(std::chrono::seconds(0));
        return exit_code.has_value() ||
               (channel->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY);
      },
      kStartLimit);
  if (exit_code.has_value()) {
    return absl::UnavailableError(
        absl::StrCat("baton-server ended with ", *exit_code, ":\n", server->Log()));
  }
  if (!up) {
    return absl::UnavailableError(absl::StrCat("baton-server does not answer:\n", server->Log()));
  }
  return server;
}

ServerProcess::~ServerProcess() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::shared_ptr<grpc::Channel> ServerProcess::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", grpc_port_),
                                   grpc::InsecureChannelCredentials(), arguments);
}

absl::StatusOr<std::string> ServerProcess::HttpGet(const std::string& path) const {
  httplib::Client client("127.0.0.1", http_port_);
  const httplib::Result result = client.Get(path);
  if (!result) {
    return absl::UnavailableError(absl::StrCat(path, ": ", httplib::to_string(result.error())));
  }
  if (result->status != 200) {
    return absl::UnavailableError(
        absl::StrCat(path, ": HTTP ", result->status, ": ", result->body));
  }
  return result->body;
}

std::string ServerProcess::Log() const { return ReadFile(directory_ / "log").value_or(""); }

void ServerProcess::Signal(int signal) {
  BATON_CHECK(pid_ > 0);
  BATON_CHECK(kill(pid_, signal) == 0);
}

std::optional<int> ServerProcess::WaitForExit(std::chrono::seconds limit) {
  if (pid_ < 0) return std::nullopt;
  int wait_status = 0;
  if (!WaitUntil([&] { return waitpid(pid_, &wait_status, WNOHANG) == pid_; }, limit)) {
    return std::nullopt;
  }
  pid_ = -1;
  return ExitCode(wait_status);
}

}  // namespace baton::testing

// ServerProcess: the real baton-server as a child process, as a user would run it. Not thread-safe
// but for the getters and NewChannel. The child is killed with this object, and with its thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace grpc {
class Channel;
}

namespace baton::testing {

// Asks `condition` again and again until it holds; false if it did not in `limit`.
bool WaitUntil(const std::function<bool()>& condition, std::chrono::seconds limit);

class ServerProcess {
 public:
  // Starts the server with `flags` and with ports that are free, and waits until it answers RPCs
  // (not until models are ready). kUnavailable if it ends or does not answer: has its log.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(std::vector<std::string> flags);
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  int http_port() const { return http_port_; }
  // A connection of its own, that never retries a call: a request that fails is seen to fail.
  std::shared_ptr<grpc::Channel> NewChannel() const;
  // The body of a GET, kUnavailable if there is no answer or its status is not 200.
  absl::StatusOr<std::string> HttpGet(const std::string& path) const;
  std::string Log() const;

  // Sends a signal; then WaitForExit gives the exit code (128 + signal if one ended it), nothing
  // if the process still runs after `limit`.
  void Signal(int signal);
  std::optional<int> WaitForExit(std::chrono::seconds limit);

 private:
  ServerProcess() = default;
  TempDir directory_;  // for the log
  int grpc_port_ = 0;
  int http_port_ = 0;
  pid_t pid_ = -1;  // -1: has been waited for
};

}  // namespace baton::testing

// Clients of a model that answers x + its version, through either protocol. Each reply is checked:
// it must be the answer of exactly one version, the version that the reply names.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "proto/tensorflow_serving/apis/get_model_status.pb.h"
#include "tests/support/server_process.h"

namespace baton::testing {

// One caller. Not thread-safe.
class AffineClient {
 public:
  enum class Protocol { kTensorFlow, kOpenInference };
  struct Answer {
    grpc::Status status;
    int64_t version = 0;       // that the reply names and that computed it
    std::string problem = {};  // what is wrong with an answer that came; empty if nothing
  };

  static std::unique_ptr<AffineClient> Make(Protocol protocol,
                                            std::shared_ptr<grpc::Channel> channel,
                                            std::string model, int64_t rows);
  virtual ~AffineClient() = default;
  // Asks `version`, or the latest.
  virtual Answer Call(std::optional<int64_t> version) = 0;

  // The state of a version by GetModelStatus; UNKNOWN if there is no such version or no answer.
  static tensorflow::serving::ModelVersionStatus GetStatus(
      const std::shared_ptr<grpc::Channel>& channel, const std::string& model, int64_t version);
};

// Clients that call without a pause, each on a thread and a connection of its own, every second
// one through the other protocol, until Stop. Thread-safe.
class LoadOfClients {
 public:
  LoadOfClients(const ServerProcess& server, const std::string& model, int clients);
  ~LoadOfClients();
  LoadOfClients(const LoadOfClients&) = delete;
  LoadOfClients& operator=(const LoadOfClients&) = delete;

  int64_t newest_seen() const;     // highest version that any client has had an answer of
  int64_t oldest_current() const;  // lowest of the versions that the clients had last; 0 at first
  // From now on a client that gets UNAVAILABLE stops, and that is no problem.
  void AllowUnavailable() { allow_unavailable_ = true; }

  struct Result {
    std::vector<int64_t> calls_by_client;  // that were answered
    std::set<int64_t> versions;            // that answered
    std::vector<std::string> problems;     // failed calls, wrong answers, versions going back
  };
  // Joins the clients. Call once.
  Result Stop();

 private:
  struct Client {
    std::atomic<int64_t> current{0};
    int64_t calls = 0;
    std::set<int64_t> versions;
    std::vector<std::string> problems;
    std::thread thread;
  };
  void Run(Client& client, AffineClient& affine);

  std::atomic<bool> stop_{false};
  std::atomic<bool> allow_unavailable_{false};
  std::vector<std::unique_ptr<AffineClient>> affine_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace baton::testing

// baton-server: serves ONNX models over gRPC and HTTP.
#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "server/api/flags.h"
#include "server/api/grpc_server.h"
#include "server/api/http_server.h"
#include "server/api/secrets.h"
#include "server/serving/model_server.h"

namespace {

using baton::SteadyTime;

constexpr double kMostSecondsOfRefusing = 0.5;
// For the last replies to leave. Not for clients to hang up: one that is idle and polls nothing
// does not notice that it is asked to.
constexpr std::chrono::milliseconds kFlushTime(200);

// glibc gives big buffers back to the system at once and faults them in again for the next
// request: up to 70 % of the cost of a request of 600 KB. Kept, they are there for the next.
void KeepBigBuffers() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
}

// Debian's absl looks for deadlocks at every lock that gRPC takes: a twentieth of a small request.
void TrustLocks() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

[[noreturn]] void ExitAtOnce(int) { std::_Exit(1); }

// From here on another SIGTERM or SIGINT ends the process. An explicit handler, because process 1
// of a container ignores signals that have none.
void LetSignalsEndTheProcess() {
  struct sigaction action = {};
  action.sa_handler = &ExitAtOnce;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

int Fail(const absl::Status& status) {
  std::cerr << "baton-server: " << status.message() << "\n";
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

// Once models load: the end waits for no load, and the message is the last that is printed.
[[noreturn]] void FailAtOnce(const absl::Status& status) {
  baton::SetMinLogLevel(baton::LogLevel::kError);
  std::_Exit(Fail(status));
}

// A stage of the end of the process; a second signal ends it at once.
void WaitOut(const sigset_t& signals, double seconds) {
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
  timespec left = {};
  left.tv_sec = static_cast<time_t>(ns.count() / 1'000'000'000);
  left.tv_nsec = static_cast<long>(ns.count() % 1'000'000'000);
  if (sigtimedwait(&signals, nullptr, &left) > 0) ExitAtOnce(0);
}

int Serve(const baton::api::ServerFlags& flags) {
  const sigset_t signals = StopSignals();
  const auto secrets = baton::api::Secrets::Open(flags.secrets);
  if (!secrets.ok()) return Fail(secrets.status());
  baton::serving::ModelServer server(flags.serving);
  if (const absl::Status status = server.Start(); !status.ok()) return Fail(status);
  auto grpc = baton::api::GrpcServer::Start(flags.grpc, server, secrets->get());
  if (!grpc.ok()) FailAtOnce(grpc.status());
  std::unique_ptr<baton::api::HttpServer> http;
  if (flags.http.has_value()) {
    auto started = baton::api::HttpServer::Start(*flags.http, server, secrets->get());
    if (!started.ok()) FailAtOnce(started.status());
    http = *std::move(started);
  }
  BATON_LOG(Info) << "serving gRPC on port " << (*grpc)->port() << ", HTTP "
                  << (http ? "on port " + std::to_string(http->port()) : std::string("off"))
                  << ((*secrets)->tls() != nullptr ? ", with TLS" : "");

  int signal = 0;
  sigwait(&signals, &signal);
  // Even with --drain_seconds=0 what is answered already may leave.
  const SteadyTime end = std::chrono::steady_clock::now() +
                         std::max<baton::Duration>(
                             kFlushTime, std::chrono::duration_cast<baton::Duration>(
                                             std::chrono::duration<double>(flags.drain_seconds)));
  BATON_LOG(Info) << (signal == SIGTERM ? "SIGTERM" : "SIGINT") << ": draining, at most "
                  << flags.drain_seconds << " s";
  server.BeginDrain();
  (*grpc)->SetNotServing();
  const double grace = flags.drain_seconds / 10;
  WaitOut(signals, grace);
  // Refused from here on, first with a status that tells clients to go elsewhere; a call that
  // meets gRPC's own shutdown on the wire would only see that it was cancelled.
  server.Drain(SteadyTime::min());
  WaitOut(signals, std::min(grace, kMostSecondsOfRefusing));
  LetSignalsEndTheProcess();
  if (!server.Drain(end)) {
    BATON_LOG(Error) << "requests were still running after " << flags.drain_seconds
                     << " s (--drain_seconds); they are cut off";
    std::_Exit(1);  // waiting for them is what the bound forbids
  }
  (*grpc)->Shutdown(std::min(end, std::chrono::steady_clock::now() + kFlushTime));
  grpc->reset();
  http.reset();
  server.Stop();
  BATON_LOG(Info) << "drained";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  KeepBigBuffers();
  TrustLocks();
  baton::api::ServerFlags flags;
  if (const auto exit_code = baton::api::ParseServerFlags(argc, argv, flags)) return *exit_code;
  // Before any thread starts, so that all of them inherit the mask and only main takes signals.
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return Serve(flags);
}

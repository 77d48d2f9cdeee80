#include "server/api/http_call.h"

#include <httplib.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "server/api/grpc_status.h"
#include "server/api/http_transport.h"
#include "server/api/json_writer.h"

namespace baton::api {
namespace {

// The end of a call, as a file that poll() can wait for beside a socket. Thread-safe.
class EndEvent {
 public:
  EndEvent() : fd_(eventfd(0, EFD_CLOEXEC)) {}
  ~EndEvent() {
    if (fd_ >= 0) close(fd_);
  }
  EndEvent(const EndEvent&) = delete;
  EndEvent& operator=(const EndEvent&) = delete;

  bool valid() const { return fd_ >= 0; }
  void Signal(const absl::Status& status) {
    status_ = status;
    ended_.store(true, std::memory_order_release);
    const uint64_t one = 1;
    BATON_CHECK(write(fd_, &one, sizeof(one)) == sizeof(one));
  }
  // What the call ended with; calls `gone` if the client of `connection` hangs up before.
  template <typename Gone>
  absl::Status Wait(int connection, const Gone& gone) {
    pollfd entries[2] = {{fd_, POLLIN, 0}, {connection, POLLRDHUP, 0}};
    int watched = 2;
    while (!ended_.load(std::memory_order_acquire)) {
      if (poll(entries, static_cast<nfds_t>(watched), -1) < 0) continue;  // a signal
      if (watched == 2 && entries[1].revents != 0) {
        gone();
        watched = 1;
      }
    }
    return status_;
  }

 private:
  const int fd_;
  absl::Status status_;  // set before ended_
  std::atomic<bool> ended_{false};
};

}  // namespace

std::string HttpCall::Peer() const {
  const std::string& address = request.remote_addr;
  return absl::StrContains(address, ':') ? absl::StrCat("ipv6:[", address, "]:0")
                                         : absl::StrCat("ipv4:", address, ":0");
}

const std::string& HttpCall::Variable(absl::string_view variable) const {
  static const std::string kNone;
  for (const auto& [name, value] : variables) {
    if (name == variable) return value;
  }
  return kNone;
}

void HttpCall::Send(std::string reply, const char* type) {
  response.status = 200;
  response.body = std::move(reply);
  response.headers.erase("Content-Type");  // set_header only adds
  response.set_header("Content-Type", type);
}

void HttpCall::SendError(const absl::Status& status) {
  Send(ErrorJson(status.message()), kJsonType);
  response.status = HttpCode(status.code());
  if (absl::IsUnauthenticated(status)) response.set_header("WWW-Authenticate", "Bearer");
}

void HttpCall::Send(absl::StatusOr<std::string> reply) {
  if (!reply.ok()) return SendError(reply.status());
  Send(*std::move(reply), kJsonType);
}

CallTerms HttpCall::Terms(serving::Method method) const {
  CallTerms terms;
  terms.method = method;
  terms.arrived = arrived;
  terms.deadline = deadline;
  terms.max_tensor_bytes = max_tensor_bytes;
  return terms;
}

absl::Status HttpCall::Await(serving::Method method,
                             const std::function<void(CallTerms terms, const Done& done)>& start) {
  // Shared with whoever ends the call: it may still be in Signal when Wait returns.
  const auto end = std::make_shared<EndEvent>();
  if (!end->valid()) {
    return absl::ResourceExhaustedError("the server has too many files open; try again");
  }
  CallTerms terms = Terms(method);
  terms.cancelled = std::make_shared<std::atomic<bool>>(false);
  const auto cancelled = terms.cancelled;
  start(std::move(terms), [end](const absl::Status& status) { end->Signal(status); });
  return end->Wait(HttpTransport::Current().fd(),
                   [&] { cancelled->store(true, std::memory_order_relaxed); });
}

}  // namespace baton::api

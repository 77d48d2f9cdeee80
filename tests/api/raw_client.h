// TCP without a library in between: connections whose bytes a test sends and sees one by one.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"

namespace baton::testing {

// A socket that is connected to `port` of this machine. The caller closes it.
inline int Connect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  BATON_CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  return fd;
}

class RawClient {
 public:
  explicit RawClient(int port) : fd_(Connect(port)) {}
  ~RawClient() { close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void Send(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the server has had enough
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // The next reply of HTTP: its head and body.
  std::string Receive() {
    const absl::string_view kEnd = "\r\n\r\n";
    while (!absl::StrContains(in_, kEnd)) {
      if (!Read()) return std::exchange(in_, "");
    }
    const size_t head = in_.find(kEnd.data()) + kEnd.size();
    const size_t length = in_.find("Content-Length: ");
    size_t size = 0;  // "100 Continue" has none
    if (length < head) {
      BATON_CHECK(
          absl::SimpleAtoi(in_.substr(length + 16, in_.find('\r', length) - length - 16), &size));
    }
    while (in_.size() < head + size && Read()) {
    }
    std::string reply = in_.substr(0, head + size);
    in_.erase(0, reply.size());
    return reply;
  }
  // All that comes until the server closes the connection.
  std::string ReceiveAll() {
    while (Read()) {
    }
    return std::exchange(in_, "");
  }
  // True if the server has closed the connection.
  bool Ended() { return in_.empty() && !Read(); }

 private:
  bool Read() {
    char bytes[4096];
    const ssize_t got = recv(fd_, bytes, sizeof(bytes), 0);
    if (got > 0) in_.append(bytes, static_cast<size_t>(got));
    return got > 0;
  }
  const int fd_;
  std::string in_;
};

}  // namespace baton::testing

#include "server/api/http_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/api/json_writer.h"

namespace baton::api {
namespace {

constexpr size_t kInBytes = size_t{64} << 10;
constexpr size_t kOutBytes = size_t{16} << 10;
// For a client that sends nothing, or takes nothing, in the middle of a request.
constexpr std::chrono::seconds kPatience(5);
// For a client that is still sending what will not be read.
constexpr std::chrono::seconds kDrainTime(2);

// True if `fd` is ready for `events`, or broken, within `wait`.
bool WaitFor(int fd, short events, Duration wait) {
  pollfd entry{fd, events, 0};
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::max(wait, Duration::zero()));
  int ready = 0;
  do {
    ready = poll(&entry, 1, static_cast<int>(std::min<int64_t>(ms.count(), 1 << 30)));
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

void Print(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof(text));
    } else {
      inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    }
    port = ntohs(v6.sin6_port);
  }
  ip = text;
}

}  // namespace

std::string LastReply(absl::string_view status, absl::string_view text) {
  const std::string body = ErrorJson(text);
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: application/json\r\n",
                      "Content-Length: ", body.size(), "\r\nConnection: close\r\n\r\n", body);
}

HttpConnection::HttpConnection(int fd, std::unique_ptr<TlsStream> tls, std::atomic<int>& open)
    : fd_(fd), tls_(std::move(tls)), open_(open) {}

HttpConnection::~HttpConnection() {
  if (tls_ != nullptr && !broken_) tls_->SayGoodbye();
  if (close_after_reply_ && !broken_) DrainInput();
  close(fd_);
  open_.fetch_sub(1);
}

// To close a socket whose input was not read tells the client's system to drop the reply, too.
void HttpConnection::DrainInput() {
  shutdown(fd_, SHUT_WR);
  in_.resize(kInBytes);
  const SteadyTime end = std::chrono::steady_clock::now() + kDrainTime;
  while (WaitFor(fd_, POLLIN, end - std::chrono::steady_clock::now())) {
    if (recv(fd_, in_.data(), in_.size(), MSG_DONTWAIT) <= 0) return;
    if (std::chrono::steady_clock::now() >= end) return;
  }
}

bool HttpConnection::WaitForRequest(Duration wait) {
  return in_begin_ < in_end_ || (tls_ != nullptr && tls_->has_pending()) ||
         WaitFor(fd_, POLLIN, wait);
}

ssize_t HttpConnection::Receive() {
  if (tls_ == nullptr) return recv(fd_, in_.data(), in_.size(), MSG_DONTWAIT);
  ssize_t got = 0;
  do {
    got = tls_->Receive(in_.data(), in_.size());
    // A handshake whose first half does not fit into the socket.
  } while (got < 0 && errno == EAGAIN && tls_->wants_to_write() &&
           WaitFor(fd_, POLLOUT, kPatience));
  return got;
}

// A client that does not speak TLS, or not as it must, has been told so by TLS itself, unless it
// speaks HTTP; the rest of what it sends must not take that from it.
void HttpConnection::RefuseStranger() {
  if (tls_->met_plain_http()) {
    const std::string reply =
        LastReply("400 Bad Request", "this port speaks TLS; ask for https://");
    broken_ = send(fd_, reply.data(), reply.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
  }
  close_after_reply_ = true;
}

bool HttpConnection::ReadSome() {
  if (in_begin_ < in_end_) return true;
  in_.resize(kInBytes);
  in_begin_ = in_end_ = 0;
  ssize_t got = 0;
  do {
    got = Receive();
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EPROTO && tls_ != nullptr) {
    RefuseStranger();
    return false;
  }
  if (got > 0) {
    in_end_ = static_cast<size_t>(got);
    return true;
  }
  broken_ = got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
  return !broken_;
}

void HttpConnection::BeginRequest(SteadyTime deadline, size_t max_head_bytes) {
  deadline_ = deadline;
  head_bytes_left_ = static_cast<int64_t>(max_head_bytes);
  timed_out_ = false;
  reply_encoding_ = Encoding::kIdentity;
}

void HttpConnection::ReleaseBuffers() {
  if (in_begin_ < in_end_) return;
  std::vector<char>().swap(in_);
  std::string().swap(out_);
  in_begin_ = in_end_ = 0;
}

bool HttpConnection::is_readable() const { return !broken_; }
bool HttpConnection::is_writable() const { return !broken_; }

ssize_t HttpConnection::read(char* to, size_t size) {
  if (head_bytes_left_ >= 0) {
    size = std::min(size, static_cast<size_t>(head_bytes_left_));
    if (size == 0) {
      close_after_reply_ = true;
      return -1;
    }
  }
  while (in_begin_ == in_end_) {
    // "100 Continue" must be out before the client goes on.
    if (broken_ || !Flush()) return -1;
    const Duration left = deadline_ - std::chrono::steady_clock::now();
    if (!WaitForRequest(std::min<Duration>(kPatience, left))) {
      timed_out_ = true;
      close_after_reply_ = true;
      return -1;
    }
    if (!ReadSome()) return 0;
  }
  size = std::min(size, in_end_ - in_begin_);
  std::memcpy(to, in_.data() + in_begin_, size);
  in_begin_ += size;
  if (head_bytes_left_ >= 0) head_bytes_left_ -= static_cast<int64_t>(size);
  return static_cast<ssize_t>(size);
}

ssize_t HttpConnection::write(const char* from, size_t size) {
  const absl::string_view data(from, size);
  if (out_.size() + size <= kOutBytes) {
    out_.append(from, size);
  } else {
    const bool sent = Send(out_, data);
    out_.clear();
    if (!sent) return -1;
  }
  return static_cast<ssize_t>(size);
}

bool HttpConnection::Flush() {
  const bool sent = out_.empty() || Send(out_, {});
  out_.clear();
  return sent;
}

ssize_t HttpConnection::SendSome(absl::string_view first, absl::string_view second) {
  if (tls_ != nullptr) return tls_->Send(first.empty() ? second : first);
  iovec parts[2] = {{const_cast<char*>(first.data()), first.size()},
                    {const_cast<char*>(second.data()), second.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  return sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool HttpConnection::Send(absl::string_view first, absl::string_view second) {
  while (!broken_ && !(first.empty() && second.empty())) {
    const ssize_t sent = SendSome(first, second);
    if (sent >= 0) {
      const size_t of_first = std::min(first.size(), static_cast<size_t>(sent));
      first.remove_prefix(of_first);
      second.remove_prefix(static_cast<size_t>(sent) - of_first);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      broken_ = !WaitFor(fd_, POLLOUT, kPatience);
    } else if (errno != EINTR) {
      broken_ = true;
    }
  }
  return !broken_;
}

void HttpConnection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    Print(address, ip, port);
  }
}

void HttpConnection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    Print(address, ip, port);
  }
}

// The library refuses numbers that select() cannot take; it never selects on this stream.
socket_t HttpConnection::socket() const { return std::min(fd_, FD_SETSIZE - 1); }

}  // namespace baton::api

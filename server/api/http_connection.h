// HttpConnection: one client's TCP connection, plain or with TLS, as the stream that cpp-httplib
// reads requests from and writes replies to. It keeps what was read beyond a request for the next
// one, sends head and body of a reply together, bounds the bytes of a head and the time of a
// request, and says when the client has gone. Belongs to one thread at a time; closes the socket
// when it goes.
#pragma once

#include <httplib.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/base/clock.h"
#include "server/api/tls.h"

namespace baton::api {

// How a reply may be compressed, as the request says.
enum class Encoding { kIdentity, kGzip, kDeflate };

// A whole reply for a client that gets no other: {"error": text}.
std::string LastReply(absl::string_view status, absl::string_view text);

class HttpConnection final : public httplib::Stream {
 public:
  // Takes `fd`, a connected socket; `tls` over it, or null. Counts itself out of `open` when it
  // goes.
  HttpConnection(int fd, std::unique_ptr<TlsStream> tls, std::atomic<int>& open);
  ~HttpConnection() override;
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  int fd() const { return fd_; }

  // Waits at most `wait` for bytes of the next request. False if there are none.
  bool WaitForRequest(Duration wait);
  // REQUIRES: WaitForRequest() was true. False if the client has closed the connection. Under TLS
  // what has come need not be bytes of a request yet.
  bool ReadSome();
  // What was read and not yet taken.
  absl::string_view buffered() const {
    return absl::string_view(in_.data() + in_begin_, in_end_ - in_begin_);
  }

  // From here on a request is read, which must be complete at `deadline`; `max_head_bytes` bound
  // its first line and headers, until HeadIsRead.
  void BeginRequest(SteadyTime deadline, size_t max_head_bytes);
  void HeadIsRead() { head_bytes_left_ = -1; }
  // True if the request was not complete in time.
  bool timed_out() const { return timed_out_; }
  // Sends what is left of the reply. False if the client does not take it.
  bool Flush();
  // Gives back the memory of its buffers while the connection is idle.
  void ReleaseBuffers();

  // The connection cannot be used for another request: the rest of this one was not read.
  void CloseAfterReply() { close_after_reply_ = true; }
  bool close_after_reply() const { return close_after_reply_; }

  void set_reply_encoding(Encoding encoding) { reply_encoding_ = encoding; }
  Encoding reply_encoding() const { return reply_encoding_; }

  // httplib::Stream
  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  using httplib::Stream::write;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override;

 private:
  // As recv and sendmsg, without waiting.
  ssize_t Receive();
  ssize_t SendSome(absl::string_view first, absl::string_view second);
  bool Send(absl::string_view first, absl::string_view second);
  void RefuseStranger();
  void DrainInput();

  const int fd_;
  const std::unique_ptr<TlsStream> tls_;  // null: plain
  std::atomic<int>& open_;
  std::vector<char> in_;
  size_t in_begin_ = 0;
  size_t in_end_ = 0;
  std::string out_;
  SteadyTime deadline_ = kNoDeadline;
  int64_t head_bytes_left_ = -1;  // negative: not in a head
  bool timed_out_ = false;
  bool broken_ = false;
  bool close_after_reply_ = false;
  Encoding reply_encoding_ = Encoding::kIdentity;
};

}  // namespace baton::api

// TLS: what both ports show their clients, and one connection of HTTP's. gRPC's own connections are
// in grpc_tls.h.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::api {

// What --ssl_config_file says, with what the files hold that it names. Texts are PEM.
struct TlsConfig {
  std::string key;
  std::string certificates;  // the server's first, then those between it and its CA
  std::string client_ca;     // "": none
  bool verify_clients = false;

  bool operator==(const TlsConfig&) const = default;
};

// Reads an SSLConfig in text format. A field that holds no PEM is the path of a file that does, as
// seen from the config's directory. kInvalidArgument, with path and field, if any of it cannot be
// read.
absl::StatusOr<TlsConfig> ReadTlsConfig(const std::string& path);

// A config that was found good, ready for connections. Immutable and thread-safe; connections keep
// what they need of it.
class TlsContext {
 public:
  // kInvalidArgument if a text does not parse, the key is not the certificate's, or clients are to
  // be verified without a CA.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Create(const TlsConfig& config);

  const TlsConfig& config() const { return config_; }
  // TLS 1.2 and 1.3, HTTP/1.1 by ALPN.
  SSL_CTX* http() const { return http_.get(); }

 private:
  using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
  TlsContext(const TlsConfig& config, Context http) : config_(config), http_(std::move(http)) {}

  const TlsConfig config_;
  const Context http_;
};

// The server's side of one TLS connection over a socket, which it makes non-blocking and borrows.
// Its handshake happens within Receive. Belongs to one thread at a time.
class TlsStream {
 public:
  TlsStream(const TlsContext& context, int fd);

  // As recv and send with MSG_DONTWAIT: bytes, 0 at the client's goodbye, or -1 and errno (EAGAIN:
  // later; EPROTO: the client does not speak TLS, or not as it must).
  ssize_t Receive(char* to, size_t size);
  ssize_t Send(absl::string_view bytes);
  // After EAGAIN: it waits to write, not to read.
  bool wants_to_write() const { return SSL_want_write(ssl_.get()); }
  // Bytes that Receive would give without reading from the socket.
  bool has_pending() const { return SSL_pending(ssl_.get()) > 0; }
  // The client has sent plain HTTP.
  bool met_plain_http() const { return met_plain_http_; }
  // Tells the client that nothing more comes.
  void SayGoodbye();

 private:
  ssize_t Result(int result);

  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  bool met_plain_http_ = false;
  bool failed_ = false;
};

}  // namespace baton::api

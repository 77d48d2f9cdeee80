#include "server/api/tls.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sslerr.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "proto/tensorflow_serving/config/ssl_config.pb.h"
#include "server/repository/text_errors.h"

namespace baton::api {
namespace {

using CertificatePtr = std::unique_ptr<X509, decltype(&X509_free)>;
using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;

// With forward secrecy and authenticated encryption; TLS 1.3 has no others.
constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
// The wire form of the ALPN list of one: HTTP/1.1.
constexpr unsigned char kHttp11[] = "\x08http/1.1";
constexpr char kSessionContext[] = "baton";

absl::StatusOr<std::string> Pem(const std::string& config_path, const char* field,
                                const std::string& value) {
  if (value.empty() || absl::StrContains(value, "-----BEGIN")) return value;
  const std::string path = (std::filesystem::path(config_path).parent_path() / value).string();
  absl::StatusOr<std::string> text = ReadFile(path);
  if (text.ok()) return text;
  return absl::InvalidArgumentError(absl::StrCat(config_path, ": ", field,
                                                 ", which is taken for a path because it has no ",
                                                 "-----BEGIN: ", text.status().message()));
}

absl::Status Wrong(absl::string_view field, absl::string_view what) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  const std::string detail = reason == nullptr ? "" : absl::StrCat(" (", reason, ")");
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(field, " ", what, detail));
}

BioPtr Reader(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free);
}

// Else the library asks for a key's password on the terminal.
int NoPassword(char*, int, int, void*) { return 0; }

absl::StatusOr<std::vector<CertificatePtr>> ParseCertificates(absl::string_view field,
                                                              const std::string& text) {
  const BioPtr reader = Reader(text);
  std::vector<CertificatePtr> certificates;
  while (X509* next = PEM_read_bio_X509(reader.get(), nullptr, &NoPassword, nullptr)) {
    certificates.emplace_back(next, &X509_free);
  }
  // The end of the text is an error of this kind, too.
  if (certificates.empty() || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
    return Wrong(field, "holds no certificate in PEM, or one that cannot be read");
  }
  ERR_clear_error();
  return certificates;
}

absl::Status UseKeyPair(const TlsConfig& config, SSL_CTX* context) {
  ASSIGN_OR_RETURN(const auto chain, ParseCertificates("server_cert", config.certificates));
  if (SSL_CTX_use_certificate(context, chain[0].get()) != 1) {
    return Wrong("server_cert", "holds a certificate that cannot be used");
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) {
      return Wrong("server_cert", "holds a chain that cannot be used");
    }
  }
  const BioPtr reader = Reader(config.key);
  const KeyPtr key(PEM_read_bio_PrivateKey(reader.get(), nullptr, &NoPassword, nullptr),
                   &EVP_PKEY_free);
  if (key == nullptr) {
    return Wrong("server_key", "holds no private key in PEM without a password");
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return Wrong("server_key", "is not the key of the certificate in server_cert");
  }
  return absl::OkStatus();
}

absl::Status UseClientCa(const TlsConfig& config, SSL_CTX* context) {
  if (config.client_ca.empty()) {
    if (!config.verify_clients) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "client_verify is true, but custom_ca is empty: put the CA there that has signed the "
        "clients' certificates");
  }
  ASSIGN_OR_RETURN(const auto authorities, ParseCertificates("custom_ca", config.client_ca));
  if (!config.verify_clients) return absl::OkStatus();
  for (const CertificatePtr& authority : authorities) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return Wrong("custom_ca", "holds a certificate that cannot be used");
    }
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

int ChooseHttp11(SSL*, const unsigned char** chosen, unsigned char* size,
                 const unsigned char* offered, unsigned int offered_size, void*) {
  unsigned char* found = nullptr;
  const int result =
      SSL_select_next_proto(&found, size, kHttp11, sizeof(kHttp11) - 1, offered, offered_size);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

absl::StatusOr<TlsConfig> ReadTlsConfig(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  repository::TextErrors errors(path);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  tensorflow::serving::SSLConfig message;
  if (!parser.ParseFromString(*text, &message)) return absl::InvalidArgumentError(errors.Text());
  TlsConfig config;
  ASSIGN_OR_RETURN(config.key, Pem(path, "server_key", message.server_key()));
  ASSIGN_OR_RETURN(config.certificates, Pem(path, "server_cert", message.server_cert()));
  ASSIGN_OR_RETURN(config.client_ca, Pem(path, "custom_ca", message.custom_ca()));
  config.verify_clients = message.client_verify();
  return config;
}

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Create(const TlsConfig& config) {
  ERR_clear_error();
  Context context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  SSL_CTX* const raw = context.get();
  if (raw == nullptr || SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(raw, kCiphers) != 1 ||
      SSL_CTX_set_session_id_context(raw, reinterpret_cast<const unsigned char*>(kSessionContext),
                                     sizeof(kSessionContext) - 1) != 1) {
    return Wrong("OpenSSL", "refuses its settings");
  }
  SSL_CTX_set_options(raw, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  // A connection that idles keeps no buffers.
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(raw, &ChooseHttp11, nullptr);
  RETURN_IF_ERROR(UseKeyPair(config, raw));
  RETURN_IF_ERROR(UseClientCa(config, raw));
  return std::shared_ptr<const TlsContext>(new TlsContext(config, std::move(context)));
}

TlsStream::TlsStream(const TlsContext& context, int fd) : ssl_(SSL_new(context.http()), &SSL_free) {
  BATON_CHECK(ssl_ != nullptr);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  SSL_set_fd(ssl_.get(), fd);
  SSL_set_accept_state(ssl_.get());
}

ssize_t TlsStream::Receive(char* to, size_t size) {
  ERR_clear_error();
  return Result(SSL_read(ssl_.get(), to, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}

ssize_t TlsStream::Send(absl::string_view bytes) {
  ERR_clear_error();
  const ssize_t sent = Result(SSL_write(ssl_.get(), bytes.data(),
                                        static_cast<int>(std::min<size_t>(bytes.size(), INT_MAX))));
  if (sent != 0) return sent;
  errno = EPIPE;  // the client takes nothing any more
  return -1;
}

ssize_t TlsStream::Result(int result) {
  if (result > 0) return result;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      failed_ = true;
      met_plain_http_ = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
      ERR_clear_error();
      errno = EPROTO;
      return -1;
  }
}

void TlsStream::SayGoodbye() {
  if (failed_ || !SSL_is_init_finished(ssl_.get())) return;
  ERR_clear_error();
  SSL_shutdown(ssl_.get());  // does not wait for the client's
  ERR_clear_error();
}

}  // namespace baton::api

#include "server/api/grpc_tls.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>

#include "engine/base/check.h"
#include "engine/base/mutex.h"

namespace baton::api {
namespace {

// On the C core's credentials that fetch a certificate for every handshake, which gRPC's C++ does
// not wrap: what it has instead follows files, but not the texts of a config, and takes a key that
// does not fit its certificate.
class FetchingCredentials final : public grpc::ServerCredentials {
 public:
  explicit FetchingCredentials(const Secrets& secrets) : secrets_(secrets) {
    const bool verify = secrets.tls()->config().verify_clients;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            verify ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &OnHandshake, this));
  }
  ~FetchingCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    BATON_CHECK_MSG(false, "calls are checked by Gate");
  }

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status OnHandshake(
      void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<FetchingCredentials*>(self)->Fetch(*config);
  }
  grpc_ssl_certificate_config_reload_status Fetch(grpc_ssl_server_certificate_config*& config) {
    MutexLock lock(mu_);
    std::shared_ptr<const TlsContext> now = secrets_.tls();
    if (now == shown_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    shown_ = std::move(now);
    const TlsConfig& texts = shown_->config();
    const grpc_ssl_pem_key_cert_pair pair = {texts.key.c_str(), texts.certificates.c_str()};
    // gRPC 1.51 insists on a CA, also where it asks no client for a certificate.
    const std::string& ca = texts.verify_clients ? texts.client_ca : texts.certificates;
    config = grpc_ssl_server_certificate_config_create(ca.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const Secrets& secrets_;
  grpc_server_credentials* credentials_ = nullptr;
  Mutex mu_;
  std::shared_ptr<const TlsContext> shown_ ABSL_GUARDED_BY(mu_);  // what gRPC has got last
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(const Secrets& secrets) {
  return std::make_shared<FetchingCredentials>(secrets);
}

}  // namespace baton::api

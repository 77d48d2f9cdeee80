// Certificates for tests, made on the spot and gone with them. All texts are PEM.
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <string>

namespace baton::testing {

struct Identity {
  std::string certificate;
  std::string key;
};

class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& name);

  const std::string& certificate() const { return pem_; }
  // Valid for an hour, for a server at 127.0.0.1 or localhost, and for a client.
  Identity Issue(const std::string& name) const;

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  Certificate Make(const std::string& name, EVP_PKEY* key, bool authority) const;

  const std::string name_;
  const Key key_;
  const std::string pem_;
};

}  // namespace baton::testing

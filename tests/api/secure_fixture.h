// SecureTest: an ApiTest with a second gRPC and HTTP server over the same models, behind TLS and
// tokens of files that a test writes.
#pragma once

#include <memory>
#include <string>

#include "server/api/secrets.h"
#include "tests/api/api_fixture.h"
#include "tests/support/certificates.h"

namespace baton::testing {

class SecureTest : public ApiTest {
 protected:
  // Files that are named are looked at again and again.
  void Start(bool tls, bool auth_tokens, bool admin_tokens,
             api::AdminAccess admin = api::AdminAccess::kLocal);

  void Write(const std::string& name, const std::string& text);
  // Makes the files that "ssl.pbtxt" names, by path, hold these.
  void WriteIdentity(const Identity& identity);
  void WriteSslConfig(bool client_verify);

  // A connection of its own; `ca` "": plain.
  std::shared_ptr<grpc::Channel> NewChannel(const std::string& ca, const Identity& own = {}) const;
  // ServerLive, which is open to all, over `channel`.
  grpc::Status Live(const std::shared_ptr<grpc::Channel>& channel) const;
  // A client that trusts the file `ca` and shows the files `own`.crt and `own`.key.
  std::unique_ptr<httplib::SSLClient> NewHttps(const std::string& ca,
                                               const std::string& own = "") const;

  const CertificateAuthority ca_{"baton test CA"};
  const CertificateAuthority other_ca_{"another CA"};
  TempDir files_;
  std::unique_ptr<api::Secrets> secrets_;
  std::unique_ptr<api::GrpcServer> secure_grpc_;
  std::unique_ptr<api::HttpServer> secure_http_;
};

}  // namespace baton::testing

#include "tests/api/secure_fixture.h"

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/file.h"

namespace baton::testing {

void SecureTest::Write(const std::string& name, const std::string& text) {
  BATON_CHECK(WriteFileDurably(files_ / name, text).ok());
}

void SecureTest::WriteIdentity(const Identity& identity) {
  Write("server.crt", identity.certificate);
  Write("server.key", identity.key);
}

void SecureTest::WriteSslConfig(bool client_verify) {
  Write("ssl.pbtxt",
        absl::StrCat("server_key: 'server.key' server_cert: '", files_ / "server.crt",
                     "' custom_ca: 'ca.crt' client_verify: ", client_verify ? "true" : "false"));
}

void SecureTest::Start(bool tls, bool auth_tokens, bool admin_tokens, api::AdminAccess admin) {
  api::SecretFiles files;
  if (tls) files.ssl_config = files_ / "ssl.pbtxt";
  if (auth_tokens) files.auth_tokens = files_ / "tokens";
  if (admin_tokens) files.admin_tokens = files_ / "admin_tokens";
  files.poll_seconds = 0.005;
  auto secrets = api::Secrets::Open(files);
  BATON_CHECK_MSG(secrets.ok(), secrets.status().ToString());
  secrets_ = *std::move(secrets);
  api::GrpcOptions grpc_options;
  grpc_options.port = 0;
  grpc_options.admin = admin;
  auto grpc = api::GrpcServer::Start(grpc_options, *models_, secrets_.get());
  BATON_CHECK_MSG(grpc.ok(), grpc.status().ToString());
  secure_grpc_ = *std::move(grpc);
  api::HttpOptions http_options;
  http_options.port = 0;
  http_options.threads = 2;
  http_options.max_message_mb = 1;
  http_options.admin = admin;
  auto http = api::HttpServer::Start(http_options, *models_, secrets_.get());
  BATON_CHECK_MSG(http.ok(), http.status().ToString());
  secure_http_ = *std::move(http);
}

std::shared_ptr<grpc::Channel> SecureTest::NewChannel(const std::string& ca,
                                                      const Identity& own) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", secure_grpc_->port()),
                                   ca.empty()
                                       ? grpc::InsecureChannelCredentials()
                                       : grpc::SslCredentials({ca, own.key, own.certificate}),
                                   arguments);
}

grpc::Status SecureTest::Live(const std::shared_ptr<grpc::Channel>& channel) const {
  grpc::ClientContext context;
  inference::ServerLiveResponse response;
  return inference::GRPCInferenceService::NewStub(channel)->ServerLive(
      &context, inference::ServerLiveRequest(), &response);
}

std::unique_ptr<httplib::SSLClient> SecureTest::NewHttps(const std::string& ca,
                                                         const std::string& own) const {
  auto client =
      own.empty()
          ? std::make_unique<httplib::SSLClient>("127.0.0.1", secure_http_->port())
          : std::make_unique<httplib::SSLClient>("127.0.0.1", secure_http_->port(),
                                                 files_ / (own + ".crt"), files_ / (own + ".key"));
  client->set_ca_cert_path(files_ / ca);
  client->enable_server_certificate_verification(true);
  client->set_keep_alive(true);
  return client;
}

}  // namespace baton::testing

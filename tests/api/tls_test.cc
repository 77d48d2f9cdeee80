#include "server/api/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/check.h"
#include "engine/base/file.h"
#include "tests/api/raw_client.h"
#include "tests/api/secure_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::CertificateAuthority;
using ::baton::testing::Connect;
using ::baton::testing::Identity;
using ::baton::testing::RawClient;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kHealth[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

// A TLS client whose bytes a test sends one by one; it checks no certificate.
class RawTls {
 public:
  explicit RawTls(int port, int newest = TLS1_3_VERSION)
      : context_(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free), ssl_(nullptr, &SSL_free) {
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_.get(), newest);
    SSL_CTX_set_security_level(context_.get(), 0);  // offers old protocols, too
    ssl_.reset(SSL_new(context_.get()));
    constexpr unsigned char kProtocols[] = "\x02h2\x08http/1.1";
    SSL_set_alpn_protos(ssl_.get(), kProtocols, sizeof(kProtocols) - 1);
    fd_ = Connect(port);
    SSL_set_fd(ssl_.get(), fd_);
  }
  ~RawTls() { close(fd_); }
  RawTls(const RawTls&) = delete;
  RawTls& operator=(const RawTls&) = delete;

  bool Handshake() { return SSL_connect(ssl_.get()) == 1; }
  std::string Protocol() const {
    const unsigned char* name = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return std::string(reinterpret_cast<const char*>(name), size);
  }
  void Send(const std::string& bytes) {
    BATON_CHECK(SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) ==
                static_cast<int>(bytes.size()));
  }
  // Reads until `count` times `text` has come, or the end.
  std::string ReceiveUntil(const std::string& text, int count) {
    std::string all;
    for (size_t at = 0; count > 0;) {
      char bytes[512];
      const int got = SSL_read(ssl_.get(), bytes, sizeof(bytes));
      if (got <= 0) break;
      all.append(bytes, static_cast<size_t>(got));
      for (; (at = all.find(text, at)) != std::string::npos; at += text.size()) --count;
      at = all.size() < text.size() ? 0 : all.size() - text.size() + 1;
    }
    return all;
  }

 private:
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  int fd_ = -1;
};

class Tls : public baton::testing::SecureTest {
 protected:
  Tls() {
    Write("ca.crt", ca_.certificate());
    Write("other.crt", other_ca_.certificate());
    WriteIdentity(ca_.Issue("server"));
    WriteSslConfig(/*client_verify=*/false);
  }
  // A client's files NAME.crt and NAME.key.
  Identity WriteClient(const std::string& name, const CertificateAuthority& ca) {
    Identity identity = ca.Issue(name);
    Write(name + ".crt", identity.certificate);
    Write(name + ".key", identity.key);
    return identity;
  }
  absl::Status OpenStatus(double poll_seconds = 0) {
    return Secrets::Open({.ssl_config = files_ / "ssl.pbtxt", .poll_seconds = poll_seconds})
        .status();
  }
};

TEST_F(Tls, BothPortsServeThoseWhoTrustTheServer) {
  Start(true, false, false);
  PublishAffine("m", 1, 0);
  EXPECT_TRUE(Live(NewChannel(ca_.certificate())).ok());
  const auto https = NewHttps("ca.crt");
  EXPECT_EQ(https->Get("/healthz")->body, "ok\n");
  // A body of many records.
  const auto result =
      https->Post("/v1/models/m:predict",
                  absl::StrCat("{\"instances\": [[1, 2, 3, 4]]", std::string(900'000, ' '), "}"),
                  "application/json");
  ASSERT_TRUE(result) << httplib::to_string(result.error());
  EXPECT_EQ(result->status, 200) << result->body;
}

TEST_F(Tls, BothPortsRefuseThoseWhoDoNot) {
  Start(true, false, false);
  EXPECT_EQ(Live(NewChannel(other_ca_.certificate())).error_code(), grpc::StatusCode::UNAVAILABLE);
  const auto result = NewHttps("other.crt")->Get("/healthz");
  EXPECT_FALSE(result);
  EXPECT_EQ(result.error(), httplib::Error::SSLServerVerification);
}

TEST_F(Tls, PlainClientsAreRefusedCleanly) {
  Start(true, false, false);
  EXPECT_EQ(Live(NewChannel("")).error_code(), grpc::StatusCode::UNAVAILABLE);
  const auto result = httplib::Client("127.0.0.1", secure_http_->port()).Get("/healthz");
  ASSERT_TRUE(result) << httplib::to_string(result.error());
  EXPECT_EQ(result->status, 400);
  EXPECT_THAT(result->body, HasSubstr("this port speaks TLS"));
  EXPECT_TRUE(Live(NewChannel(ca_.certificate())).ok());
  EXPECT_TRUE(NewHttps("ca.crt")->Get("/healthz"));
}

TEST_F(Tls, ClientsMayHaveToShowWhoTheyAre) {
  WriteSslConfig(/*client_verify=*/true);
  const Identity known = WriteClient("known", ca_);
  const Identity stranger = WriteClient("stranger", other_ca_);
  Start(true, false, false);
  EXPECT_TRUE(Live(NewChannel(ca_.certificate(), known)).ok());
  EXPECT_FALSE(Live(NewChannel(ca_.certificate(), stranger)).ok());
  EXPECT_FALSE(Live(NewChannel(ca_.certificate())).ok());
  EXPECT_TRUE(NewHttps("ca.crt", "known")->Get("/healthz"));
  EXPECT_FALSE(NewHttps("ca.crt", "stranger")->Get("/healthz"));
  EXPECT_FALSE(NewHttps("ca.crt")->Get("/healthz"));
}

TEST_F(Tls, ANewCertificateIsForNewConnections) {
  Start(true, false, false);
  const auto old_channel = NewChannel(ca_.certificate());
  const auto old_https = NewHttps("ca.crt");
  ASSERT_TRUE(Live(old_channel).ok());
  ASSERT_TRUE(old_https->Get("/healthz"));

  WriteIdentity(other_ca_.Issue("server"));
  while (!Live(NewChannel(other_ca_.certificate())).ok()) std::this_thread::yield();
  EXPECT_TRUE(NewHttps("other.crt")->Get("/healthz"));
  EXPECT_FALSE(Live(NewChannel(ca_.certificate())).ok());
  EXPECT_FALSE(NewHttps("ca.crt")->Get("/healthz"));
  // They could not connect anew.
  EXPECT_TRUE(Live(old_channel).ok());
  EXPECT_TRUE(old_https->Get("/healthz"));
}

TEST_F(Tls, WhatIsWrongAfterAChangeLeavesTheFormerInPlace) {
  Write("tokens", "first");
  Start(true, true, false);
  const std::pair<std::string, std::string> kChanges[] = {
      {"server.crt", "no certificate"},
      {"server.crt", other_ca_.Issue("x").certificate},  // of another key
      {"server.key", ""},
      {"ssl.pbtxt", "server_key: "},
      {"ssl.pbtxt", "client_verify: true"},
  };
  for (size_t i = 0; i < std::size(kChanges); ++i) {
    Write(kChanges[i].first, kChanges[i].second);
    // All files are looked at in turn: once in any case when a token has come twice.
    for (const char* turn : {"a", "b"}) {
      const std::string token = absl::StrCat("token", i, turn);
      Write("tokens", token);
      while (!secrets_->OpensData(token)) std::this_thread::yield();
    }
    EXPECT_TRUE(Live(NewChannel(ca_.certificate())).ok()) << kChanges[i].second;
    EXPECT_TRUE(NewHttps("ca.crt")->Get("/healthz")) << kChanges[i].second;
  }
  // And what is right again counts.
  WriteIdentity(other_ca_.Issue("server"));
  WriteSslConfig(/*client_verify=*/false);
  while (!Live(NewChannel(other_ca_.certificate())).ok()) std::this_thread::yield();
}

TEST_F(Tls, TextsMayBeInTheConfigItself) {
  const Identity server = other_ca_.Issue("server");
  const auto quoted = [](const std::string& text) {
    return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\n", "\\n"}}), "\"");
  };
  Write("ssl.pbtxt", absl::StrCat("server_key: ", quoted(server.key),
                                  " server_cert: ", quoted(server.certificate)));
  Start(true, false, false);
  EXPECT_TRUE(Live(NewChannel(other_ca_.certificate())).ok());
  EXPECT_TRUE(NewHttps("other.crt")->Get("/healthz"));
}

TEST_F(Tls, WrongConfigsAreSaidAtTheStart) {
  const std::string good = *ReadFile(files_ / "ssl.pbtxt");
  Write("mixed.crt", ca_.certificate() + "-----BEGIN CERTIFICATE-----\n!\n");
  const auto with = [&](const std::string& from, const std::string& to) {
    return absl::StrReplaceAll(good, {{from, to}});
  };
  const std::pair<std::string, const char*> kCases[] = {
      {"", "server_cert holds no certificate"},
      {"server_kex: 'a'", "server_kex"},
      {with("server.key", "none.key"), "server_key, which is taken for a path"},
      {with("server.key", "ca.crt"), "server_key holds no private key"},
      {with("server.crt", "server.key"), "server_cert holds no certificate"},
      {with("server.crt", "ca.crt"), "server_key is not the key of the certificate"},
      {with("ca.crt", "server.key"), "custom_ca holds no certificate"},
      {with("ca.crt", "mixed.crt"), "custom_ca holds no certificate"},
      {with("ca.crt' client_verify: false", "' client_verify: true"), "custom_ca is empty"},
  };
  for (const auto& [text, expected] : kCases) {
    Write("ssl.pbtxt", text);
    const absl::Status status = OpenStatus();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(StartsWith("--ssl_config_file="), HasSubstr(expected)));
  }
  Write("ssl.pbtxt", good);
  EXPECT_TRUE(OpenStatus().ok());
}

TEST_F(Tls, HttpSpeaksNewProtocolsOnly) {
  Start(true, false, false);
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    EXPECT_FALSE(RawTls(secure_http_->port(), version).Handshake());
  }
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    RawTls client(secure_http_->port(), version);
    ASSERT_TRUE(client.Handshake());
    EXPECT_EQ(client.Protocol(), "http/1.1");
  }
}

TEST_F(Tls, RequestsOfOneRecordAreAllAnswered) {
  Start(true, false, false);
  RawTls client(secure_http_->port());
  ASSERT_TRUE(client.Handshake());
  for (int round = 0; round < 2; ++round) {
    client.Send(absl::StrCat(kHealth, kHealth, kHealth));
    EXPECT_THAT(client.ReceiveUntil("\r\n\r\nok\n", 3), StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(Tls, IdleAndUnfinishedConnectionsHoldNoThread) {
  Start(true, false, false);
  std::vector<std::unique_ptr<RawClient>> silent;
  std::vector<std::unique_ptr<RawTls>> idle;
  for (int i = 0; i < 20; ++i) {
    // The beginning of a handshake that never goes on.
    silent.push_back(std::make_unique<RawClient>(secure_http_->port()));
    silent.back()->Send("\x16\x03\x01\x02");
    idle.push_back(std::make_unique<RawTls>(secure_http_->port()));
    ASSERT_TRUE(idle.back()->Handshake());
  }
  for (auto& client : idle) {
    client->Send(kHealth);
    EXPECT_THAT(client->ReceiveUntil("ok\n", 1), StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(Tls, TheUnixSocketStaysPlain) {
  Start(true, false, false);
  GrpcOptions options;
  options.port = 0;
  options.socket_path = files_ / "socket";
  const auto server = api::GrpcServer::Start(options, *models_, secrets_.get());
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(Live(grpc::CreateChannel(absl::StrCat("unix:", options.socket_path),
                                       grpc::InsecureChannelCredentials()))
                  .ok());
}

}  // namespace
}  // namespace baton::api

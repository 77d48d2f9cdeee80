// How HTTP treats connections and bodies, whatever they ask for.
#include "server/api/http_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/api/http_compression.h"
#include "tests/api/api_fixture.h"
#include "tests/api/raw_client.h"

namespace baton::api {
namespace {

using ::baton::testing::RawClient;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kPredict[] = "/v1/models/m:predict";
constexpr char kOneRow[] = R"({"instances": [[1, 2, 3, 4]]})";

std::string Post(absl::string_view path, absl::string_view body, absl::string_view headers = "") {
  return absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(),
                      "\r\n", headers, "\r\n", body);
}

class HttpTransport : public baton::testing::ApiTest {
 protected:
  std::string Error(const httplib::Result& result) {
    return json::parse(result->body).value("error", "");
  }
};

TEST_F(HttpTransport, AConnectionServesRequestAfterRequest) {
  PublishAffine("m", 1, 0);
  RawClient client(http_->port());
  for (int i = 0; i < 3; ++i) {
    client.Send(Post(kPredict, kOneRow));
    EXPECT_THAT(client.Receive(), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Keep-Alive")));
  }
  // Several at once, answered in order.
  client.Send(Post(kPredict, kOneRow) + "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" +
              Post("/nope", ""));
  EXPECT_THAT(client.Receive(), HasSubstr("predictions"));
  EXPECT_THAT(client.Receive(), HasSubstr("ok"));
  EXPECT_THAT(client.Receive(), StartsWith("HTTP/1.1 404"));
}

TEST_F(HttpTransport, ClosesWhenAsked) {
  RawClient client(http_->port());
  client.Send("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.Receive(), HasSubstr("Connection: close"));
  EXPECT_TRUE(client.Ended());
  RawClient old(http_->port());
  old.Send("GET /healthz HTTP/1.0\r\n\r\n");
  EXPECT_THAT(old.Receive(), HasSubstr("ok"));
  EXPECT_TRUE(old.Ended());
}

TEST_F(HttpTransport, ManyIdleConnectionsHoldNoThread) {
  PublishAffine("m", 1, 0);
  // The fixture's server answers two at once.
  std::vector<std::unique_ptr<RawClient>> silent;
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 20; ++i) {
    silent.push_back(std::make_unique<RawClient>(http_->port()));
    idle.push_back(std::make_unique<RawClient>(http_->port()));
    idle.back()->Send(Post(kPredict, kOneRow));
    EXPECT_THAT(idle.back()->Receive(), StartsWith("HTTP/1.1 200"));
  }
  EXPECT_EQ(Http().Get("/healthz")->status, 200);
  for (auto& client : idle) {
    client->Send(Post(kPredict, kOneRow));
    EXPECT_THAT(client->Receive(), StartsWith("HTTP/1.1 200"));
  }
  for (auto& client : silent) {
    client->Send("GET /healthz HTTP/1.1\r\n\r\n");
    EXPECT_THAT(client->Receive(), StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(HttpTransport, HealthAnswersWhileModelsAreBusyAndTheRestWaitsInLine) {
  auto servable = PublishHeld("m");
  std::vector<std::thread> clients;
  for (int i = 0; i < 6; ++i) {
    clients.emplace_back([&] {
      RawClient client(http_->port());
      client.Send(Post(kPredict, kOneRow));
      EXPECT_THAT(client.Receive(), StartsWith("HTTP/1.1 200"));
    });
  }
  // Two run, four wait for a thread.
  serving::Task first = servable->Take();
  serving::Task second = servable->Take();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Http().Get("/healthz")->status, 200);
  baton::testing::RunAffine(first, 0);
  baton::testing::RunAffine(second, 0);
  for (int i = 0; i < 4; ++i) baton::testing::RunAffine(servable->Take(), 0);
  for (std::thread& client : clients) client.join();
}

TEST_F(HttpTransport, AClientThatGoesAwayCancelsItsTask) {
  auto servable = PublishHeld("m");
  auto client = std::make_unique<RawClient>(http_->port());
  client->Send(Post(kPredict, kOneRow));
  const serving::Task task = servable->Take();
  EXPECT_FALSE(*task.cancelled);
  client.reset();
  while (!*task.cancelled) std::this_thread::yield();
  task.done(absl::CancelledError("the client has gone"), {}, {});
}

TEST_F(HttpTransport, LargeRepliesGoCompressedToThoseWhoAsk) {
  PublishAffine("m", 1, 0);
  ASSERT_GT(Http().Get("/metrics")->body.size(), 1400u);
  httplib::Client client = Http();
  client.set_decompress(false);
  for (const auto& [accepted, expected] :
       std::vector<std::pair<std::string, std::string>>{{"gzip", "gzip"},
                                                        {"br, gzip;q=0.5", "gzip"},
                                                        {"deflate", "deflate"},
                                                        {"gzip;q=0", ""},
                                                        {"br", ""},
                                                        {"", ""}}) {
    const auto result = client.Get("/metrics", {{"Accept-Encoding", accepted}});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->get_header_value("Content-Encoding"), expected) << accepted;
  }
  EXPECT_FALSE(
      client.Get("/healthz", {{"Accept-Encoding", "gzip"}})->has_header("Content-Encoding"))
      << "it is short";
  EXPECT_THAT(Http().Get("/metrics", {{"Accept-Encoding", "gzip"}})->body,
              HasSubstr("baton_build_info"));
}

TEST_F(HttpTransport, ReadsCompressedBodies) {
  PublishAffine("m", 1, 0);
  for (const Encoding encoding : {Encoding::kGzip, Encoding::kDeflate}) {
    const std::string name = encoding == Encoding::kGzip ? "gzip" : "deflate";
    const auto result = Http().Post(kPredict, {{"Content-Encoding", name}},
                                    Compress(kOneRow, encoding), "application/json");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, 200) << name << result->body;
  }
  auto result = Http().Post(kPredict, {{"Content-Encoding", "gzip"}}, kOneRow, "application/json");
  EXPECT_EQ(result->status, 400);
  EXPECT_THAT(Error(result), HasSubstr("not valid gzip"));
  result = Http().Post(kPredict, {{"Content-Encoding", "zstd"}}, kOneRow, "application/json");
  EXPECT_EQ(result->status, 415);
  EXPECT_THAT(Error(result), HasSubstr("\"zstd\""));
}

TEST_F(HttpTransport, TooLargeBodiesAreRefusedHoweverTheyCome) {
  PublishAffine("m", 1, 0);
  // The fixture's limit is 1 MiB.
  const std::string large(3 << 20, ' ');
  const auto expect_refusal = [](const char* how, const std::string& reply) {
    EXPECT_THAT(reply, AllOf(StartsWith("HTTP/1.1 413"), HasSubstr("--max_message_mb=1"),
                             HasSubstr("Connection: close")))
        << how;
  };
  RawClient plain(http_->port());
  plain.Send(Post(kPredict, large));
  expect_refusal("plain", plain.Receive());
  EXPECT_TRUE(plain.Ended());
  RawClient compressed(http_->port());
  compressed.Send(Post(kPredict, Compress(large, Encoding::kGzip), "Content-Encoding: gzip\r\n"));
  expect_refusal("compressed", compressed.Receive());
  RawClient chunked(http_->port());
  chunked.Send(absl::StrCat("POST ", kPredict, " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
  chunked.Send(absl::StrCat("200000\r\n", large.substr(0, 0x200000), "\r\n0\r\n\r\n"));
  expect_refusal("chunked", chunked.Receive());
  RawClient asks_first(http_->port());
  asks_first.Send(absl::StrCat("POST ", kPredict, " HTTP/1.1\r\nContent-Length: 3000000\r\n",
                               "Expect: 100-continue\r\n\r\n"));
  EXPECT_THAT(asks_first.Receive(), StartsWith("HTTP/1.1 413"));
  EXPECT_EQ(Http().Post(kPredict, kOneRow, "application/json")->status, 200);
}

TEST_F(HttpTransport, BodiesMayComeInChunksAndOnRequest) {
  PublishAffine("m", 1, 0);
  RawClient client(http_->port());
  client.Send(absl::StrCat("POST ", kPredict, " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                           "5\r\n{\"ins\r\n18\r\ntances\": [[1, 2, 3, 4]]}\r\n0\r\n\r\n"));
  EXPECT_THAT(client.Receive(), HasSubstr("predictions"));
  client.Send(absl::StrCat("POST ", kPredict, " HTTP/1.1\r\nContent-Length: ", sizeof(kOneRow) - 1,
                           "\r\nExpect: 100-continue\r\n\r\n"));
  client.Send(kOneRow);
  EXPECT_THAT(client.Receive() + client.Receive(),
              AllOf(HasSubstr("100 Continue"), HasSubstr("predictions")));
}

TEST_F(HttpTransport, APostWithoutLengthHasNoBody) {
  RawClient client(http_->port());
  client.Send("POST /v2/repository/index HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.Receive(), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("[]")));
  // Form data as curl names them by default is JSON all the same.
  const auto result =
      Http().Post("/v2/repository/index", "{\"ready\": true}", "application/x-www-form-urlencoded");
  EXPECT_EQ(result->status, 200);
}

TEST_F(HttpTransport, WrongMethodsAndPathsAreSaid) {
  const auto get = Http().Get(kPredict);
  EXPECT_EQ(get->status, 405);
  EXPECT_EQ(get->get_header_value("Allow"), "POST");
  EXPECT_THAT(Error(get), HasSubstr("does not take GET, but POST"));
  EXPECT_EQ(Http().Post("/metrics", "x", "text/plain")->status, 405);
  EXPECT_EQ(Http().Delete("/metrics")->status, 405);
  EXPECT_EQ(Http().Put("/metrics", "x", "text/plain")->status, 405);
  EXPECT_EQ(Http().Options("/metrics")->status, 405);
  EXPECT_EQ(Http().Post("/nope", "x", "text/plain")->status, 404);
  EXPECT_EQ(Http().Head("/healthz")->status, 200);
  EXPECT_EQ(Http().Get("/" + std::string(5000, 'a'))->status, 414);
  EXPECT_EQ(Http().Get("/healthz", {{"Range", "bytes=0-0"}})->body, "ok\n");
}

TEST_F(HttpTransport, WhatIsNotHttpEndsTheConnectionAlone) {
  for (const std::string& bytes :
       {std::string("nonsense\r\n\r\n"), std::string("GET /healthz HTTP/9.9\r\n\r\n"),
        std::string("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 11)}) {
    RawClient client(http_->port());
    client.Send(bytes);
    EXPECT_THAT(client.Receive(), StartsWith("HTTP/1.1 400"));
    EXPECT_TRUE(client.Ended());
  }
  RawClient endless(http_->port());  // a head without an end
  endless.Send("GET /healthz HTTP/1.1\r\n");
  for (int i = 0; i < 100; ++i)
    endless.Send(absl::StrCat("X-", i, ": ", std::string(2000, 'a'), "\r\n"));
  endless.Receive();
  EXPECT_TRUE(endless.Ended());
  RawClient get_with_body(http_->port());  // which would be taken for the next request
  get_with_body.Send(
      "GET /healthz HTTP/1.1\r\nContent-Length: 27\r\n\r\n"
      "GET /nope HTTP/1.1\r\n\r\nabcde");
  EXPECT_THAT(get_with_body.Receive(), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(get_with_body.Ended());
  EXPECT_EQ(Http().Get("/healthz")->status, 200);
}

TEST_F(HttpTransport, AnUnfinishedBodyDoesNotHoldItsThreadForEver) {
  auto short_patience =
      api::HttpServer::Start({.port = 0, .threads = 1, .timeout_ms = 50}, *models_);
  ASSERT_TRUE(short_patience.ok());
  PublishAffine("m", 1, 0);
  RawClient client((*short_patience)->port());
  client.Send(absl::StrCat("POST ", kPredict, " HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"));
  EXPECT_THAT(client.Receive(),
              AllOf(StartsWith("HTTP/1.1 408"), HasSubstr("--rest_api_timeout_in_ms")));
  EXPECT_TRUE(client.Ended());
}

}  // namespace
}  // namespace baton::api

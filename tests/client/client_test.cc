#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/fake_server.h"

namespace baton {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ClientTest : public ::testing::TestWithParam<Protocol> {
 protected:
  std::unique_ptr<Client> Connect(std::chrono::nanoseconds timeout = std::chrono::seconds(60)) {
    return *Client::Create(fake_.address(), {GetParam(), timeout});
  }
  const NamedTensor x_{"x", Tensor::From<float>({1, 4}, {1, 2, 3, 4})};
  testing::FakeServer fake_;
};
INSTANTIATE_TEST_SUITE_P(Protocols, ClientTest,
                         ::testing::Values(Protocol::kTensorFlowServing, Protocol::kOpenInference),
                         [](const auto& info) {
                           return info.param == Protocol::kOpenInference ? "OpenInference"
                                                                         : "TensorFlowServing";
                         });

TEST_P(ClientTest, Predicts) {
  fake_.version = [](int64_t n) { return 10 + n; };
  const auto client = Connect();
  for (const float version : {10.0F, 11.0F}) {
    const auto result = client->Predict({"affine", {}, ""}, {&x_, 1});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->version, absl::StrCat(version));
    ASSERT_EQ(result->outputs.size(), 1U);
    EXPECT_EQ(result->outputs[0].name, "y");
    EXPECT_EQ(result->outputs[0].tensor.shape(), (Shape{1, 4}));
    EXPECT_THAT(result->outputs[0].tensor.values<float>(),
                ElementsAre(1 + version, 2 + version, 3 + version, 4 + version));
  }
}

TEST_P(ClientTest, GivesTheServersErrors) {
  fake_.status = [](int64_t) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  };
  const auto client = Connect();
  const auto full = client->Predict({"affine", {}, ""}, {&x_, 1});
  EXPECT_EQ(full.status(), absl::ResourceExhaustedError("the queue is full"));
  const auto unknown = client->Predict({"nothing", {}, ""}, {&x_, 1});
  EXPECT_EQ(unknown.status(), absl::NotFoundError("no model \"nothing\""));
  EXPECT_EQ(client->Metadata({"nothing", {}, ""}).status(), unknown.status());
}

TEST_P(ClientTest, GivesUpAtItsDeadline) {
  fake_.hold = true;
  const auto client = Connect(std::chrono::milliseconds(50));
  const auto result = client->Predict({"affine", {}, ""}, {&x_, 1});
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(fake_.address()));
}

TEST_P(ClientTest, ReadsMetadata) {
  const auto signature = Connect()->Metadata({"digits", {}, ""});
  ASSERT_TRUE(signature.ok()) << signature.status();
  ASSERT_EQ(signature->inputs.size(), 1U);
  EXPECT_EQ(signature->inputs[0].name, "image");
  EXPECT_EQ(TypeAndShape(signature->inputs[0]), "float[?,784]");
  ASSERT_EQ(signature->outputs.size(), 1U);
  EXPECT_EQ(TypeAndShape(signature->outputs[0]), "float[?,10]");
}

TEST_P(ClientTest, ReadsStatesNewestFirstWithReasons) {
  const auto states = Connect()->Status({"affine", {}, ""});
  ASSERT_TRUE(states.ok()) << states.status();
  ASSERT_EQ(states->size(), 2U);
  EXPECT_EQ((*states)[0].version, "10");
  EXPECT_THAT((*states)[0].reason, ::testing::AnyOf(HasSubstr("off by 0.5"), "sha256 differs"));
  EXPECT_THAT((*states)[1].state, ::testing::AnyOf("AVAILABLE", "READY"));
  EXPECT_TRUE((*states)[1].reason.empty());
  EXPECT_TRUE(absl::IsNotFound(Connect()->Status({"nothing", {}, ""}).status()));
}

TEST_P(ClientTest, ListsModelsOrSaysThatTheServerDoesNot) {
  const auto models = Connect()->Models();
  ASSERT_TRUE(models.ok()) << models.status();
  EXPECT_EQ(models->size(), 2U);
  EXPECT_EQ(models->front().version, "10");
  fake_.has_index = false;
  const auto none = Connect()->Models();
  EXPECT_TRUE(absl::IsUnimplemented(none.status()));
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("baton status --model=NAME"));
  EXPECT_TRUE(Connect()->Status({"affine", {}, ""}).ok());  // by ModelReady
}

TEST_P(ClientTest, TellsLiveFromReady) {
  const auto state = Connect()->Server();
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_TRUE(state->live);
  EXPECT_FALSE(state->ready);
}

TEST(Client, SaysThatNobodyListens) {
  std::string address;
  {
    testing::FakeServer gone;
    address = gone.address();
  }
  const auto client = *Client::Create(address, {});
  const auto states = client->Status({"affine", {}, ""});
  EXPECT_TRUE(absl::IsUnavailable(states.status())) << states.status();
  EXPECT_THAT(std::string(states.status().message()), HasSubstr("cannot reach " + address));
}

TEST(Client, RefusesAddressesWithoutAPort) {
  for (const char* bad : {"", "localhost", ":8500", "host:", "host:0", "host:65536", "host:x",
                          "http://localhost:8501"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Client::Create(bad, {}).status())) << bad;
  }
  for (const char* good : {"localhost:8500", "10.0.0.1:1", "[::1]:8500", "unix:/tmp/s"}) {
    EXPECT_TRUE(Client::Create(good, {}).ok()) << good;
  }
}

}  // namespace
}  // namespace baton

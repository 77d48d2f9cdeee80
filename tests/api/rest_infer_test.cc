#include "server/api/rest_infer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/api/oip_codec.h"
#include "tests/api/random_tensor.h"
#include "tests/api/test_servable.h"

namespace baton::api {
namespace {

using ::baton::testing::Info;
using ::baton::testing::TestServable;
using ::inference::ModelInferRequest;
using ::inference::ModelInferResponse;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RestInfer : public ::testing::Test {
 protected:
  absl::StatusOr<InferForm> Read(absl::string_view body,
                                 std::optional<size_t> json_size = std::nullopt) {
    request_.Clear();
    return ReadInferBody(body, json_size, 1 << 20, request_);
  }
  std::string Fault(absl::string_view body, std::optional<size_t> json_size = std::nullopt) {
    const auto form = Read(body, json_size);
    EXPECT_EQ(form.status().code(), absl::StatusCode::kInvalidArgument) << body;
    return std::string(form.status().message());
  }
  // A body with one input, whose members are `input`.
  std::string InputFault(absl::string_view input) {
    return Fault(absl::StrCat("{\"inputs\": [{", input, "}]}"));
  }
  template <typename T>
  std::vector<T> Raw(int input) const {
    const std::string& raw = request_.raw_input_contents(input);
    std::vector<T> values(raw.size() / sizeof(T));
    std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }

  ModelInferRequest request_;
};

TEST_F(RestInfer, ReadsFlatAndNestedDataIdAndParameters) {
  const auto form = Read(R"({
      "id": "42",
      "parameters": {"priority": 2, "note": "n", "on": true, "share": 0.5,
                     "big": 18446744073709551615},
      "inputs": [
        {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4.5]]},
        {"name": "n", "shape": [3], "datatype": "INT64", "data": [-1, 0, 9007199254740993]}],
      "unknown": {"a": []}})");
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_FALSE(form->binary);
  EXPECT_EQ(request_.id(), "42");
  EXPECT_EQ(request_.parameters().at("priority").int64_param(), 2);
  EXPECT_EQ(request_.parameters().at("note").string_param(), "n");
  EXPECT_TRUE(request_.parameters().at("on").bool_param());
  EXPECT_EQ(request_.parameters().at("share").double_param(), 0.5);
  EXPECT_EQ(request_.parameters().at("big").uint64_param(), ~uint64_t{0});
  ASSERT_EQ(request_.inputs_size(), 2);
  EXPECT_THAT(request_.inputs(0).shape(), ElementsAre(2, 2));
  EXPECT_THAT(Raw<float>(0), ElementsAre(1, 2, 3, 4.5));
  EXPECT_THAT(Raw<int64_t>(1), ElementsAre(-1, 0, 9007199254740993));
}

TEST_F(RestInfer, TheTypeMayComeAfterTheData) {
  ASSERT_TRUE(Read(R"({"inputs": [{"data": [[1], [2]], "shape": [2], "datatype": "UINT8",
                                   "name": "x"}]})")
                  .ok());
  EXPECT_THAT(Raw<uint8_t>(0), ElementsAre(1, 2));
}

TEST_F(RestInfer, ReadsBinaryDataInTheOrderOfTheInputs) {
  const std::string json_part =
      R"({"inputs": [
          {"name": "a", "shape": [2], "datatype": "FP16", "parameters": {"binary_data_size": 4}},
          {"name": "b", "shape": [1], "datatype": "FP32", "data": [7]},
          {"name": "c", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": false}}, {"name": "z"}],
        "parameters": {"binary_data_output": true}})";
  const std::string binary("\x01\x02\x03\x04\x02\0\0\0hi", 10);
  const auto form = Read(json_part + binary, json_part.size());
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_EQ(request_.raw_input_contents(0), binary.substr(0, 4));
  EXPECT_THAT(Raw<float>(1), ElementsAre(7));
  EXPECT_EQ(request_.raw_input_contents(2), binary.substr(4));
  EXPECT_TRUE(request_.inputs(0).parameters().empty()) << "it is HTTP's alone";
  EXPECT_TRUE(request_.parameters().empty());
  EXPECT_FALSE(form->IsBinary("y"));
  EXPECT_TRUE(form->IsBinary("z"));
  EXPECT_EQ(request_.outputs_size(), 2);
}

TEST_F(RestInfer, WrongBodiesAreNamedWithTheirPlace) {
  EXPECT_THAT(Fault(""), HasSubstr("malformed JSON"));
  EXPECT_THAT(Fault("{\"inputs\": {}}"), HasSubstr("expected an array"));
  EXPECT_THAT(Fault("{\"id\": 7}"), HasSubstr("expected a string"));
  EXPECT_THAT(Fault("{} x"), HasSubstr("expected the end"));
  EXPECT_THAT(Fault("{\"outputs\": [1]}"), HasSubstr("expected an object"));
  EXPECT_THAT(Fault(R"({"parameters": {"a": []}})"),
              AllOf(HasSubstr("parameter \"a\""), HasSubstr("an array")));
  EXPECT_THAT(Fault(R"({"parameters": {"binary_data_output": 1}})"), HasSubstr("true or false"));
  EXPECT_THAT(Fault(R"({"outputs": [{"name": "y", "parameters": {"binary_data": "x"}}]})"),
              AllOf(HasSubstr("output \"y\""), HasSubstr("true or false")));
  EXPECT_THAT(Fault("{}", 3), HasSubstr("but the body has 2 bytes"));
  EXPECT_THAT(Fault("{}rest", 2), HasSubstr("4 bytes are left"));
  EXPECT_THAT(Fault("{}rest"), HasSubstr("expected the end"));
}

TEST_F(RestInfer, WrongInputsAreNamed) {
  EXPECT_THAT(InputFault(R"("shape": [1])"),
              AllOf(HasSubstr("inputs[0]"), HasSubstr("neither \"data\"")));
  EXPECT_THAT(InputFault(R"("name": "x", "datatype": "FP32", "shape": [1])"),
              AllOf(HasSubstr("input \"x\""), HasSubstr("neither \"data\"")));
  EXPECT_THAT(InputFault(R"("name": "x", "datatype": "FP32", "shape": [1], "data": [1],
                            "parameters": {"binary_data_size": 4})"),
              HasSubstr("it has both"));
  EXPECT_THAT(InputFault(R"("name": "x", "parameters": {"binary_data_size": 4})"),
              HasSubstr("but 0 bytes follow"));
  EXPECT_THAT(InputFault(R"("name": "x", "parameters": {"binary_data_size": -4})"),
              HasSubstr("must be a number of bytes"));
  EXPECT_THAT(InputFault(R"("name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2])"),
              HasSubstr("sent 2 values in \"data\", its shape [1,4] needs 4"));
  EXPECT_THAT(InputFault(R"("name": "x", "datatype": "FP32", "shape": 4, "data": [1])"),
              HasSubstr("\"shape\" must be a list"));
  EXPECT_THAT(InputFault(R"("name": "x", "datatype": "FP32", "shape": [1.5], "data": [1])"),
              AllOf(HasSubstr("shape"), HasSubstr("1.5 is not an integer")));
  EXPECT_THAT(InputFault(R"("name": "x", "datatype": "FP32", "shape": [2], "data": [1, "a"])"),
              AllOf(HasSubstr("input \"x\""), HasSubstr("column 73"), HasSubstr("found a string")));
  EXPECT_THAT(InputFault(R"("name": "x", "shape": [1], "data": ["a"], "datatype": "INT8")"),
              AllOf(HasSubstr("column 50"), HasSubstr("found a string")));
  for (const char* type : {"FP16", "BF16"}) {
    EXPECT_THAT(InputFault(absl::StrCat(R"("name": "x", "datatype": ")", type,
                                        R"(", "shape": [1], "data": [1])")),
                AllOf(HasSubstr(type), HasSubstr("binary data")));
  }
  EXPECT_THAT(
      InputFault(R"("name": "x", "datatype": "BYTES", "shape": [1], "data": [{"b64": ""}])"),
      HasSubstr("found an object, expected a string"));
}

TEST_F(RestInfer, WhatTheDecoderKnowsIsLeftToIt) {
  EXPECT_TRUE(Read(R"({"inputs": [{"name": "x", "datatype": "FP8", "data": [1]}]})").ok());
  EXPECT_TRUE(
      Read(R"({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1], "data": [1]}]})").ok());
  EXPECT_TRUE(Read(R"({"inputs": [{"name": "x",
                        "parameters": {"shared_memory_region": "r"}}]})")
                  .ok());
}

// Every type, through JSON or as bytes, into a request and out of a reply.
TEST_F(RestInfer, EveryTypeRoundTrips) {
  for (const DataType type : baton::testing::kAllTypes) {
    Tensor sent = baton::testing::RandomTensor(type, {2, 3}, 17);
    const bool half = type == DataType::kFloat16 || type == DataType::kBfloat16;
    if (type == DataType::kString) {
      int i = 0;
      for (std::string& text : sent.mutable_values<std::string>()) {
        text = absl::StrCat("t\u00e9\"", i++);
      }
    }
    if (type == DataType::kFloat) {  // NaNs have many bit patterns, JSON has one
      for (float& value : sent.mutable_values<float>()) value = std::isnan(value) ? 0 : value;
    }
    if (type == DataType::kDouble) {
      for (double& value : sent.mutable_values<double>()) value = std::isnan(value) ? 0 : value;
    }
    for (const bool binary : {true, false}) {
      if (half && !binary) continue;
      SCOPED_TRACE(absl::StrCat(OipTypeName(type), binary ? " binary" : " JSON"));
      ModelInferResponse response;
      AddInferOutput("y", sent.view(), response);
      InferForm form;
      form.binary = binary;
      auto reply = WriteInferReply(response, form);
      ASSERT_TRUE(reply.ok()) << reply.status();
      EXPECT_EQ(reply->json_size.has_value(), binary);
      // An output reads like an input.
      const size_t json_size = reply->json_size.value_or(reply->body.size());
      const size_t outputs = reply->body.find("\"outputs\"");
      ASSERT_LT(outputs, json_size);
      reply->body.replace(outputs, 9, "\"inputs\" ");
      ASSERT_TRUE(Read(reply->body, json_size).ok());
      const TestServable servable("m", 1, {{Info("y", type, {2, 3})}, {}}, 0);
      const auto decoded = DecodeInferInputs(request_, servable, 1 << 20);
      ASSERT_TRUE(decoded.ok()) << decoded.status();
      EXPECT_TRUE(baton::testing::SameBits(decoded->views[0], sent.view()));
    }
  }
}

TEST_F(RestInfer, RepliesNameVersionIdAndParameters) {
  ModelInferResponse response;
  response.set_model_name("m");
  response.set_model_version("3");
  response.set_id("i\"d");
  (*response.mutable_parameters())["p"].set_bool_param(true);
  AddInferOutput("y", Tensor::From<float>({1, 2}, {0.1f, 2}).view(), response);
  AddInferOutput("z", Tensor::From<int8_t>({}, {-3}).view(), response);
  const auto reply = WriteInferReply(response, {});
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(json::parse(reply->body), json::parse(R"({
      "model_name": "m", "model_version": "3", "id": "i\"d", "parameters": {"p": true},
      "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.0]},
                  {"name": "z", "datatype": "INT8", "shape": [], "data": [-3]}]})"));
  InferForm binary;
  binary.outputs["z"] = true;
  const auto mixed = WriteInferReply(response, binary);
  ASSERT_TRUE(mixed.ok());
  ASSERT_TRUE(mixed->json_size.has_value());
  const json head = json::parse(mixed->body.substr(0, *mixed->json_size));
  EXPECT_EQ(head["outputs"][1]["parameters"]["binary_data_size"], 1);
  EXPECT_FALSE(head["outputs"][1].contains("data"));
  EXPECT_EQ(mixed->body.substr(*mixed->json_size), "\xFD");
}

TEST_F(RestInfer, WhatJsonCannotHoldIsRefused) {
  ModelInferResponse half;
  AddInferOutput("y", Tensor(DataType::kFloat16, {1}).view(), half);
  EXPECT_THAT(std::string(WriteInferReply(half, {}).status().message()),
              AllOf(HasSubstr("output \"y\" is FP16"), HasSubstr("binary")));
  ModelInferResponse bytes;
  AddInferOutput("y", Tensor::From<std::string>({1}, {"\xFF"}).view(), bytes);
  EXPECT_THAT(std::string(WriteInferReply(bytes, {}).status().message()),
              AllOf(HasSubstr("not UTF-8"), HasSubstr("binary")));
}

}  // namespace
}  // namespace baton::api

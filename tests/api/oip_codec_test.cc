#include "server/api/oip_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "tests/api/random_tensor.h"
#include "tests/api/test_servable.h"

namespace baton::api {
namespace {

using ::baton::testing::Info;
using ::baton::testing::RandomTensor;
using ::baton::testing::SameBits;
using ::baton::testing::TestServable;
using ::inference::ModelInferRequest;
using ::inference::ModelInferResponse;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kMaxBytes = 1 << 20;

ModelInferRequest::InferInputTensor& AddInput(ModelInferRequest& request, const std::string& name,
                                              const std::string& type,
                                              const std::vector<int64_t>& shape) {
  auto& input = *request.add_inputs();
  input.set_name(name);
  input.set_datatype(type);
  for (const int64_t d : shape) input.add_shape(d);
  return input;
}

class OipCodecTypes : public ::testing::TestWithParam<DataType> {};

std::string NameOf(const ::testing::TestParamInfo<DataType>& info) {
  return DataTypeName(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, OipCodecTypes, ::testing::ValuesIn(baton::testing::kAllTypes),
                         NameOf);

// A reply's raw bytes are a request's: so one round trip tests both directions.
TEST_P(OipCodecTypes, RoundTripThroughRawBytes) {
  const TestServable servable("m", 1, {{Info("x", GetParam(), {-1, 3})}, {}}, 8);
  const Tensor sent = RandomTensor(GetParam(), {5, 3}, 1);
  ModelInferResponse response;
  AddInferOutput("x", sent.view(), response);
  ModelInferRequest request;
  AddInput(request, "x", response.outputs(0).datatype(), {5, 3});
  *request.add_raw_input_contents() = response.raw_output_contents(0);
  const auto got = DecodeInferInputs(request, servable, kMaxBytes);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(SameBits(got->views.at(0), sent.view()));
  EXPECT_EQ(got->rows, 5);
  if (GetParam() != DataType::kString) {
    EXPECT_EQ(got->views.at(0).data, request.raw_input_contents(0).data()) << "was copied";
  }
}

TEST_P(OipCodecTypes, RoundTripThroughTypedContents) {
  const TestServable servable("m", 1, {{Info("x", GetParam(), {-1, 3})}, {}}, 8);
  const Tensor sent = RandomTensor(GetParam(), {5, 3}, 2);
  ModelInferRequest request;
  auto& contents = *AddInput(request, "x", OipTypeName(GetParam()), {5, 3}).mutable_contents();
  const auto fill = [&]<typename T>(T, auto& field) {
    for (const T& value : sent.values<T>()) *field.Add() = value;
  };
  switch (GetParam()) {
    case DataType::kBool:
      fill(bool{}, *contents.mutable_bool_contents());
      break;
    case DataType::kInt8:
      fill(int8_t{}, *contents.mutable_int_contents());
      break;
    case DataType::kInt16:
      fill(int16_t{}, *contents.mutable_int_contents());
      break;
    case DataType::kInt32:
      fill(int32_t{}, *contents.mutable_int_contents());
      break;
    case DataType::kInt64:
      fill(int64_t{}, *contents.mutable_int64_contents());
      break;
    case DataType::kUint8:
      fill(uint8_t{}, *contents.mutable_uint_contents());
      break;
    case DataType::kUint16:
      fill(uint16_t{}, *contents.mutable_uint_contents());
      break;
    case DataType::kUint32:
      fill(uint32_t{}, *contents.mutable_uint_contents());
      break;
    case DataType::kUint64:
      fill(uint64_t{}, *contents.mutable_uint64_contents());
      break;
    case DataType::kFloat:
      fill(float{}, *contents.mutable_fp32_contents());
      break;
    case DataType::kDouble:
      fill(double{}, *contents.mutable_fp64_contents());
      break;
    case DataType::kString:
      fill(std::string{}, *contents.mutable_bytes_contents());
      break;
    default: {  // FP16 and BF16 have no field
      const absl::Status status = DecodeInferInputs(request, servable, kMaxBytes).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr("use raw_input_contents"));
      return;
    }
  }
  const auto got = DecodeInferInputs(request, servable, kMaxBytes);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(SameBits(got->views.at(0), sent.view()));
}

struct HostileCase {
  const char* name;
  std::vector<int64_t> shape;
  std::string type;
  size_t raw_bytes;
  std::string message;
};

TEST(OipCodec, RefusesHostileTensorsAndSaysWhatIsRight) {
  const HostileCase kCases[] = {
      {"rank", {4}, "FP32", 16, "sent FP32[4], expected FP32[?,4]: rank is 1, must be 2"},
      {"dimension", {1, 5}, "FP32", 20, "dimension 1 is 5, must be 4"},
      {"empty_batch", {0, 4}, "FP32", 0, "the batch is empty"},
      {"large_batch", {9, 4}, "FP32", 144, "the batch has 9 rows, at most 8 are allowed"},
      {"negative", {-1, 4}, "FP32", 16, "negative dimension"},
      {"overflow", {std::numeric_limits<int64_t>::max(), 4}, "FP32", 16, "more than 2^48"},
      {"wrap_to_small", {int64_t{1} << 62, 4}, "FP32", 16, "more than 2^48"},
      {"type", {1, 4}, "INT32", 16, "sent INT32[1,4], expected FP32[?,4]: wrong data type"},
      {"bytes_for_numbers", {1, 4}, "BYTES", 16, "sent BYTES[1,4], expected FP32[?,4]"},
      {"no_such_type", {1, 4}, "float\n", 16, "sent \"float\\n\"[1,4]"},
      {"short", {2, 4}, "FP32", 31, "sent 31 bytes of data, its shape needs 32"},
      {"long", {2, 4}, "FP32", 33, "sent 33 bytes of data, its shape needs 32"},
  };
  const TestServable servable("m", 3, {{Info("x", DataType::kFloat, {-1, 4})}, {}}, 8);
  for (const HostileCase& c : kCases) {
    SCOPED_TRACE(c.name);
    ModelInferRequest request;
    AddInput(request, "x", c.type, c.shape);
    request.add_raw_input_contents(std::string(c.raw_bytes, '\0'));
    const absl::Status status = DecodeInferInputs(request, servable, kMaxBytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("model \"m\" version 3: input \"x\""), HasSubstr(c.message)));
  }
}

TEST(OipCodec, RawContentsCoverEveryInputAndStandAlone) {
  const TestServable servable(
      "m", 1, {{Info("a", DataType::kFloat, {2}), Info("b", DataType::kFloat, {2})}, {}}, 0);
  ModelInferRequest request;
  AddInput(request, "b", "FP32", {2});
  AddInput(request, "a", "FP32", {2}).mutable_contents()->add_fp32_contents(1);
  request.add_raw_input_contents(std::string(8, '\0'));
  EXPECT_THAT(std::string(DecodeInferInputs(request, servable, kMaxBytes).status().message()),
              HasSubstr("sent 1 raw_input_contents for 2 inputs"));
  request.add_raw_input_contents(std::string(8, '\0'));
  EXPECT_THAT(std::string(DecodeInferInputs(request, servable, kMaxBytes).status().message()),
              HasSubstr("has contents although the request uses raw_input_contents"));
  request.mutable_inputs(1)->clear_contents();
  const float a[2] = {1, 2};
  request.mutable_raw_input_contents(1)->assign(reinterpret_cast<const char*>(a), sizeof(a));
  const auto got = DecodeInferInputs(request, servable, kMaxBytes);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->views.at(0).values<float>(), ElementsAre(1, 2)) << "raw contents follow inputs";
}

TEST(OipCodec, RefusesStringsThatLieAboutTheirLength) {
  const TestServable servable("m", 1, {{Info("s", DataType::kString, {-1})}, {}}, 0);
  const auto message = [&](int64_t elements, const std::string& raw) {
    ModelInferRequest request;
    AddInput(request, "s", "BYTES", {elements});
    request.add_raw_input_contents(raw);
    const absl::Status status = DecodeInferInputs(request, servable, kMaxBytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  const std::string hi("\x02\x00\x00\x00hi", 6);
  EXPECT_THAT(message(2, hi), HasSubstr("too few for 2 BYTES elements"));
  EXPECT_THAT(message(1, hi + "x"), HasSubstr("1 bytes are left after the last"));
  EXPECT_THAT(message(1, std::string("\xff\xff\xff\xffhi", 6)),
              HasSubstr("BYTES element 0 says it has 4294967295 bytes, but 2 are left"));
  EXPECT_THAT(message(2, hi + "xy"), HasSubstr("the data ends before BYTES element 1"));
  EXPECT_THAT(message(20'000, hi), HasSubstr("too few for 20000 BYTES elements"));
  EXPECT_THAT(message(100'000'000, hi), HasSubstr("at most 1048576 are allowed"));
}

TEST(OipCodec, WrongCountsAndRangesInTypedContents) {
  const TestServable servable("m", 1, {{Info("x", DataType::kInt8, {3})}, {}}, 0);
  ModelInferRequest request;
  auto& contents = *AddInput(request, "x", "INT8", {3}).mutable_contents();
  contents.add_int_contents(1);
  EXPECT_THAT(std::string(DecodeInferInputs(request, servable, kMaxBytes).status().message()),
              HasSubstr("sent 1 values in contents.int_contents, its shape needs 3"));
  contents.add_int_contents(128);
  contents.add_int_contents(0);
  EXPECT_THAT(std::string(DecodeInferInputs(request, servable, kMaxBytes).status().message()),
              HasSubstr("value 1 in contents.int_contents is 128, which the type cannot hold"));
}

TEST(OipCodec, NamesSentTwiceAreRefused) {
  const TestServable servable(
      "m", 1, {{Info("a", DataType::kFloat, {1}), Info("b", DataType::kFloat, {1})}, {}}, 0);
  ModelInferRequest request;
  AddInput(request, "a", "FP32", {1}).mutable_contents()->add_fp32_contents(1);
  AddInput(request, "a", "FP32", {1}).mutable_contents()->add_fp32_contents(1);
  const absl::Status status = DecodeInferInputs(request, servable, kMaxBytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("input \"a\" was sent twice"));
}

TEST(OipCodec, OutputsComeInTheOrderAskedFor) {
  const TestServable servable(
      "m", 1, {{}, {Info("a", DataType::kFloat, {1}), Info("b", DataType::kFloat, {1})}}, 0);
  ModelInferRequest request;
  EXPECT_THAT(*InferOutputs(request, servable), ElementsAre(WantedOutput{0}, WantedOutput{1}));
  request.add_outputs()->set_name("b");
  request.add_outputs()->set_name("a");
  EXPECT_THAT(*InferOutputs(request, servable), ElementsAre(WantedOutput{1}, WantedOutput{0}));
  request.add_outputs()->set_name("a");
  EXPECT_THAT(std::string(InferOutputs(request, servable).status().message()),
              HasSubstr("output \"a\" is asked for twice"));
  request.mutable_outputs(2)->set_name("c");
  EXPECT_EQ(InferOutputs(request, servable).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(OipCodec, TheNumberOfClassesIsANumber) {
  const TestServable servable("m", 1, {{}, {Info("y", DataType::kFloat, {1})}}, 0);
  ModelInferRequest request;
  auto& output = *request.add_outputs();
  output.set_name("y");
  auto& count = (*output.mutable_parameters())["classification"];
  count.set_int64_param(3);
  EXPECT_THAT(*InferOutputs(request, servable), ElementsAre(WantedOutput{0, 3}));
  count.set_uint64_param(std::numeric_limits<uint64_t>::max());
  EXPECT_THAT(*InferOutputs(request, servable),
              ElementsAre(WantedOutput{0, std::numeric_limits<int64_t>::max()}));
  count.set_int64_param(-1);
  EXPECT_EQ(InferOutputs(request, servable).status().code(), absl::StatusCode::kInvalidArgument);
  count.set_bool_param(true);
  EXPECT_EQ(InferOutputs(request, servable).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(OipCodec, WhatItCannotDoIsRefusedNotOverlooked) {
  const TestServable servable(
      "m", 1, {{Info("a", DataType::kFloat, {1})}, {Info("y", DataType::kFloat, {1})}}, 0);
  ModelInferRequest request;
  auto& input = AddInput(request, "a", "FP32", {1});
  (*input.mutable_parameters())["shared_memory_region"].set_string_param("r");
  EXPECT_EQ(DecodeInferInputs(request, servable, kMaxBytes).status().code(),
            absl::StatusCode::kUnimplemented);
  request.add_outputs()->set_name("y");
  (*request.mutable_outputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("r");
  EXPECT_EQ(InferOutputs(request, servable).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(OipCodec, RandomBytesNeverBreakIt) {
  const TestServable servable(
      "m", 1, {{Info("x", DataType::kFloat, {-1, -1}), Info("s", DataType::kString, {-1})}, {}}, 8);
  ModelInferRequest seed;
  AddInput(seed, "x", "FP32", {2, 2});
  AddInput(seed, "s", "BYTES", {2});
  seed.add_raw_input_contents(std::string(16, '\1'));
  seed.add_raw_input_contents(std::string("\x02\x00\x00\x00hi\x01\x00\x00\x00x", 11));
  ASSERT_TRUE(DecodeInferInputs(seed, servable, kMaxBytes).ok());
  const std::string bytes = seed.SerializeAsString();
  std::mt19937 random(7);
  int parsed = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string mutant = bytes;
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      mutant[random() % mutant.size()] = static_cast<char>(random());
    }
    ModelInferRequest request;
    if (!request.ParseFromString(mutant)) continue;
    ++parsed;
    const auto got = DecodeInferInputs(request, servable, kMaxBytes);
    if (!got.ok()) {
      EXPECT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument);
    }
  }
  EXPECT_GT(parsed, 1000);
}

}  // namespace
}  // namespace baton::api

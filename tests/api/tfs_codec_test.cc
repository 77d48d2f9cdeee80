#include "server/api/tfs_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
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
using ::tensorflow::serving::PredictRequest;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kMaxBytes = 1 << 20;

class TfsCodecTypes : public ::testing::TestWithParam<DataType> {};

std::string NameOf(const ::testing::TestParamInfo<DataType>& info) {
  return DataTypeName(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, TfsCodecTypes, ::testing::ValuesIn(baton::testing::kAllTypes),
                         NameOf);

TEST_P(TfsCodecTypes, RoundTripThroughTypedFields) {
  const TestServable servable("m", 1, {{Info("x", GetParam(), {-1, 3})}, {}}, 8);
  const Tensor sent = RandomTensor(GetParam(), {5, 3}, 1);
  PredictRequest request;
  EncodeTfTensor(sent.view(), (*request.mutable_inputs())["x"]);
  const auto got = DecodePredictInputs(request, servable, kMaxBytes);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(SameBits(got->views.at(0), sent.view()));
  EXPECT_EQ(got->rows, 5);
}

TEST_P(TfsCodecTypes, TensorContentIsUsedInPlace) {
  if (GetParam() == DataType::kString) GTEST_SKIP() << "strings have no content form";
  const TestServable servable("m", 1, {{Info("x", GetParam(), {-1, 3})}, {}}, 8);
  const Tensor sent = RandomTensor(GetParam(), {5, 3}, 2);
  PredictRequest request;
  tensorflow::TensorProto& proto = (*request.mutable_inputs())["x"];
  proto.set_dtype(ToTfType(GetParam()));
  proto.mutable_tensor_shape()->add_dim()->set_size(5);
  proto.mutable_tensor_shape()->add_dim()->set_size(3);
  proto.set_tensor_content(sent.data(), sent.bytes());
  const auto got = DecodePredictInputs(request, servable, kMaxBytes);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(SameBits(got->views.at(0), sent.view()));
  EXPECT_EQ(got->views.at(0).data, proto.tensor_content().data());
}

TEST_P(TfsCodecTypes, LastValueFillsTheShape) {
  const TestServable servable("m", 1, {{Info("x", GetParam(), {-1, 3})}, {}}, 8);
  const Tensor two = RandomTensor(GetParam(), {2}, 3);
  PredictRequest request;
  tensorflow::TensorProto& proto = (*request.mutable_inputs())["x"];
  EncodeTfTensor(two.view(), proto);
  proto.mutable_tensor_shape()->clear_dim();
  proto.mutable_tensor_shape()->add_dim()->set_size(1);
  proto.mutable_tensor_shape()->add_dim()->set_size(3);
  const auto got = DecodePredictInputs(request, servable, kMaxBytes);
  ASSERT_TRUE(got.ok()) << got.status();
  // Elements 1 and 2 are both the last value sent.
  tensorflow::TensorProto back;
  EncodeTfTensor(got->views.at(0), back);
  tensorflow::TensorProto expected;
  EncodeTfTensor(two.view(), expected);
  if (GetParam() == DataType::kString) {
    EXPECT_THAT(back.string_val(), ElementsAre(expected.string_val(0), expected.string_val(1),
                                               expected.string_val(1)));
    return;
  }
  const size_t size = DataTypeSize(GetParam());
  const char* got_bytes = static_cast<const char*>(got->views.at(0).data);
  const char* sent_bytes = static_cast<const char*>(two.data());
  EXPECT_EQ(std::memcmp(got_bytes, sent_bytes, 2 * size), 0);
  EXPECT_EQ(std::memcmp(got_bytes + 2 * size, sent_bytes + size, size), 0);
}

TEST_P(TfsCodecTypes, TypeNamesAreTensorFlows) {
  EXPECT_EQ(FromTfType(ToTfType(GetParam())), GetParam());
  EXPECT_THAT(TfTypeName(GetParam()), ::testing::StartsWith("DT_"));
}

tensorflow::TensorProto Floats(const std::vector<int64_t>& shape, int values) {
  tensorflow::TensorProto proto;
  proto.set_dtype(tensorflow::DT_FLOAT);
  for (const int64_t d : shape) proto.mutable_tensor_shape()->add_dim()->set_size(d);
  for (int i = 0; i < values; ++i) proto.add_float_val(static_cast<float>(i));
  return proto;
}

// Decodes `proto` as input "x" of a model that takes float[?,4], at most 8 rows.
absl::Status DecodeFloats(const tensorflow::TensorProto& proto) {
  const TestServable servable("m", 3, {{Info("x", DataType::kFloat, {-1, 4})}, {}}, 8);
  PredictRequest request;
  (*request.mutable_inputs())["x"] = proto;
  return DecodePredictInputs(request, servable, kMaxBytes).status();
}

struct HostileCase {
  const char* name;
  tensorflow::TensorProto proto;
  std::string message;
};

std::vector<HostileCase> HostileCases() {
  std::vector<HostileCase> cases = {
      {"rank", Floats({4}, 4), "sent DT_FLOAT[4], expected DT_FLOAT[?,4]: rank is 1, must be 2"},
      {"dimension", Floats({1, 5}, 5), "dimension 1 is 5, must be 4"},
      {"no_batch_dimension", Floats({}, 1), "rank is 0, must be 2"},
      {"empty_batch", Floats({0, 4}, 0), "the batch is empty"},
      {"large_batch", Floats({9, 4}, 36), "the batch has 9 rows, at most 8 are allowed"},
      {"negative", Floats({-1, 4}, 4), "negative dimension"},
      {"minimum", Floats({std::numeric_limits<int64_t>::min(), 4}, 4), "negative dimension"},
      {"overflow", Floats({std::numeric_limits<int64_t>::max(), 4}, 4), "more than 2^48"},
      {"wrap_to_small", Floats({int64_t{1} << 62, 4}, 4), "more than 2^48"},
      {"no_values", Floats({2, 4}, 0), "it has no data"},
      {"many_values", Floats({2, 4}, 9), "sent 9 values in float_val, its shape needs 8"},
  };
  tensorflow::TensorProto proto = Floats({2, 4}, 0);
  proto.set_tensor_content(std::string(31, 'a'));
  cases.push_back({"short_content", proto, "sent 31 bytes of data, its shape needs 32"});
  proto.set_tensor_content(std::string(33, 'a'));
  cases.push_back({"long_content", proto, "sent 33 bytes of data, its shape needs 32"});
  proto = Floats({}, 0);
  proto.mutable_tensor_shape()->set_unknown_rank(true);
  cases.push_back({"unknown_rank", proto, "unknown_rank"});
  proto = Floats({1, 4}, 0);
  proto.set_dtype(tensorflow::DT_INT32);
  cases.push_back({"wrong_type", proto, "sent DT_INT32[1,4], expected DT_FLOAT[?,4]"});
  proto.set_dtype(tensorflow::DT_RESOURCE);
  cases.push_back({"resource", proto, "sent DT_RESOURCE[1,4]"});
  proto.set_dtype(static_cast<tensorflow::DataType>(12345));
  cases.push_back({"no_such_type", proto, "sent data type 12345[1,4]"});
  proto = Floats(std::vector<int64_t>(100000, 1), 1);
  cases.push_back({"rank_of_thousands", proto, "rank is 100000"});
  return cases;
}

TEST(TfsCodec, RefusesHostileTensorsAndSaysWhatIsRight) {
  for (const HostileCase& c : HostileCases()) {
    SCOPED_TRACE(c.name);
    const absl::Status status = DecodeFloats(c.proto);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("model \"m\" version 3: input \"x\""), HasSubstr(c.message)));
    EXPECT_LT(status.message().size(), 1000u);
  }
}

TEST(TfsCodec, RefusesValuesThatANarrowTypeCannotHold) {
  const TestServable servable("m", 1, {{Info("x", DataType::kUint8, {3})}, {}}, 0);
  for (const int32_t bad : {-1, 256, std::numeric_limits<int32_t>::min()}) {
    PredictRequest request;
    tensorflow::TensorProto& proto = (*request.mutable_inputs())["x"];
    proto.set_dtype(tensorflow::DT_UINT8);
    proto.mutable_tensor_shape()->add_dim()->set_size(3);
    proto.add_int_val(0);
    proto.add_int_val(bad);
    const absl::Status status = DecodePredictInputs(request, servable, kMaxBytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("value 1 in int_val is"));
  }
}

TEST(TfsCodec, RefusesBoolsThatAreNeitherTrueNorFalse) {
  const TestServable servable("m", 1, {{Info("x", DataType::kBool, {3})}, {}}, 0);
  PredictRequest request;
  tensorflow::TensorProto& proto = (*request.mutable_inputs())["x"];
  proto.set_dtype(tensorflow::DT_BOOL);
  proto.mutable_tensor_shape()->add_dim()->set_size(3);
  proto.set_tensor_content(std::string("\x00\x01\x02", 3));
  const absl::Status status = DecodePredictInputs(request, servable, kMaxBytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 2 is 2"));
}

TEST(TfsCodec, OneValueCannotBlowUpToAnythingLarge) {
  const TestServable servable("m", 1, {{Info("x", DataType::kFloat, {-1, -1})}, {}}, 0);
  PredictRequest request;
  (*request.mutable_inputs())["x"] = Floats({100'000, 100'000}, 1);
  const absl::Status status = DecodePredictInputs(request, servable, kMaxBytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("that is 40000000000 bytes, at most 1048576 are allowed"));
}

TEST(TfsCodec, OneStringCannotBlowUpEither) {
  const TestServable servable("m", 1, {{Info("x", DataType::kString, {-1})}, {}}, 0);
  PredictRequest request;
  tensorflow::TensorProto& proto = (*request.mutable_inputs())["x"];
  proto.set_dtype(tensorflow::DT_STRING);
  proto.mutable_tensor_shape()->add_dim()->set_size(1000);
  proto.add_string_val("short");
  EXPECT_TRUE(DecodePredictInputs(request, servable, kMaxBytes).ok());
  proto.set_string_val(0, std::string(10'000, 's'));
  const absl::Status status = DecodePredictInputs(request, servable, kMaxBytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("its strings take 9990000 bytes, at most 1048576 are allowed"));
}

TEST(TfsCodec, RankIsBoundedWhereTheModelLeavesItOpen) {
  engine::ValueInfo any = Info("x", DataType::kFloat, {});
  any.has_rank = false;
  const TestServable servable("m", 1, {{any}, {}}, 0);
  PredictRequest request;
  for (const size_t rank : {64, 65}) {
    (*request.mutable_inputs())["x"] = Floats(std::vector<int64_t>(rank, 1), 1);
    const absl::Status status = DecodePredictInputs(request, servable, kMaxBytes).status();
    EXPECT_EQ(status.ok(), rank == 64) << status;
    if (!status.ok()) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("rank is 65, at most 64 is allowed"));
    }
  }
}

TEST(TfsCodec, EmptyTensorsPassWhereTheModelAllowsThem) {
  const TestServable servable("m", 1, {{Info("past", DataType::kFloat, {1, -1})}, {}}, 0);
  PredictRequest request;
  (*request.mutable_inputs())["past"] = Floats({1, 0}, 0);
  const auto got = DecodePredictInputs(request, servable, kMaxBytes);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->views.at(0).size(), 0);
}

TEST(TfsCodec, NamesTheInputsWhereTheyDiffer) {
  const TestServable servable(
      "m", 3, {{Info("image", DataType::kFloat, {-1, 4}), Info("mask", DataType::kBool, {-1})}, {}},
      8);
  const auto message = [&](const std::vector<std::string>& names) {
    PredictRequest request;
    for (const std::string& name : names) (*request.mutable_inputs())[name] = Floats({1, 4}, 4);
    const absl::Status status = DecodePredictInputs(request, servable, kMaxBytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message({"imgae", "mask"}),
              AllOf(HasSubstr("no input named \"imgae\"; did you mean \"image\"?"),
                    HasSubstr("Its inputs: \"image\" DT_FLOAT[?,4], \"mask\" DT_BOOL[?]")));
  EXPECT_THAT(message({"image"}), HasSubstr("input \"mask\" is missing; sent: image."));
  EXPECT_THAT(message({}), HasSubstr("input \"image\" is missing; sent: none."));
  EXPECT_THAT(message({"image", "mask", "extra"}), HasSubstr("no input named \"extra\""));
  EXPECT_LT(message({std::string(100'000, 'x')}).size(), 1000u);
}

TEST(TfsCodec, RowsOfAllInputsMustAgree) {
  const TestServable servable(
      "m", 1, {{Info("a", DataType::kFloat, {-1, 4}), Info("b", DataType::kFloat, {-1, 4})}, {}},
      8);
  PredictRequest request;
  (*request.mutable_inputs())["a"] = Floats({2, 4}, 8);
  (*request.mutable_inputs())["b"] = Floats({3, 4}, 12);
  const absl::Status status = DecodePredictInputs(request, servable, kMaxBytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the batch has 3 rows, but input \"a\" has 2"));
}

// Positions in the model's signature.
std::vector<size_t> Wanted(const PredictRequest& request, const TestServable& servable) {
  std::vector<size_t> positions;
  const auto outputs = PredictOutputs(request, servable);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  for (const ReplyOutput& output : *outputs) {
    EXPECT_EQ(output.name, servable.signature().outputs[output.index].name);
    positions.push_back(output.index);
  }
  return positions;
}

TEST(TfsCodec, OutputFilterPicksByName) {
  const TestServable servable(
      "m", 1,
      {{}, {Info("scores", DataType::kFloat, {-1, 10}), Info("label", DataType::kInt64, {-1})}}, 8);
  PredictRequest request;
  EXPECT_THAT(Wanted(request, servable), ElementsAre(0u, 1u));
  request.add_output_filter("label");
  EXPECT_THAT(Wanted(request, servable), ElementsAre(1u));
  request.add_output_filter("label");
  EXPECT_EQ(PredictOutputs(request, servable).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_output_filter(1, "score");
  const absl::Status status = PredictOutputs(request, servable).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean \"scores\"?"));
}

TEST(TfsCodec, WhatIsNotSentTakesItsDefaultForEveryRow) {
  const TestServable servable(
      "m", 1,
      {{Info("x", DataType::kFloat, {-1, 2}), Info("k", DataType::kInt32, {-1, 2}),
        Info("s", DataType::kString, {-1})},
       {}},
      8);
  repository::Signature signature;
  signature.inputs["k"] = {"keep", repository::DefaultValues(std::vector<int64_t>{1, 2})};
  signature.inputs["s"] = {"s", repository::DefaultValues(std::vector<std::string>{"a"})};
  PredictRequest request;
  EncodeTfTensor(RandomTensor(DataType::kFloat, {3, 2}, 1).view(),
                 (*request.mutable_inputs())["x"]);
  const auto got = DecodePredictInputs(request, servable, kMaxBytes, &signature);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->rows, 3);
  EXPECT_THAT(got->views[1].values<int32_t>(), ElementsAre(1, 2, 1, 2, 1, 2));
  EXPECT_THAT(got->views[2].values<std::string>(), ElementsAre("a", "a", "a"));

  const Tensor keep = RandomTensor(DataType::kInt32, {3, 2}, 2);
  EncodeTfTensor(keep.view(), (*request.mutable_inputs())["keep"]);
  const auto sent = DecodePredictInputs(request, servable, kMaxBytes, &signature);
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_TRUE(SameBits(sent->views[1], keep.view()));
  (*request.mutable_inputs())["k"] = request.inputs().at("keep");
  EXPECT_THAT(
      std::string(DecodePredictInputs(request, servable, kMaxBytes, &signature).status().message()),
      AllOf(HasSubstr("no input named \"k\""), HasSubstr("\"keep\" DT_INT32[?,2]")));
  request.clear_inputs();
  EXPECT_THAT(
      std::string(DecodePredictInputs(request, servable, kMaxBytes, &signature).status().message()),
      HasSubstr("input \"x\" is missing"));
}

TEST(TfsCodec, RandomBytesNeverBreakIt) {
  const TestServable servable(
      "m", 1, {{Info("x", DataType::kFloat, {-1, -1}), Info("s", DataType::kString, {-1})}, {}}, 8);
  std::mt19937 random(7);
  PredictRequest seed;
  (*seed.mutable_inputs())["x"] = Floats({2, 2}, 4);
  EncodeTfTensor(RandomTensor(DataType::kString, {2}, 1).view(), (*seed.mutable_inputs())["s"]);
  const std::string bytes = seed.SerializeAsString();
  int parsed = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string mutant = bytes;
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      mutant[random() % mutant.size()] = static_cast<char>(random());
    }
    PredictRequest request;
    if (!request.ParseFromString(mutant)) continue;
    ++parsed;
    const auto got = DecodePredictInputs(request, servable, kMaxBytes);
    if (!got.ok()) {
      EXPECT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument);
    }
  }
  EXPECT_GT(parsed, 1000);
}

TEST(TfsCodec, TensorInfoKeepsNamesOfDimensions) {
  const tensorflow::TensorInfo info = ToTensorInfo(Info("x", DataType::kFloat, {-1, 4}));
  EXPECT_EQ(info.name(), "x");
  EXPECT_EQ(info.dtype(), tensorflow::DT_FLOAT);
  ASSERT_EQ(info.tensor_shape().dim_size(), 2);
  EXPECT_EQ(info.tensor_shape().dim(0).size(), -1);
  EXPECT_EQ(info.tensor_shape().dim(0).name(), "n");
  EXPECT_EQ(info.tensor_shape().dim(1).size(), 4);
}

}  // namespace
}  // namespace baton::api

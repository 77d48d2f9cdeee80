#include "client/tensor_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "client/predict_call.h"
#include "proto/grpc_service.pb.h"
#include "proto/tensorflow_serving/apis/predict.pb.h"

namespace baton {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TensorCodec, TensorFlowReadsBackWhatItWrote) {
  const Tensor tensors[] = {
      Tensor::From<float>({2, 2}, {1, 2, 3, 4}), Tensor::From<double>({1}, {0.1}),
      Tensor::From<int64_t>({}, {-5}),           Tensor::From<bool>({3}, {true, false, true}),
      Tensor(DataType::kUint8, {0, 3}),          Tensor::From<std::string>({2}, {"", "ab"}),
      Tensor::From<Float16>({1}, {Float16{77}}), Tensor::From<uint64_t>({1}, {UINT64_MAX}),
  };
  for (const Tensor& tensor : tensors) {
    tensorflow::TensorProto proto;
    EncodeTensorFlow(tensor.view(), &proto);
    const auto decoded = DecodeTensorFlow(proto);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(decoded->type(), tensor.type());
    ASSERT_EQ(decoded->shape(), tensor.shape());
    if (tensor.type() == DataType::kString) {
      EXPECT_THAT(decoded->values<std::string>(), ElementsAre("", "ab"));
    } else if (tensor.bytes() > 0) {
      EXPECT_EQ(std::memcmp(decoded->data(), tensor.data(), tensor.bytes()), 0);
    }
  }
}

TEST(TensorCodec, FillsUpTensorFlowValuesWithTheLast) {
  tensorflow::TensorProto proto;
  proto.set_dtype(tensorflow::DT_INT8);
  proto.mutable_tensor_shape()->add_dim()->set_size(4);
  EXPECT_FALSE(DecodeTensorFlow(proto).ok());
  proto.add_int_val(1);
  proto.add_int_val(-2);
  EXPECT_THAT(DecodeTensorFlow(proto)->values<int8_t>(), ElementsAre(1, -2, -2, -2));
  for (int i = 0; i < 3; ++i) proto.add_int_val(0);
  EXPECT_THAT(std::string(DecodeTensorFlow(proto).status().message()), HasSubstr("has 5 values"));
}

TEST(TensorCodec, RefusesTensorFlowNonsense) {
  tensorflow::TensorProto proto;
  EXPECT_FALSE(DecodeTensorFlow(proto).ok());
  proto.set_dtype(tensorflow::DT_FLOAT);
  proto.mutable_tensor_shape()->add_dim()->set_size(1LL << 40);
  proto.add_float_val(1);
  EXPECT_THAT(std::string(DecodeTensorFlow(proto).status().message()), HasSubstr("larger than"));
  proto.mutable_tensor_shape()->mutable_dim(0)->set_size(-3);
  EXPECT_FALSE(DecodeTensorFlow(proto).ok());
  proto.mutable_tensor_shape()->mutable_dim(0)->set_size(2);
  proto.set_tensor_content("1234567");
  EXPECT_THAT(std::string(DecodeTensorFlow(proto).status().message()), HasSubstr("7 bytes"));
}

inference::ModelInferResponse OneOutput(const std::string& type, int64_t size) {
  inference::ModelInferResponse response;
  response.add_outputs()->set_name("y");
  response.mutable_outputs(0)->set_datatype(type);
  response.mutable_outputs(0)->add_shape(size);
  return response;
}

TEST(TensorCodec, ReadsOpenInferenceInEitherForm) {
  inference::ModelInferResponse typed = OneOutput("INT32", 2);
  typed.mutable_outputs(0)->mutable_contents()->add_int_contents(4);
  typed.mutable_outputs(0)->mutable_contents()->add_int_contents(-4);
  EXPECT_THAT((*DecodeOpenInferenceOutputs(typed))[0].tensor.values<int32_t>(), ElementsAre(4, -4));
  inference::ModelInferResponse raw = OneOutput("BYTES", 2);
  raw.add_raw_output_contents(std::string("\2\0\0\0ab\0\0\0\0", 10));
  EXPECT_THAT((*DecodeOpenInferenceOutputs(raw))[0].tensor.values<std::string>(),
              ElementsAre("ab", ""));
}

TEST(TensorCodec, RefusesOpenInferenceNonsense) {
  const auto message = [](const inference::ModelInferResponse& response) {
    const auto outputs = DecodeOpenInferenceOutputs(response);
    return outputs.ok() ? "read" : std::string(outputs.status().message());
  };
  EXPECT_THAT(message(OneOutput("FP8", 1)), HasSubstr("unknown type \"FP8\""));
  EXPECT_THAT(message(OneOutput("FP32", 1)), HasSubstr("0 values"));
  EXPECT_THAT(message(OneOutput("FP16", 1)), HasSubstr("raw bytes"));
  EXPECT_THAT(message(OneOutput("FP32", -1)), HasSubstr("\"y\""));
  inference::ModelInferResponse raw = OneOutput("FP32", 2);
  raw.add_raw_output_contents("123");
  EXPECT_THAT(message(raw), HasSubstr("3 bytes"));
  raw.add_raw_output_contents("123");
  EXPECT_THAT(message(raw), HasSubstr("1 outputs, but raw contents for 2"));
  for (const size_t size : {1, 3, 5, 8, 9}) {
    inference::ModelInferResponse strings = OneOutput("BYTES", 2);
    strings.add_raw_output_contents(std::string("\2\0\0\0ab\0\0\0\0", 10).substr(0, size));
    EXPECT_THAT(message(strings), HasSubstr("ends within")) << size;
  }
}

grpc::ByteBuffer Buffer(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

TEST(ReplyVersion, IsReadFromBothReplies) {
  tensorflow::serving::PredictResponse tfs;
  EncodeTensorFlow(Tensor(DataType::kFloat, {100}).view(), &(*tfs.mutable_outputs())["y"]);
  EXPECT_EQ(*ReplyVersion(Protocol::kTensorFlowServing, Buffer(tfs.SerializeAsString())), 0);
  tfs.mutable_model_spec()->mutable_version()->set_value(1'700'000'000'123);
  EXPECT_EQ(*ReplyVersion(Protocol::kTensorFlowServing, Buffer(tfs.SerializeAsString())),
            1'700'000'000'123);
  inference::ModelInferResponse oip = OneOutput("FP32", 100);
  oip.add_raw_output_contents(std::string(400, 'x'));
  EXPECT_EQ(*ReplyVersion(Protocol::kOpenInference, Buffer(oip.SerializeAsString())), 0);
  oip.set_model_version("42");
  EXPECT_EQ(*ReplyVersion(Protocol::kOpenInference, Buffer(oip.SerializeAsString())), 42);
  oip.set_model_version("blue");
  EXPECT_FALSE(ReplyVersion(Protocol::kOpenInference, Buffer(oip.SerializeAsString())).ok());
}

TEST(ReplyVersion, RefusesDamagedReplies) {
  inference::ModelInferResponse reply = OneOutput("FP32", 2);
  reply.set_model_version("7");
  reply.add_raw_output_contents("12345678");
  const std::string bytes = reply.SerializeAsString();
  EXPECT_FALSE(
      ReplyVersion(Protocol::kOpenInference, Buffer(bytes.substr(0, bytes.size() - 3))).ok());
  for (const Protocol protocol : {Protocol::kOpenInference, Protocol::kTensorFlowServing}) {
    EXPECT_FALSE(ReplyVersion(protocol, Buffer("\xff\xff\xff\xff\xff\xff\xff")).ok());
    EXPECT_FALSE(ReplyVersion(protocol, Buffer("\x12\xff\xff\xff\xff\x0f")).ok());
  }
}

TEST(EncodePredict, RefusesWhatTheProtocolCannotSay) {
  const NamedTensor x{"x", Tensor(DataType::kFloat, {1})};
  EXPECT_FALSE(EncodePredict(Protocol::kOpenInference, {"m", {}, "stable"}, {&x, 1}).ok());
  EXPECT_FALSE(EncodePredict(Protocol::kTensorFlowServing, {"m", 3, "stable"}, {&x, 1}).ok());
  EXPECT_TRUE(EncodePredict(Protocol::kTensorFlowServing, {"m", {}, "stable"}, {&x, 1}).ok());
}

}  // namespace
}  // namespace baton

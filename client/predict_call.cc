#include "client/predict_call.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "absl/strings/numbers.h"
#include "client/tensor_codec.h"
#include "engine/base/status.h"
#include "proto/grpc_service.pb.h"
#include "proto/tensorflow_serving/apis/predict.pb.h"

namespace baton {
namespace {

using google::protobuf::MessageLite;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// The last length-delimited field `number` in `message`; false if the message is malformed. Both
// replies keep the version in such a field beside the outputs, which are skipped.
bool FindField(absl::string_view message, int number, absl::string_view* value) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                      static_cast<int>(message.size()));
  while (const uint32_t tag = in.ReadTag()) {
    if (tag != WireFormatLite::MakeTag(number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED)) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    uint32_t size = 0;
    if (!in.ReadVarint32(&size)) return false;
    const int start = in.CurrentPosition();
    if (!in.Skip(static_cast<int>(size))) return false;
    *value = message.substr(static_cast<size_t>(start), size);
  }
  return in.ConsumedEntireMessage();
}

absl::StatusOr<grpc::ByteBuffer> Serialize(const MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  if (size > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("a request of ", size, " bytes; a message can have ", INT32_MAX));
  }
  grpc::Slice slice(size);
  message.SerializeToArray(const_cast<uint8_t*>(slice.begin()), static_cast<int>(size));
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

const char* ProtocolName(Protocol protocol) {
  return protocol == Protocol::kTensorFlowServing ? "TensorFlow Serving" : "Open Inference";
}

absl::Status ValidateModelRef(Protocol protocol, const ModelRef& model) {
  if (model.version.has_value() && !model.label.empty()) {
    return absl::InvalidArgumentError("give a version or a label, not both");
  }
  if (!model.label.empty() && protocol == Protocol::kOpenInference) {
    return absl::InvalidArgumentError(
        "the Open Inference protocol has no labels; use TensorFlow Serving's, or a version");
  }
  return absl::OkStatus();
}

void SetModelSpec(const ModelRef& model, tensorflow::serving::ModelSpec* spec) {
  spec->set_name(model.name);
  if (model.version.has_value()) spec->mutable_version()->set_value(*model.version);
  if (!model.label.empty()) spec->set_version_label(model.label);
}

void SetPredictRequest(const ModelRef& model, absl::Span<const NamedTensor> inputs,
                       tensorflow::serving::PredictRequest* request) {
  SetModelSpec(model, request->mutable_model_spec());
  for (const NamedTensor& input : inputs) {
    EncodeTensorFlow(input.tensor.view(), &(*request->mutable_inputs())[input.name]);
  }
}

void SetPredictRequest(const ModelRef& model, absl::Span<const NamedTensor> inputs,
                       inference::ModelInferRequest* request) {
  request->set_model_name(model.name);
  if (model.version.has_value()) request->set_model_version(absl::StrCat(*model.version));
  for (const NamedTensor& input : inputs) {
    AddOpenInferenceInput(input.name, input.tensor.view(), request);
  }
}

absl::StatusOr<EncodedRequest> EncodePredict(Protocol protocol, const ModelRef& model,
                                             absl::Span<const NamedTensor> inputs) {
  RETURN_IF_ERROR(ValidateModelRef(protocol, model));
  EncodedRequest encoded;
  if (protocol == Protocol::kTensorFlowServing) {
    tensorflow::serving::PredictRequest request;
    SetPredictRequest(model, inputs, &request);
    encoded.method = "/tensorflow.serving.PredictionService/Predict";
    ASSIGN_OR_RETURN(encoded.body, Serialize(request));
  } else {
    inference::ModelInferRequest request;
    SetPredictRequest(model, inputs, &request);
    encoded.method = "/inference.GRPCInferenceService/ModelInfer";
    ASSIGN_OR_RETURN(encoded.body, Serialize(request));
  }
  return encoded;
}

absl::StatusOr<int64_t> ReplyVersion(Protocol protocol, const grpc::ByteBuffer& reply) {
  grpc::Slice slice;
  if (!reply.TrySingleSlice(&slice).ok() && !reply.DumpToSingleSlice(&slice).ok()) {
    return absl::InternalError("the reply cannot be read");
  }
  const absl::string_view message(reinterpret_cast<const char*>(slice.begin()), slice.size());
  absl::string_view value;
  if (protocol == Protocol::kOpenInference) {
    if (!FindField(message, inference::ModelInferResponse::kModelVersionFieldNumber, &value)) {
      return absl::InternalError("the reply is not a ModelInferResponse");
    }
    int64_t version = 0;
    if (!value.empty() && !absl::SimpleAtoi(value, &version)) {
      return absl::InternalError(absl::StrCat("the reply's version \"", value, "\" is no number"));
    }
    return version;
  }
  tensorflow::serving::ModelSpec spec;
  if (!FindField(message, tensorflow::serving::PredictResponse::kModelSpecFieldNumber, &value) ||
      !spec.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return absl::InternalError("the reply is not a PredictResponse");
  }
  return spec.version().value();
}

}  // namespace baton

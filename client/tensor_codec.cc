#include "client/tensor_codec.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "engine/base/status.h"
#include "proto/grpc_service.pb.h"
#include "proto/tensorflow/core/framework/tensor.pb.h"

namespace baton {
namespace {

// No message is larger, so no honest tensor is.
constexpr int64_t kMaxBytes = int64_t{2} << 30;

struct TypeRow {
  DataType type;
  tensorflow::DataType tensorflow;
  const char* open_inference;
};
constexpr TypeRow kTypes[] = {
    {DataType::kFloat, tensorflow::DT_FLOAT, "FP32"},
    {DataType::kDouble, tensorflow::DT_DOUBLE, "FP64"},
    {DataType::kFloat16, tensorflow::DT_HALF, "FP16"},
    {DataType::kBfloat16, tensorflow::DT_BFLOAT16, "BF16"},
    {DataType::kInt8, tensorflow::DT_INT8, "INT8"},
    {DataType::kInt16, tensorflow::DT_INT16, "INT16"},
    {DataType::kInt32, tensorflow::DT_INT32, "INT32"},
    {DataType::kInt64, tensorflow::DT_INT64, "INT64"},
    {DataType::kUint8, tensorflow::DT_UINT8, "UINT8"},
    {DataType::kUint16, tensorflow::DT_UINT16, "UINT16"},
    {DataType::kUint32, tensorflow::DT_UINT32, "UINT32"},
    {DataType::kUint64, tensorflow::DT_UINT64, "UINT64"},
    {DataType::kBool, tensorflow::DT_BOOL, "BOOL"},
    {DataType::kString, tensorflow::DT_STRING, "BYTES"},
};

const TypeRow& RowOf(DataType type) {
  const TypeRow* row =
      std::find_if(std::begin(kTypes), std::end(kTypes),
                   [type](const TypeRow& candidate) { return candidate.type == type; });
  BATON_CHECK(row != std::end(kTypes));
  return *row;
}

absl::StatusOr<Tensor> Allocate(DataType type, Shape shape) {
  ASSIGN_OR_RETURN(const int64_t elements, CheckedNumElements(shape));
  if (elements > kMaxBytes / static_cast<int64_t>(DataTypeSize(type))) {
    return absl::InternalError(absl::StrCat("of ", DataTypeName(type), ShapeToString(shape),
                                            " is larger than a message can be"));
  }
  return Tensor(type, std::move(shape));
}

absl::Status WrongCount(const Tensor& tensor, size_t found, absl::string_view unit, size_t wanted) {
  return absl::InternalError(absl::StrCat("has ", found, " ", unit, "; ",
                                          DataTypeName(tensor.type()),
                                          ShapeToString(tensor.shape()), " needs ", wanted));
}

absl::Status FromRaw(const std::string& raw, Tensor& tensor) {
  if (raw.size() != tensor.bytes()) {
    return WrongCount(tensor, raw.size(), "bytes", tensor.bytes());
  }
  if (!raw.empty()) std::memcpy(tensor.mutable_data(), raw.data(), raw.size());
  return absl::OkStatus();
}

// Elements are a 4-byte little-endian length and that many bytes.
absl::Status FromRawStrings(absl::string_view raw, Tensor& tensor) {
  for (std::string& value : tensor.mutable_values<std::string>()) {
    uint32_t length = 0;
    if (raw.size() < sizeof length) return absl::InternalError("ends within a string's length");
    std::memcpy(&length, raw.data(), sizeof length);
    raw.remove_prefix(sizeof length);
    if (raw.size() < length) return absl::InternalError("ends within a string");
    value.assign(raw.data(), length);
    raw.remove_prefix(length);
  }
  if (!raw.empty()) {
    return absl::InternalError(absl::StrCat("has ", raw.size(), " bytes after its last string"));
  }
  return absl::OkStatus();
}

template <typename T, typename V>
T Convert(const V& value) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>) {
    return T{static_cast<uint16_t>(value)};
  } else {
    return static_cast<T>(value);
  }
}

// From a repeated field; where `fill` is set, the last value stands for those that are missing.
template <typename T, typename Field>
absl::Status FromField(const Field& field, bool fill, Tensor& tensor) {
  const absl::Span<T> out = tensor.mutable_values<T>();
  const auto found = static_cast<size_t>(field.size());
  if (found > out.size() || (found < out.size() && (!fill || found == 0))) {
    return WrongCount(tensor, found, "values", out.size());
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = Convert<T>(field.Get(static_cast<int>(std::min(i, found - 1))));
  }
  return absl::OkStatus();
}

absl::Status FromTensorFlowValues(const tensorflow::TensorProto& proto, Tensor& tensor) {
  switch (tensor.type()) {
    case DataType::kFloat:
      return FromField<float>(proto.float_val(), true, tensor);
    case DataType::kDouble:
      return FromField<double>(proto.double_val(), true, tensor);
    case DataType::kFloat16:
      return FromField<Float16>(proto.half_val(), true, tensor);
    case DataType::kBfloat16:
      return FromField<Bfloat16>(proto.half_val(), true, tensor);
    case DataType::kInt8:
      return FromField<int8_t>(proto.int_val(), true, tensor);
    case DataType::kInt16:
      return FromField<int16_t>(proto.int_val(), true, tensor);
    case DataType::kInt32:
      return FromField<int32_t>(proto.int_val(), true, tensor);
    case DataType::kUint8:
      return FromField<uint8_t>(proto.int_val(), true, tensor);
    case DataType::kUint16:
      return FromField<uint16_t>(proto.int_val(), true, tensor);
    case DataType::kInt64:
      return FromField<int64_t>(proto.int64_val(), true, tensor);
    case DataType::kUint32:
      return FromField<uint32_t>(proto.uint32_val(), true, tensor);
    case DataType::kUint64:
      return FromField<uint64_t>(proto.uint64_val(), true, tensor);
    case DataType::kBool:
      return FromField<bool>(proto.bool_val(), true, tensor);
    case DataType::kString:
      return FromField<std::string>(proto.string_val(), true, tensor);
    case DataType::kUndefined:
      break;
  }
  return absl::InternalError("has no type");
}

absl::Status FromOpenInferenceContents(const inference::InferTensorContents& contents,
                                       Tensor& tensor) {
  switch (tensor.type()) {
    case DataType::kFloat:
      return FromField<float>(contents.fp32_contents(), false, tensor);
    case DataType::kDouble:
      return FromField<double>(contents.fp64_contents(), false, tensor);
    case DataType::kInt8:
      return FromField<int8_t>(contents.int_contents(), false, tensor);
    case DataType::kInt16:
      return FromField<int16_t>(contents.int_contents(), false, tensor);
    case DataType::kInt32:
      return FromField<int32_t>(contents.int_contents(), false, tensor);
    case DataType::kInt64:
      return FromField<int64_t>(contents.int64_contents(), false, tensor);
    case DataType::kUint8:
      return FromField<uint8_t>(contents.uint_contents(), false, tensor);
    case DataType::kUint16:
      return FromField<uint16_t>(contents.uint_contents(), false, tensor);
    case DataType::kUint32:
      return FromField<uint32_t>(contents.uint_contents(), false, tensor);
    case DataType::kUint64:
      return FromField<uint64_t>(contents.uint64_contents(), false, tensor);
    case DataType::kBool:
      return FromField<bool>(contents.bool_contents(), false, tensor);
    case DataType::kString:
      return FromField<std::string>(contents.bytes_contents(), false, tensor);
    default:
      return absl::InternalError("of its type must come as raw bytes, and did not");
  }
}

absl::StatusOr<Tensor> DecodeOutput(const inference::ModelInferResponse::InferOutputTensor& output,
                                    const std::string* raw) {
  const DataType type = DataTypeFromOpenInference(output.datatype());
  if (type == DataType::kUndefined) {
    return absl::InternalError(absl::StrCat("has the unknown type \"", output.datatype(), "\""));
  }
  ASSIGN_OR_RETURN(Tensor tensor,
                   Allocate(type, Shape(output.shape().begin(), output.shape().end())));
  if (raw == nullptr) {
    RETURN_IF_ERROR(FromOpenInferenceContents(output.contents(), tensor));
  } else if (type == DataType::kString) {
    RETURN_IF_ERROR(FromRawStrings(*raw, tensor));
  } else {
    RETURN_IF_ERROR(FromRaw(*raw, tensor));
  }
  return tensor;
}

}  // namespace

DataType DataTypeFromTensorFlow(int dtype) {
  for (const TypeRow& row : kTypes) {
    if (row.tensorflow == dtype) return row.type;
  }
  return DataType::kUndefined;
}

DataType DataTypeFromOpenInference(absl::string_view datatype) {
  for (const TypeRow& row : kTypes) {
    if (row.open_inference == datatype) return row.type;
  }
  return DataType::kUndefined;
}

void EncodeTensorFlow(const TensorView& tensor, tensorflow::TensorProto* proto) {
  proto->set_dtype(RowOf(tensor.type).tensorflow);
  for (const int64_t dim : tensor.shape) proto->mutable_tensor_shape()->add_dim()->set_size(dim);
  proto->mutable_tensor_shape();  // a scalar's shape is present and empty
  if (tensor.type == DataType::kString) {
    for (const std::string& value : tensor.values<std::string>()) proto->add_string_val(value);
  } else {
    proto->set_tensor_content(tensor.data, tensor.bytes());
  }
}

void AddOpenInferenceInput(const std::string& name, const TensorView& tensor,
                           inference::ModelInferRequest* request) {
  inference::ModelInferRequest::InferInputTensor* input = request->add_inputs();
  input->set_name(name);
  input->set_datatype(RowOf(tensor.type).open_inference);
  input->mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
  std::string* raw = request->add_raw_input_contents();
  if (tensor.type != DataType::kString) {
    raw->assign(static_cast<const char*>(tensor.data), tensor.bytes());
    return;
  }
  for (const std::string& value : tensor.values<std::string>()) {
    const auto length = static_cast<uint32_t>(value.size());
    raw->append(reinterpret_cast<const char*>(&length), sizeof length);
    raw->append(value);
  }
}

absl::StatusOr<Tensor> DecodeTensorFlow(const tensorflow::TensorProto& proto) {
  const DataType type = DataTypeFromTensorFlow(proto.dtype());
  if (type == DataType::kUndefined) {
    return absl::InternalError(absl::StrCat("has the unknown type ", proto.dtype()));
  }
  Shape shape;
  for (const auto& dim : proto.tensor_shape().dim()) shape.push_back(dim.size());
  ASSIGN_OR_RETURN(Tensor tensor, Allocate(type, std::move(shape)));
  if (tensor.size() == 0) return tensor;
  if (!proto.tensor_content().empty() && type != DataType::kString) {
    RETURN_IF_ERROR(FromRaw(proto.tensor_content(), tensor));
  } else {
    RETURN_IF_ERROR(FromTensorFlowValues(proto, tensor));
  }
  return tensor;
}

absl::StatusOr<std::vector<NamedTensor>> DecodeOpenInferenceOutputs(
    const inference::ModelInferResponse& response) {
  const bool raw = response.raw_output_contents_size() > 0;
  if (raw && response.raw_output_contents_size() != response.outputs_size()) {
    return absl::InternalError(absl::StrCat("the reply has ", response.outputs_size(),
                                            " outputs, but raw contents for ",
                                            response.raw_output_contents_size()));
  }
  std::vector<NamedTensor> outputs;
  for (int i = 0; i < response.outputs_size(); ++i) {
    absl::StatusOr<Tensor> tensor =
        DecodeOutput(response.outputs(i), raw ? &response.raw_output_contents(i) : nullptr);
    if (!tensor.ok()) {
      return Annotate(tensor.status(),
                      absl::StrCat("the reply's output \"", response.outputs(i).name(), "\""));
    }
    outputs.push_back({response.outputs(i).name(), *std::move(tensor)});
  }
  return outputs;
}

}  // namespace baton

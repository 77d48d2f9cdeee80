#include "server/api/tfs_codec.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "server/api/element_copy.h"
#include "server/api/row_values.h"
#include "server/api/tfs_signature.h"

namespace baton::api {
namespace {

struct TypePair {
  DataType ours;
  tensorflow::DataType theirs;
};
constexpr TypePair kTypes[] = {
    {DataType::kFloat, tensorflow::DT_FLOAT},   {DataType::kDouble, tensorflow::DT_DOUBLE},
    {DataType::kInt8, tensorflow::DT_INT8},     {DataType::kInt16, tensorflow::DT_INT16},
    {DataType::kInt32, tensorflow::DT_INT32},   {DataType::kInt64, tensorflow::DT_INT64},
    {DataType::kUint8, tensorflow::DT_UINT8},   {DataType::kUint16, tensorflow::DT_UINT16},
    {DataType::kUint32, tensorflow::DT_UINT32}, {DataType::kUint64, tensorflow::DT_UINT64},
    {DataType::kBool, tensorflow::DT_BOOL},     {DataType::kString, tensorflow::DT_STRING},
    {DataType::kFloat16, tensorflow::DT_HALF},  {DataType::kBfloat16, tensorflow::DT_BFLOAT16},
};

std::string SentTypeName(tensorflow::DataType type) {
  const std::string& name = tensorflow::DataType_Name(type);
  return name.empty() ? absl::StrCat("data type ", static_cast<int>(type)) : name;
}

// One input of a request on its way to a view.
struct Input {
  const tensorflow::TensorProto& proto;
  const size_t index;
  const InputCheck& check;
  TensorView view;  // type and shape are set
  DecodedInputs& out;
};

absl::Status CountFault(const Input& input, size_t sent, absl::string_view field) {
  if (sent == 0) {
    return input.check.Fault(
        input.index, absl::StrCat("it has no data: neither tensor_content nor ", field, " is set"));
  }
  return input.check.Fault(input.index, absl::StrCat("sent ", sent, " values in ", field,
                                                     ", its shape needs ", input.view.size()));
}

// Elements from a *_val field whose elements are the tensor's own (To) or wider ones.
template <typename To, typename Field>
absl::Status FromValues(const Field& field, absl::string_view name, Input& input) {
  const size_t sent = static_cast<size_t>(field.size());
  const size_t needed = static_cast<size_t>(input.view.size());
  if (sent > needed || (sent == 0 && needed > 0)) return CountFault(input, sent, name);
  if constexpr (std::is_same_v<To, typename Field::value_type>) {
    if (sent == needed && !std::is_same_v<To, std::string>) {
      input.view.data = field.data();
      return absl::OkStatus();
    }
  }
  if constexpr (std::is_same_v<To, std::string>) {
    // The last string stands for all that were not sent, however long it is.
    if (sent < needed) {
      const size_t last = field[field.size() - 1].size();
      RETURN_IF_ERROR(input.check.StringBytes(input.index, (needed - sent) * last));
    }
  }
  Tensor copy(input.view.type, input.view.shape);
  To* to = static_cast<To*>(copy.mutable_data());
  size_t at = 0;
  for (const auto& value : field) {
    if (!CopyElement(value, to[at])) {
      return input.check.Fault(input.index,
                               absl::StrCat("value ", at, " in ", name, " is ", PrintElement(value),
                                            ", which the type cannot hold"));
    }
    ++at;
  }
  for (; at < needed; ++at) to[at] = to[sent - 1];
  input.view.data = copy.data();
  input.out.copies.push_back(std::move(copy));
  return absl::OkStatus();
}

absl::Status FromContent(Input& input) {
  const std::string& content = input.proto.tensor_content();
  if (input.view.type == DataType::kString) {
    return input.check.Fault(input.index, "strings come in string_val, not in tensor_content");
  }
  RETURN_IF_ERROR(input.check.Bytes(input.index, content.size(), input.view.bytes()));
  return ViewOfBytes(content, input.index, input.check, input.view, input.out);
}

absl::Status FromTypedField(Input& input) {
  const tensorflow::TensorProto& proto = input.proto;
  switch (input.view.type) {
    case DataType::kFloat:
      return FromValues<float>(proto.float_val(), "float_val", input);
    case DataType::kDouble:
      return FromValues<double>(proto.double_val(), "double_val", input);
    case DataType::kInt8:
      return FromValues<int8_t>(proto.int_val(), "int_val", input);
    case DataType::kInt16:
      return FromValues<int16_t>(proto.int_val(), "int_val", input);
    case DataType::kInt32:
      return FromValues<int32_t>(proto.int_val(), "int_val", input);
    case DataType::kInt64:
      return FromValues<int64_t>(proto.int64_val(), "int64_val", input);
    case DataType::kUint8:
      return FromValues<uint8_t>(proto.int_val(), "int_val", input);
    case DataType::kUint16:
      return FromValues<uint16_t>(proto.int_val(), "int_val", input);
    case DataType::kUint32:
      return FromValues<uint32_t>(proto.uint32_val(), "uint32_val", input);
    case DataType::kUint64:
      return FromValues<uint64_t>(proto.uint64_val(), "uint64_val", input);
    case DataType::kBool:
      return FromValues<bool>(proto.bool_val(), "bool_val", input);
    case DataType::kString:
      return FromValues<std::string>(proto.string_val(), "string_val", input);
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return FromValues<uint16_t>(proto.half_val(), "half_val", input);
    case DataType::kUndefined:
      break;
  }
  return input.check.Fault(input.index, "the type cannot be sent");
}

// Input `index`, from `proto` to its place in `out`.
absl::Status DecodeTensor(const tensorflow::TensorProto& proto, size_t index, InputCheck& check,
                          DecodedInputs& out) {
  if (proto.tensor_shape().unknown_rank()) {
    return check.Fault(index, "its shape is sent as unknown_rank; a request needs the shape");
  }
  Input input{proto, index, check, {}, out};
  for (const auto& dim : proto.tensor_shape().dim()) input.view.shape.push_back(dim.size());
  input.view.type = FromTfType(proto.dtype());
  RETURN_IF_ERROR(
      check.Input(index, input.view.type, SentTypeName(proto.dtype()), input.view.shape).status());
  RETURN_IF_ERROR(proto.tensor_content().empty() ? FromTypedField(input) : FromContent(input));
  out.views[index] = std::move(input.view);
  return absl::OkStatus();
}

// Input `index`, which was not sent, as its default says, with as many rows as the others.
absl::Status FillIn(const engine::ValueInfo& info, const repository::DefaultValues& missing,
                    size_t index, InputCheck& check, DecodedInputs& out) {
  Shape shape;
  for (const engine::Dim& dim : info.dims) shape.push_back(dim.value);
  const bool by_row = !shape.empty() && shape[0] == -1;
  if (by_row) shape[0] = check.rows();
  if (!info.has_rank || std::count(shape.begin(), shape.end(), -1) > 0) {
    return check.Fault(index, "it was not sent, and its default has no shape to go by; send it");
  }
  ASSIGN_OR_RETURN(const int64_t elements,
                   check.Input(index, info.type, TfTypeName(info.type), shape));
  const int64_t rows = by_row ? shape[0] : 1;
  Tensor tensor(info.type, std::move(shape));
  for (int64_t row = 0; row < rows; ++row) {
    const absl::Status put = PutDefault(missing, tensor, row * (elements / rows), elements / rows);
    if (!put.ok()) return check.Fault(index, put.message());
  }
  out.views[index] = tensor.view();
  out.copies.push_back(std::move(tensor));
  return absl::OkStatus();
}

// Appends the elements of `tensor`, which are of type T.
template <typename T, typename Field>
void AppendValues(const TensorView& tensor, Field& field) {
  const T* data = static_cast<const T*>(tensor.data);
  const int64_t size = tensor.size();
  field.Reserve(static_cast<int>(size));
  if constexpr (std::is_same_v<T, std::string>) {
    for (int64_t i = 0; i < size; ++i) *field.Add() = data[i];
  } else {
    field.Add(data, data + size);
  }
}

}  // namespace

DataType FromTfType(tensorflow::DataType type) {
  for (const TypePair& pair : kTypes) {
    if (pair.theirs == type) return pair.ours;
  }
  return DataType::kUndefined;
}

tensorflow::DataType ToTfType(DataType type) {
  for (const TypePair& pair : kTypes) {
    if (pair.ours == type) return pair.theirs;
  }
  return tensorflow::DT_INVALID;
}

std::string TfTypeName(DataType type) { return SentTypeName(ToTfType(type)); }

absl::StatusOr<DecodedInputs> DecodePredictInputs(
    const tensorflow::serving::PredictRequest& request, const serving::Servable& servable,
    size_t max_tensor_bytes, const repository::Signature* signature) {
  const std::vector<engine::ValueInfo>& own = servable.signature().inputs;
  std::vector<engine::ValueInfo> renamed;
  if (signature != nullptr) renamed = RequestInputs(*signature, servable);
  const std::vector<engine::ValueInfo>& infos = signature != nullptr ? renamed : own;
  InputCheck check(servable, infos, &TfTypeName, max_tensor_bytes);
  const auto names_fault = [&] {
    std::vector<absl::string_view> sent;
    for (const auto& [name, tensor] : request.inputs()) sent.push_back(name);
    std::sort(sent.begin(), sent.end());
    std::vector<bool> optional;
    for (const auto& info : own) optional.push_back(DefaultOf(signature, info.name) != nullptr);
    return check.Names(sent, optional);
  };
  if (signature == nullptr && request.inputs().size() != infos.size()) return names_fault();
  DecodedInputs out;
  out.views.resize(infos.size());
  std::vector<size_t> left_out;
  for (size_t i = 0; i < infos.size(); ++i) {
    const auto found = request.inputs().find(infos[i].name);
    if (found != request.inputs().end()) {
      RETURN_IF_ERROR(DecodeTensor(found->second, i, check, out));
    } else if (DefaultOf(signature, own[i].name) != nullptr) {
      left_out.push_back(i);
    } else {
      return names_fault();
    }
  }
  if (request.inputs().size() + left_out.size() != infos.size()) return names_fault();
  for (const size_t i : left_out) {
    RETURN_IF_ERROR(FillIn(infos[i], *DefaultOf(signature, own[i].name), i, check, out));
  }
  out.rows = check.rows();
  return out;
}

absl::StatusOr<ReplyOutputList> PredictOutputs(const tensorflow::serving::PredictRequest& request,
                                               const serving::Servable& servable,
                                               const repository::Signature* signature) {
  ReplyOutputList known;
  if (signature != nullptr && !signature->outputs.empty()) {
    for (const auto& [tensor, name] : signature->outputs) {
      known.push_back({OutputIndex(servable, tensor), name});
    }
  } else {
    for (const engine::ValueInfo& info : servable.signature().outputs) {
      known.push_back({known.size(), info.name});
    }
  }
  if (request.output_filter().empty()) return known;
  ReplyOutputList wanted;
  for (const std::string& name : request.output_filter()) {
    const auto has_name = [&](const ReplyOutput& output) { return output.name == name; };
    const auto found = std::find_if(known.begin(), known.end(), has_name);
    if (found == known.end()) {
      return signature == nullptr
                 ? UnknownOutput(servable, name)
                 : UnknownOutput(servable, name, ReplyOutputs(*signature, servable));
    }
    if (std::any_of(wanted.begin(), wanted.end(), has_name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Describe(servable), ": output \"", name, "\" is twice in output_filter"));
    }
    wanted.push_back(*found);
  }
  return wanted;
}

void EncodeTfTensor(const TensorView& tensor, tensorflow::TensorProto& proto) {
  proto.set_dtype(ToTfType(tensor.type));
  tensorflow::TensorShapeProto& shape = *proto.mutable_tensor_shape();
  for (const int64_t d : tensor.shape) shape.add_dim()->set_size(d);
  switch (tensor.type) {
    case DataType::kFloat:
      return AppendValues<float>(tensor, *proto.mutable_float_val());
    case DataType::kDouble:
      return AppendValues<double>(tensor, *proto.mutable_double_val());
    case DataType::kInt8:
      return AppendValues<int8_t>(tensor, *proto.mutable_int_val());
    case DataType::kInt16:
      return AppendValues<int16_t>(tensor, *proto.mutable_int_val());
    case DataType::kInt32:
      return AppendValues<int32_t>(tensor, *proto.mutable_int_val());
    case DataType::kInt64:
      return AppendValues<int64_t>(tensor, *proto.mutable_int64_val());
    case DataType::kUint8:
      return AppendValues<uint8_t>(tensor, *proto.mutable_int_val());
    case DataType::kUint16:
      return AppendValues<uint16_t>(tensor, *proto.mutable_int_val());
    case DataType::kUint32:
      return AppendValues<uint32_t>(tensor, *proto.mutable_uint32_val());
    case DataType::kUint64:
      return AppendValues<uint64_t>(tensor, *proto.mutable_uint64_val());
    case DataType::kBool:
      return AppendValues<bool>(tensor, *proto.mutable_bool_val());
    case DataType::kString:
      return AppendValues<std::string>(tensor, *proto.mutable_string_val());
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return AppendValues<uint16_t>(tensor, *proto.mutable_half_val());
    case DataType::kUndefined:
      break;
  }
  BATON_CHECK_MSG(false, "an output without a type");
}

tensorflow::TensorInfo ToTensorInfo(const engine::ValueInfo& info) {
  tensorflow::TensorInfo out;
  out.set_name(info.name);
  out.set_dtype(ToTfType(info.type));
  tensorflow::TensorShapeProto& shape = *out.mutable_tensor_shape();
  shape.set_unknown_rank(!info.has_rank);
  for (const engine::Dim& dim : info.dims) {
    auto& added = *shape.add_dim();
    added.set_size(dim.value);
    added.set_name(dim.symbol);
  }
  return out;
}

}  // namespace baton::api

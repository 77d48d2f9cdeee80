#include "server/api/oip_codec.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/element_copy.h"
#include "server/serving/byte_strings.h"

namespace baton::api {
namespace {

using InferInput = inference::ModelInferRequest::InferInputTensor;

struct TypeName {
  DataType type;
  absl::string_view name;
};
constexpr TypeName kTypes[] = {
    {DataType::kBool, "BOOL"},     {DataType::kUint8, "UINT8"},   {DataType::kUint16, "UINT16"},
    {DataType::kUint32, "UINT32"}, {DataType::kUint64, "UINT64"}, {DataType::kInt8, "INT8"},
    {DataType::kInt16, "INT16"},   {DataType::kInt32, "INT32"},   {DataType::kInt64, "INT64"},
    {DataType::kFloat16, "FP16"},  {DataType::kFloat, "FP32"},    {DataType::kDouble, "FP64"},
    {DataType::kString, "BYTES"},  {DataType::kBfloat16, "BF16"},
};

std::string SentTypeName(absl::string_view name) {
  constexpr size_t kLongest = 32;
  if (FromOipType(name) != DataType::kUndefined) return std::string(name);
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kLongest)), "\"");
}

absl::Status FromRawStrings(const std::string& raw, size_t index, const InputCheck& check,
                            TensorView& view, DecodedInputs& out) {
  absl::StatusOr<Tensor> copy = serving::ParseByteStrings(raw, view.shape);
  if (!copy.ok()) return check.Fault(index, copy.status().message());
  view.data = copy->data();
  out.copies.push_back(*std::move(copy));
  return absl::OkStatus();
}

absl::Status FromRaw(const std::string& raw, size_t index, const InputCheck& check,
                     TensorView& view, DecodedInputs& out) {
  if (view.type == DataType::kString) return FromRawStrings(raw, index, check, view, out);
  RETURN_IF_ERROR(check.Bytes(index, raw.size(), view.bytes()));
  return ViewOfBytes(raw, index, check, view, out);
}

// Elements from a field of `contents` whose elements are the tensor's own (To) or wider ones.
template <typename To, typename Field>
absl::Status FromValues(const Field& field, absl::string_view name, size_t index,
                        const InputCheck& check, TensorView& view, DecodedInputs& out) {
  if (field.size() != view.size()) {
    return check.Fault(index, absl::StrCat("sent ", field.size(), " values in contents.", name,
                                           ", its shape needs ", view.size()));
  }
  if constexpr (std::is_same_v<To, typename Field::value_type> &&
                !std::is_same_v<To, std::string>) {
    view.data = field.data();
  } else {
    Tensor copy(view.type, view.shape);
    To* to = static_cast<To*>(copy.mutable_data());
    for (int i = 0; i < field.size(); ++i) {
      if (!CopyElement(field[i], to[i])) {
        return check.Fault(index, absl::StrCat("value ", i, " in contents.", name, " is ", field[i],
                                               ", which the type cannot hold"));
      }
    }
    view.data = copy.data();
    out.copies.push_back(std::move(copy));
  }
  return absl::OkStatus();
}

absl::Status FromContents(const inference::InferTensorContents& contents, size_t index,
                          const InputCheck& check, TensorView& view, DecodedInputs& out) {
  const auto from = [&]<typename To>(To, const auto& field, absl::string_view name) {
    return FromValues<To>(field, name, index, check, view, out);
  };
  switch (view.type) {
    case DataType::kBool:
      return from(bool{}, contents.bool_contents(), "bool_contents");
    case DataType::kInt8:
      return from(int8_t{}, contents.int_contents(), "int_contents");
    case DataType::kInt16:
      return from(int16_t{}, contents.int_contents(), "int_contents");
    case DataType::kInt32:
      return from(int32_t{}, contents.int_contents(), "int_contents");
    case DataType::kInt64:
      return from(int64_t{}, contents.int64_contents(), "int64_contents");
    case DataType::kUint8:
      return from(uint8_t{}, contents.uint_contents(), "uint_contents");
    case DataType::kUint16:
      return from(uint16_t{}, contents.uint_contents(), "uint_contents");
    case DataType::kUint32:
      return from(uint32_t{}, contents.uint_contents(), "uint_contents");
    case DataType::kUint64:
      return from(uint64_t{}, contents.uint64_contents(), "uint64_contents");
    case DataType::kFloat:
      return from(float{}, contents.fp32_contents(), "fp32_contents");
    case DataType::kDouble:
      return from(double{}, contents.fp64_contents(), "fp64_contents");
    case DataType::kString:
      return from(std::string{}, contents.bytes_contents(), "bytes_contents");
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return check.Fault(index, "contents has no field for this type; use raw_input_contents");
    case DataType::kUndefined:
      break;
  }
  return check.Fault(index, "the type cannot be sent");
}

bool HasValues(const inference::InferTensorContents& c) {
  return c.bool_contents_size() > 0 || c.int_contents_size() > 0 || c.int64_contents_size() > 0 ||
         c.uint_contents_size() > 0 || c.uint64_contents_size() > 0 || c.fp32_contents_size() > 0 ||
         c.fp64_contents_size() > 0 || c.bytes_contents_size() > 0;
}

// Shared memory is asked for through parameters; to overlook it would run on wrong data.
template <typename Parameters>
absl::Status NoSharedMemory(const Parameters& parameters, absl::string_view tensor,
                            const serving::Servable& servable) {
  if (!parameters.contains("shared_memory_region")) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(Describe(servable), ": tensor \"", absl::CHexEscape(tensor.substr(0, 100)),
                   "\": shared memory is not supported; send the data in the message"));
}

// The output's parameter "classification"; 0 if it has none.
absl::StatusOr<int64_t> CountOfClasses(
    const inference::ModelInferRequest::InferRequestedOutputTensor& output,
    const serving::Servable& servable) {
  const auto found = output.parameters().find("classification");
  if (found == output.parameters().end()) return 0;
  const inference::InferParameter& parameter = found->second;
  int64_t count = -1;
  if (parameter.parameter_choice_case() == inference::InferParameter::kInt64Param) {
    count = parameter.int64_param();
  } else if (parameter.parameter_choice_case() == inference::InferParameter::kUint64Param) {
    constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    count = static_cast<int64_t>(std::min(parameter.uint64_param(), kMost));
  }
  if (count >= 0) return count;
  return absl::InvalidArgumentError(
      absl::StrCat(Describe(servable), ": output \"", output.name(),
                   "\": parameter \"classification\" must be an int64_param, the number of classes "
                   "that are wanted"));
}

}  // namespace

DataType FromOipType(absl::string_view name) {
  for (const TypeName& entry : kTypes) {
    if (entry.name == name) return entry.type;
  }
  return DataType::kUndefined;
}

std::string OipTypeName(DataType type) {
  for (const TypeName& entry : kTypes) {
    if (entry.type == type) return std::string(entry.name);
  }
  return DataTypeName(type);
}

absl::StatusOr<DecodedInputs> DecodeInferInputs(const inference::ModelInferRequest& request,
                                                const serving::Servable& servable,
                                                size_t max_tensor_bytes) {
  const std::vector<engine::ValueInfo>& infos = servable.signature().inputs;
  InputCheck check(servable, &OipTypeName, max_tensor_bytes);
  DecodedInputs out;
  out.views.reserve(infos.size());
  const auto names_fault = [&] {
    std::vector<absl::string_view> sent;
    for (const InferInput& input : request.inputs()) sent.push_back(input.name());
    return check.Names(sent);
  };
  if (static_cast<size_t>(request.inputs_size()) != infos.size()) return names_fault();
  const bool raw = request.raw_input_contents_size() > 0;
  if (raw && request.raw_input_contents_size() != request.inputs_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        Describe(servable), ": sent ", request.raw_input_contents_size(),
        " raw_input_contents for ", request.inputs_size(),
        " inputs; where raw_input_contents is used it has one entry for each input, in order"));
  }
  for (size_t i = 0; i < infos.size(); ++i) {
    const auto found =
        std::find_if(request.inputs().begin(), request.inputs().end(),
                     [&](const InferInput& input) { return input.name() == infos[i].name; });
    if (found == request.inputs().end()) return names_fault();
    RETURN_IF_ERROR(NoSharedMemory(found->parameters(), found->name(), servable));
    TensorView view;
    view.type = FromOipType(found->datatype());
    view.shape.assign(found->shape().begin(), found->shape().end());
    RETURN_IF_ERROR(
        check.Input(i, view.type, SentTypeName(found->datatype()), view.shape).status());
    if (raw) {
      if (HasValues(found->contents())) {
        return check.Fault(i, "has contents although the request uses raw_input_contents; use one");
      }
      const int position = static_cast<int>(found - request.inputs().begin());
      RETURN_IF_ERROR(FromRaw(request.raw_input_contents(position), i, check, view, out));
    } else {
      RETURN_IF_ERROR(FromContents(found->contents(), i, check, view, out));
    }
    out.views.push_back(std::move(view));
  }
  out.rows = check.rows();
  return out;
}

absl::StatusOr<WantedOutputs> InferOutputs(const inference::ModelInferRequest& request,
                                           const serving::Servable& servable) {
  const std::vector<engine::ValueInfo>& infos = servable.signature().outputs;
  WantedOutputs wanted;
  if (request.outputs().empty()) {
    for (size_t i = 0; i < infos.size(); ++i) wanted.push_back({i});
    return wanted;
  }
  for (const auto& output : request.outputs()) {
    const auto found = std::find_if(infos.begin(), infos.end(),
                                    [&](const auto& info) { return info.name == output.name(); });
    if (found == infos.end()) return UnknownOutput(servable, output.name());
    RETURN_IF_ERROR(NoSharedMemory(output.parameters(), output.name(), servable));
    WantedOutput one{static_cast<size_t>(found - infos.begin())};
    ASSIGN_OR_RETURN(one.classes, CountOfClasses(output, servable));
    const auto is_same = [&](const WantedOutput& other) { return other.index == one.index; };
    if (std::any_of(wanted.begin(), wanted.end(), is_same)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Describe(servable), ": output \"", output.name(), "\" is asked for twice"));
    }
    wanted.push_back(one);
  }
  return wanted;
}

void AppendBytesElement(absl::string_view element, std::string& raw) {
  const auto length = static_cast<uint32_t>(element.size());
  raw.append(reinterpret_cast<const char*>(&length), sizeof(length));
  raw.append(element.data(), element.size());
}

void AddInferOutput(const std::string& name, const TensorView& tensor,
                    inference::ModelInferResponse& response) {
  auto& output = *response.add_outputs();
  output.set_name(name);
  output.set_datatype(OipTypeName(tensor.type));
  output.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  std::string& raw = *response.add_raw_output_contents();
  if (tensor.type != DataType::kString) {
    raw.assign(static_cast<const char*>(tensor.data), tensor.bytes());
    return;
  }
  for (const std::string& element : tensor.values<std::string>()) AppendBytesElement(element, raw);
}

}  // namespace baton::api

#include "server/api/rest_infer.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "server/api/json_reader.h"
#include "server/api/json_tensor.h"
#include "server/api/json_writer.h"
#include "server/api/oip_codec.h"

namespace baton::api {
namespace {

using inference::InferParameter;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using Parameters = google::protobuf::Map<std::string, InferParameter>;

constexpr char kBinarySize[] = "binary_data_size";
constexpr char kBinary[] = "binary_data";
constexpr char kBinaryOutput[] = "binary_data_output";

std::string Describe(absl::string_view what, absl::string_view name) {
  return absl::StrCat(what, " \"", absl::CHexEscape(name.substr(0, 100)), "\"");
}

absl::Status ReadNumber(JsonReader& reader, InferParameter& out) {
  absl::string_view text;
  if (!reader.ReadNumber(text)) return reader.status();
  int64_t whole = 0;
  uint64_t large = 0;
  double real = 0;
  if (absl::SimpleAtoi(text, &whole)) {
    out.set_int64_param(whole);
  } else if (absl::SimpleAtoi(text, &large)) {
    out.set_uint64_param(large);
  } else if (absl::SimpleAtod(text, &real)) {
    out.set_double_param(real);
  }
  return absl::OkStatus();
}

// {"name": value, …}
absl::Status ReadParameters(JsonReader& reader, Parameters& out) {
  if (!reader.EnterObject()) return reader.status();
  std::string name;
  while (reader.NextKey(name)) {
    InferParameter& parameter = out[name];
    bool boolean = false;
    switch (reader.Peek()) {
      case JsonKind::kBool:
        if (!reader.ReadBool(boolean)) return reader.status();
        parameter.set_bool_param(boolean);
        break;
      case JsonKind::kNumber:
        RETURN_IF_ERROR(ReadNumber(reader, parameter));
        break;
      case JsonKind::kString:
        if (!reader.ReadString(*parameter.mutable_string_param())) return reader.status();
        break;
      default:
        return absl::InvalidArgumentError(
            absl::StrCat("at ", reader.Position(), ": ", Describe("parameter", name), " is ",
                         JsonKindName(reader.Peek()), ", expected a boolean, number or string"));
    }
  }
  return reader.status();
}

// Takes a parameter of the HTTP protocol alone out of `parameters`.
absl::StatusOr<std::optional<bool>> TakeBool(const char* name, Parameters& parameters) {
  const auto found = parameters.find(name);
  if (found == parameters.end()) return std::optional<bool>();
  if (found->second.parameter_choice_case() != InferParameter::kBoolParam) {
    return absl::InvalidArgumentError(
        absl::StrCat(Describe("parameter", name), " must be true or false"));
  }
  const bool value = found->second.bool_param();
  parameters.erase(found);
  return std::optional<bool>(value);
}

absl::StatusOr<std::optional<size_t>> TakeSize(const char* name, Parameters& parameters) {
  const auto found = parameters.find(name);
  if (found == parameters.end()) return std::optional<size_t>();
  if (found->second.parameter_choice_case() != InferParameter::kInt64Param ||
      found->second.int64_param() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(Describe("parameter", name), " must be a number of bytes"));
  }
  const auto value = static_cast<size_t>(found->second.int64_param());
  parameters.erase(found);
  return std::optional<size_t>(value);
}

// The strings of BYTES as they go over the wire: each a 4-byte length and its bytes.
std::string WithLengths(const std::vector<std::string>& strings) {
  std::string out;
  for (const std::string& text : strings) {
    const auto length = static_cast<uint32_t>(text.size());
    out.append(reinterpret_cast<const char*>(&length), sizeof(length));
    out.append(text);
  }
  return out;
}

class BodyReader {
 public:
  BodyReader(absl::string_view body, size_t json_size, size_t max_tensor_bytes,
             ModelInferRequest& request)
      : json_(body.substr(0, json_size)),
        binary_(body.substr(json_size)),
        max_tensor_bytes_(max_tensor_bytes),
        reader_(json_),
        request_(request) {}

  absl::StatusOr<InferForm> Read() {
    if (!reader_.EnterObject()) return reader_.status();
    std::string key;
    while (reader_.NextKey(key)) {
      if (key == "id") {
        if (!reader_.ReadString(*request_.mutable_id())) return reader_.status();
      } else if (key == "parameters") {
        RETURN_IF_ERROR(ReadParameters(reader_, *request_.mutable_parameters()));
      } else if (key == "inputs") {
        RETURN_IF_ERROR(ReadInputs());
      } else if (key == "outputs") {
        RETURN_IF_ERROR(ReadOutputs());
      } else if (!reader_.Skip()) {
        return reader_.status();
      }
    }
    if (!reader_.ReadEnd()) return reader_.status();
    ASSIGN_OR_RETURN(const auto binary, TakeBool(kBinaryOutput, *request_.mutable_parameters()));
    form_.binary = binary.value_or(false);
    if (binary_.empty()) return std::move(form_);
    return absl::InvalidArgumentError(
        absl::StrCat(binary_.size(), " bytes are left in the body after the JSON and the inputs' ",
                     "binary data; check ", kBinarySize, " and Inference-Header-Content-Length"));
  }

 private:
  absl::Status ReadInputs() {
    if (!reader_.EnterArray()) return reader_.status();
    while (reader_.NextElement()) {
      const int position = request_.inputs_size();
      auto& input = *request_.add_inputs();
      std::string& raw = *request_.add_raw_input_contents();
      const absl::Status status = ReadInput(input, raw);
      if (!status.ok()) {
        return Annotate(status, input.name().empty() ? absl::StrCat("inputs[", position, "]")
                                                     : Describe("input", input.name()));
      }
    }
    return reader_.status();
  }

  absl::Status ReadInput(ModelInferRequest::InferInputTensor& input, std::string& raw) {
    std::optional<size_t> data;  // where it begins
    bool read = false;
    if (!reader_.EnterObject()) return reader_.status();
    std::string key;
    while (reader_.NextKey(key)) {
      if (key == "name") {
        if (!reader_.ReadString(*input.mutable_name())) return reader_.status();
      } else if (key == "datatype") {
        if (!reader_.ReadString(*input.mutable_datatype())) return reader_.status();
      } else if (key == "shape") {
        RETURN_IF_ERROR(ReadShape(input));
      } else if (key == "parameters") {
        RETURN_IF_ERROR(ReadParameters(reader_, *input.mutable_parameters()));
      } else if (key == "data") {
        data = reader_.offset();
        // Most clients say the type before the data.
        read = !input.datatype().empty();
        if (read) {
          RETURN_IF_ERROR(ReadData(reader_, input, raw));
        } else if (!reader_.Skip()) {
          return reader_.status();
        }
      } else if (!reader_.Skip()) {
        return reader_.status();
      }
    }
    if (!reader_.ok()) return reader_.status();
    ASSIGN_OR_RETURN(const auto size, TakeSize(kBinarySize, *input.mutable_parameters()));
    if (size.has_value() == data.has_value()) {
      if (input.parameters().contains("shared_memory_region")) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat(data.has_value() ? "it has both" : "it has neither",
                       " \"data\" and the parameter ", kBinarySize, "; send one of them"));
    }
    if (size.has_value()) return TakeBinary(*size, raw);
    if (!read) {
      JsonReader again(json_, *data);
      RETURN_IF_ERROR(ReadData(again, input, raw));
    }
    return CheckCount(input);
  }

  absl::Status ReadShape(ModelInferRequest::InferInputTensor& input) {
    JsonElements elements;
    elements.type = DataType::kInt64;
    elements.most = 64;  // far more than any tensor's rank
    Shape shape;
    RETURN_IF_ERROR(Annotate(ReadElements(reader_, elements, &shape), "shape"));
    if (shape.size() != 1) {
      return absl::InvalidArgumentError("\"shape\" must be a list of sizes, such as [1,4]");
    }
    input.mutable_shape()->Resize(static_cast<int>(elements.count), 0);
    std::memcpy(input.mutable_shape()->mutable_data(), elements.bytes.data(),
                elements.bytes.size());
    return absl::OkStatus();
  }

  absl::Status ReadData(JsonReader& from, const ModelInferRequest::InferInputTensor& input,
                        std::string& raw) {
    JsonElements elements;
    elements.type = FromOipType(input.datatype());
    if (elements.type == DataType::kUndefined) {
      return from.Skip() ? absl::OkStatus() : from.status();  // whoever decodes it says so
    }
    if (elements.type == DataType::kFloat16 || elements.type == DataType::kBfloat16) {
      return absl::InvalidArgumentError(absl::StrCat("\"data\" cannot hold ", input.datatype(),
                                                     "; send it as binary data (", kBinarySize,
                                                     ")"));
    }
    elements.most = static_cast<int64_t>(max_tensor_bytes_ / DataTypeSize(elements.type));
    RETURN_IF_ERROR(Annotate(ReadElements(from, elements, nullptr), "data"));
    values_ = elements.count;
    raw = elements.type == DataType::kString ? WithLengths(elements.strings)
                                             : std::move(elements.bytes);
    return absl::OkStatus();
  }

  // In elements, which the caller knows, not in bytes.
  absl::Status CheckCount(const ModelInferRequest::InferInputTensor& input) const {
    const Shape shape(input.shape().begin(), input.shape().end());
    const absl::StatusOr<int64_t> needed = CheckedNumElements(shape);
    if (!needed.ok() || *needed == values_ ||
        FromOipType(input.datatype()) == DataType::kUndefined) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat("sent ", values_,
                                                   " values in \"data\", its shape ",
                                                   ShapeToString(shape), " needs ", *needed));
  }

  absl::Status TakeBinary(size_t size, std::string& raw) {
    if (size > binary_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(kBinarySize, " is ", size, ", but ", binary_.size(),
                       " bytes follow the JSON and the data of the inputs before it; check "
                       "Inference-Header-Content-Length"));
    }
    raw.assign(binary_.data(), size);
    binary_.remove_prefix(size);
    return absl::OkStatus();
  }

  absl::Status ReadOutputs() {
    if (!reader_.EnterArray()) return reader_.status();
    while (reader_.NextElement()) {
      auto& output = *request_.add_outputs();
      if (!reader_.EnterObject()) return reader_.status();
      std::string key;
      while (reader_.NextKey(key)) {
        if (key == "name") {
          if (!reader_.ReadString(*output.mutable_name())) return reader_.status();
        } else if (key == "parameters") {
          RETURN_IF_ERROR(ReadParameters(reader_, *output.mutable_parameters()));
        } else if (!reader_.Skip()) {
          return reader_.status();
        }
      }
      if (!reader_.ok()) return reader_.status();
      const auto binary = TakeBool(kBinary, *output.mutable_parameters());
      if (!binary.ok()) return Annotate(binary.status(), Describe("output", output.name()));
      if (binary->has_value()) form_.outputs[output.name()] = **binary;
    }
    return reader_.status();
  }

  const absl::string_view json_;
  absl::string_view binary_;  // what no input has taken yet
  const size_t max_tensor_bytes_;
  JsonReader reader_;
  ModelInferRequest& request_;
  InferForm form_;
  int64_t values_ = 0;  // in the data read last
};

}  // namespace

bool InferForm::IsBinary(const std::string& output) const {
  const auto found = outputs.find(output);
  return found == outputs.end() ? binary : found->second;
}

absl::StatusOr<InferForm> ReadInferBody(absl::string_view body, std::optional<size_t> json_size,
                                        size_t max_tensor_bytes, ModelInferRequest& request) {
  const size_t size = json_size.value_or(body.size());
  if (size > body.size()) {
    return absl::InvalidArgumentError(absl::StrCat("Inference-Header-Content-Length is ", size,
                                                   ", but the body has ", body.size(), " bytes"));
  }
  return BodyReader(body, size, max_tensor_bytes, request).Read();
}

namespace {

// REQUIRES: `raw` as AddInferOutput makes it.
std::vector<std::string> SplitStrings(absl::string_view raw) {
  std::vector<std::string> strings;
  while (raw.size() >= sizeof(uint32_t)) {
    uint32_t length = 0;
    std::memcpy(&length, raw.data(), sizeof(length));
    raw.remove_prefix(sizeof(length));
    strings.emplace_back(raw.substr(0, length));
    raw.remove_prefix(strings.back().size());
  }
  return strings;
}

absl::Status AppendData(const ModelInferResponse::InferOutputTensor& output, const std::string& raw,
                        std::string& out) {
  TensorView view;
  view.type = FromOipType(output.datatype());
  view.data = raw.data();
  const auto fault = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat(Describe("output", output.name()), " ", why,
                     ", which JSON cannot hold; ask for it as binary data (\"parameters\": {\"",
                     kBinary, "\": true})"));
  };
  if (view.type == DataType::kFloat16 || view.type == DataType::kBfloat16) {
    return fault(absl::StrCat("is ", output.datatype()));
  }
  const Shape shape(output.shape().begin(), output.shape().end());
  const int64_t size = NumElements(shape);
  std::vector<std::string> strings;
  if (view.type == DataType::kString) {
    strings = SplitStrings(raw);
    view.data = strings.data();
    if (!std::all_of(strings.begin(), strings.end(),
                     [](const auto& text) { return IsUtf8(text); })) {
      return fault("has strings that are not UTF-8");
    }
  }
  AppendJsonValues(view, {size}, 0, JsonStrings::kText, out);
  return absl::OkStatus();
}

// In the order of their names, which a map on the wire does not have.
using SortedParameters = std::map<std::string, InferParameter>;

SortedParameters Sorted(const Parameters& parameters) {
  return SortedParameters(parameters.begin(), parameters.end());
}

// Nothing for none.
void AppendParameters(const SortedParameters& parameters, std::string& out) {
  if (parameters.empty()) return;
  out.append(",\"parameters\":{");
  for (const auto& [name, parameter] : parameters) {
    if (out.back() != '{') out.push_back(',');
    AppendJsonString(name, out);
    out.push_back(':');
    switch (parameter.parameter_choice_case()) {
      case InferParameter::kBoolParam:
        out.append(parameter.bool_param() ? "true" : "false");
        break;
      case InferParameter::kInt64Param:
        absl::StrAppend(&out, parameter.int64_param());
        break;
      case InferParameter::kUint64Param:
        absl::StrAppend(&out, parameter.uint64_param());
        break;
      case InferParameter::kDoubleParam:
        AppendJsonNumber(parameter.double_param(), out);
        break;
      default:
        AppendJsonString(parameter.string_param(), out);
    }
  }
  out.push_back('}');
}

}  // namespace

absl::StatusOr<InferReply> WriteInferReply(const ModelInferResponse& response,
                                           const InferForm& form) {
  std::string out = "{\"model_name\":";
  AppendJsonString(response.model_name(), out);
  out.append(",\"model_version\":");
  AppendJsonString(response.model_version(), out);
  if (!response.id().empty()) {
    out.append(",\"id\":");
    AppendJsonString(response.id(), out);
  }
  AppendParameters(Sorted(response.parameters()), out);
  out.append(",\"outputs\":[");
  std::string binary;
  bool any_binary = false;
  for (int i = 0; i < response.outputs_size(); ++i) {
    const auto& output = response.outputs(i);
    const std::string& raw = response.raw_output_contents(i);
    out.append(i == 0 ? "{\"name\":" : ",{\"name\":");
    AppendJsonString(output.name(), out);
    out.append(",\"datatype\":");
    AppendJsonString(output.datatype(), out);
    absl::StrAppend(&out, ",\"shape\":[", absl::StrJoin(output.shape(), ","), "]");
    SortedParameters parameters = Sorted(output.parameters());
    const bool is_binary = form.IsBinary(output.name());
    if (is_binary) parameters[kBinarySize].set_int64_param(static_cast<int64_t>(raw.size()));
    AppendParameters(parameters, out);
    if (is_binary) {
      any_binary = true;
      binary.append(raw);
    } else {
      out.append(",\"data\":");
      RETURN_IF_ERROR(AppendData(output, raw, out));
    }
    out.push_back('}');
  }
  out.append("]}");
  InferReply reply;
  if (any_binary) reply.json_size = out.size();
  out.append(binary);
  reply.body = std::move(out);
  return reply;
}

}  // namespace baton::api

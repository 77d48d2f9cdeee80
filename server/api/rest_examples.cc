#include "server/api/rest_examples.h"

#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/json_reader.h"
#include "server/api/json_tensor.h"
#include "server/api/json_writer.h"

namespace baton::api {
namespace {

using tensorflow::Feature;

// An integer as JSON writes it; else it is a float.
bool IsInteger(absl::string_view number) {
  return number.find_first_of(".eEIN") == absl::string_view::npos;
}

// The feature's list takes values of `kind` only.
absl::Status CheckKind(Feature::KindCase kind, absl::string_view found, const JsonReader& reader,
                       const Feature& feature) {
  if (feature.kind_case() == Feature::KIND_NOT_SET || feature.kind_case() == kind) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("at ", reader.Position(), ": found ", found,
                   " after values of another type; all values of "
                   "a feature are integers, or numbers with a point, or strings"));
}

// Elements of one type, through the reader of tensors.
absl::Status ReadOne(JsonReader& reader, DataType type, JsonElements& out) {
  out.type = type;
  out.base64 = true;
  out.most = 1;
  Shape shape;
  return ReadElements(reader, out, &shape);
}

template <typename T>
T OnlyElement(const JsonElements& elements) {
  T value{};
  std::memcpy(&value, elements.bytes.data(), sizeof(value));
  return value;
}

absl::Status ReadNumber(JsonReader& reader, Feature& feature) {
  absl::string_view text;
  JsonReader ahead = reader;
  if (!ahead.ReadNumber(text)) return ahead.status();
  JsonElements element;
  if (IsInteger(text)) {
    RETURN_IF_ERROR(CheckKind(Feature::kInt64List, "an integer", reader, feature));
    RETURN_IF_ERROR(ReadOne(reader, DataType::kInt64, element));
    feature.mutable_int64_list()->add_value(OnlyElement<int64_t>(element));
  } else {
    RETURN_IF_ERROR(CheckKind(Feature::kFloatList, "a number with a point", reader, feature));
    RETURN_IF_ERROR(ReadOne(reader, DataType::kFloat, element));
    feature.mutable_float_list()->add_value(OnlyElement<float>(element));
  }
  return absl::OkStatus();
}

absl::Status ReadValue(JsonReader& reader, Feature& feature) {
  switch (reader.Peek()) {
    case JsonKind::kNumber:
      return ReadNumber(reader, feature);
    case JsonKind::kBool: {
      bool value = false;
      RETURN_IF_ERROR(CheckKind(Feature::kInt64List, "a boolean", reader, feature));
      if (!reader.ReadBool(value)) return reader.status();
      feature.mutable_int64_list()->add_value(value ? 1 : 0);
      return absl::OkStatus();
    }
    case JsonKind::kString:
    case JsonKind::kObject: {
      JsonElements element;
      RETURN_IF_ERROR(CheckKind(Feature::kBytesList, "a string", reader, feature));
      RETURN_IF_ERROR(ReadOne(reader, DataType::kString, element));
      feature.mutable_bytes_list()->add_value(std::move(element.strings[0]));
      return absl::OkStatus();
    }
    default:
      return absl::InvalidArgumentError(absl::StrCat("at ", reader.Position(), ": found ",
                                                     JsonKindName(reader.Peek()),
                                                     ", expected a number, a boolean or a string"));
  }
}

absl::Status ReadFeature(JsonReader& reader, Feature& feature) {
  if (reader.Peek() != JsonKind::kArray) return ReadValue(reader, feature);
  reader.EnterArray();
  while (reader.NextElement()) RETURN_IF_ERROR(ReadValue(reader, feature));
  return reader.status();
}

absl::Status ReadExample(JsonReader& reader, tensorflow::Example& example) {
  if (!reader.EnterObject()) return reader.status();
  std::string name;
  while (reader.NextKey(name)) {
    auto& features = *example.mutable_features()->mutable_feature();
    const std::string context =
        absl::StrCat("feature \"", absl::CHexEscape(absl::string_view(name).substr(0, 100)), "\"");
    if (features.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat(context, " is there twice"));
    }
    RETURN_IF_ERROR(Annotate(ReadFeature(reader, features[name]), context));
  }
  return reader.status();
}

}  // namespace

absl::Status ReadExamplesBody(absl::string_view body, std::string& signature_name,
                              tensorflow::serving::Input& input) {
  JsonReader reader(body);
  if (!reader.EnterObject()) return reader.status();
  tensorflow::serving::ExampleListWithContext read;
  std::string key;
  while (reader.NextKey(key)) {
    if (key == "signature_name") {
      if (!reader.ReadString(signature_name)) return reader.status();
    } else if (key == "context") {
      RETURN_IF_ERROR(Annotate(ReadExample(reader, *read.mutable_context()), "context"));
    } else if (key == "examples") {
      if (!reader.EnterArray()) return reader.status();
      while (reader.NextElement()) {
        const std::string context = absl::StrCat("examples[", read.examples_size(), "]");
        RETURN_IF_ERROR(Annotate(ReadExample(reader, *read.add_examples()), context));
      }
    } else if (!reader.Skip()) {
      return reader.status();
    }
  }
  if (!reader.ReadEnd()) return reader.status();
  if (read.examples().empty()) {
    return absl::InvalidArgumentError(
        "the body has no examples; send \"examples\": a list of objects with the features by name");
  }
  if (read.has_context()) {
    *input.mutable_example_list_with_context() = std::move(read);
  } else {
    input.mutable_example_list()->mutable_examples()->Swap(read.mutable_examples());
  }
  return absl::OkStatus();
}

std::string ClassifyReply(const tensorflow::serving::ClassificationResponse& response) {
  std::string out = "{\"results\":[";
  for (const auto& classifications : response.result().classifications()) {
    if (out.back() != '[') out.push_back(',');
    out.push_back('[');
    for (const tensorflow::serving::Class& one : classifications.classes()) {
      if (out.back() != '[') out.push_back(',');
      out.push_back('[');
      AppendJsonString(one.label(), out);
      out.push_back(',');
      AppendJsonNumber(one.score(), out);
      out.push_back(']');
    }
    out.push_back(']');
  }
  out.append("]}\n");
  return out;
}

std::string RegressReply(const tensorflow::serving::RegressionResponse& response) {
  std::string out = "{\"results\":[";
  for (const tensorflow::serving::Regression& one : response.result().regressions()) {
    if (out.back() != '[') out.push_back(',');
    AppendJsonNumber(one.value(), out);
  }
  out.append("]}\n");
  return out;
}

}  // namespace baton::api

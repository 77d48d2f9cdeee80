#include "server/repository/signatures.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/file.h"
#include "engine/base/nearest_word.h"
#include "engine/base/status.h"
#include "server/repository/model_config.h"

namespace baton::repository {
namespace {

using nlohmann::json;

constexpr SignatureMethod kMethods[] = {SignatureMethod::kPredict, SignatureMethod::kClassify,
                                        SignatureMethod::kRegress};
constexpr size_t kMostSignatures = 1000;

// What was found, as JSON of bounded length.
std::string Found(const json& value) {
  constexpr size_t kLongest = 60;
  const std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= kLongest ? text : absl::StrCat(text.substr(0, kLongest), "…");
}

absl::Status Wrong(absl::string_view key, const json& found, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", key, "\" is ", Found(found), "; expected ", expected));
}

// kInvalidArgument if `object` has a key that is not in `known`.
absl::Status CheckKeys(const json& object, const std::vector<std::string>& known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string nearest = NearestWord(key, known);
    return absl::InvalidArgumentError(
        absl::StrCat("unknown key \"", key, "\"; ",
                     nearest.empty() ? absl::StrCat("expected \"", absl::StrJoin(known, "\", \""))
                                     : absl::StrCat("did you mean \"", nearest),
                     nearest.empty() ? "\"" : "\"?"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> NonEmptyString(const json& value, absl::string_view key) {
  if (value.is_string() && !value.get<std::string>().empty()) return value.get<std::string>();
  return Wrong(key, value, "a string that is not empty");
}

// The string at `key`, or "" where there is none.
absl::StatusOr<std::string> OptionalString(const json& object, const char* key) {
  if (!object.contains(key)) return std::string();
  return NonEmptyString(object[key], key);
}

absl::StatusOr<DefaultValues> ParseDefault(const json& value) {
  static constexpr char kExpected[] = "a number or string, or a list of either that is not empty";
  const json list = value.is_array() ? value : json::array({value});
  const auto all = [&](auto is) { return std::all_of(list.begin(), list.end(), is); };
  if (list.empty()) return Wrong("default", value, kExpected);
  if (all([](const json& v) { return v.is_string(); })) {
    return DefaultValues(list.get<std::vector<std::string>>());
  }
  const auto is_int64 = [](const json& v) {
    return v.is_number_integer() &&
           (!v.is_number_unsigned() ||
            v.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  };
  if (all(is_int64)) return DefaultValues(list.get<std::vector<int64_t>>());
  if (all([](const json& v) { return v.is_number(); })) {
    return DefaultValues(list.get<std::vector<double>>());
  }
  return Wrong("default", value, kExpected);
}

absl::Status ParseInputs(const json& inputs, Signature& signature) {
  if (!inputs.is_object()) return Wrong("inputs", inputs, "an object, by the model's input");
  const char* const source = signature.method == SignatureMethod::kPredict ? "name" : "feature";
  for (const auto& [tensor, value] : inputs.items()) {
    const std::string key = absl::StrCat("inputs.", tensor);
    SignatureInput input;
    input.source = tensor;
    if (value.is_object()) {
      RETURN_IF_ERROR(Annotate(CheckKeys(value, {source, "default"}), key));
      if (value.contains(source)) {
        ASSIGN_OR_RETURN(input.source,
                         NonEmptyString(value[source], absl::StrCat(key, ".", source)));
      }
      if (value.contains("default")) {
        absl::StatusOr<DefaultValues> missing = ParseDefault(value["default"]);
        if (!missing.ok()) return Annotate(missing.status(), key);
        input.missing = *std::move(missing);
      }
    } else {
      ASSIGN_OR_RETURN(input.source, NonEmptyString(value, key));
    }
    signature.inputs[tensor] = std::move(input);
  }
  return absl::OkStatus();
}

absl::Status ParseOutputs(const json& outputs, Signature& signature) {
  if (outputs.empty() || !outputs.is_structured()) {
    return Wrong("outputs", outputs,
                 "an object {output: name in replies} or a list of outputs, not empty");
  }
  std::set<std::string> names;
  for (const auto& [key, value] : outputs.items()) {
    ASSIGN_OR_RETURN(std::string name, NonEmptyString(value, absl::StrCat("outputs.", key)));
    if (!names.insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat("\"outputs\" has \"", name, "\" twice"));
    }
    std::string tensor = outputs.is_array() ? name : key;
    signature.outputs.emplace_back(std::move(tensor), std::move(name));
  }
  return absl::OkStatus();
}

absl::Status ParseClassify(const json& object, Signature& signature) {
  ASSIGN_OR_RETURN(signature.scores, OptionalString(object, "scores"));
  ASSIGN_OR_RETURN(signature.classes, OptionalString(object, "classes"));
  ASSIGN_OR_RETURN(signature.labels_file, OptionalString(object, "labels_file"));
  int sources = !signature.classes.empty() + !signature.labels_file.empty();
  if (object.contains("labels")) {
    ++sources;
    const json& labels = object["labels"];
    const bool strings = labels.is_array() && !labels.empty() &&
                         std::all_of(labels.begin(), labels.end(),
                                     [](const json& label) { return label.is_string(); });
    if (!strings) return Wrong("labels", labels, "a list of strings, one for each class");
    signature.labels = labels.get<std::vector<std::string>>();
  }
  if (sources <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the names of classes come from one of \"classes\", \"labels\" and \"labels_file\"");
}

absl::StatusOr<Signature> ParseSignature(const json& object) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is ", Found(object), "; expected an object with \"method\""));
  }
  Signature signature;
  if (object.contains("method")) {
    const auto method = std::find_if(
        std::begin(kMethods), std::end(kMethods),
        [&](SignatureMethod m) { return object["method"] == std::string(SignatureMethodName(m)); });
    if (method == std::end(kMethods)) {
      return Wrong("method", object["method"], "\"predict\", \"classify\" or \"regress\"");
    }
    signature.method = *method;
  }
  switch (signature.method) {
    case SignatureMethod::kPredict:
      RETURN_IF_ERROR(CheckKeys(object, {"method", "inputs", "outputs"}));
      if (object.contains("outputs")) RETURN_IF_ERROR(ParseOutputs(object["outputs"], signature));
      break;
    case SignatureMethod::kClassify:
      RETURN_IF_ERROR(
          CheckKeys(object, {"method", "inputs", "scores", "classes", "labels", "labels_file"}));
      RETURN_IF_ERROR(ParseClassify(object, signature));
      break;
    case SignatureMethod::kRegress:
      RETURN_IF_ERROR(CheckKeys(object, {"method", "inputs", "output"}));
      ASSIGN_OR_RETURN(signature.output, OptionalString(object, "output"));
      break;
  }
  if (object.contains("inputs")) RETURN_IF_ERROR(ParseInputs(object["inputs"], signature));
  return signature;
}

std::vector<std::string> NamesOf(const std::vector<TensorSpec>& tensors) {
  std::vector<std::string> names;
  for (const TensorSpec& tensor : tensors) names.push_back(tensor.name);
  return names;
}

absl::StatusOr<const TensorSpec*> FindTensor(const std::vector<TensorSpec>& tensors,
                                             const std::string& name, absl::string_view kind) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const TensorSpec& t) { return t.name == name; });
  if (found != tensors.end()) return &*found;
  const std::vector<std::string> names = NamesOf(tensors);
  const std::string nearest = NearestWord(name, names);
  return absl::InvalidArgumentError(
      absl::StrCat("the model has no ", kind, " \"", name, "\"",
                   nearest.empty() ? "" : absl::StrCat(" (did you mean \"", nearest, "\"?)"),
                   "; it has \"", absl::StrJoin(names, "\", \""), "\""));
}

bool IsFloat(DataType type) {
  return type == DataType::kFloat || type == DataType::kDouble || type == DataType::kFloat16 ||
         type == DataType::kBfloat16;
}

std::string Describe(const TensorSpec& tensor) {
  return absl::StrCat("\"", tensor.name, "\" (", DataTypeName(tensor.type),
                      tensor.has_rank ? ShapeToString(tensor.dims) : " of any shape", ")");
}

// Elements of one row, or of the whole input where its first dimension is fixed; -1: not fixed.
int64_t RowElements(const TensorSpec& tensor) {
  if (!tensor.has_rank) return -1;
  int64_t elements = 1;
  for (size_t d = 0; d < tensor.dims.size(); ++d) {
    if (d == 0 && tensor.dims[d] == -1) continue;
    if (tensor.dims[d] == -1) return -1;
    elements *= tensor.dims[d];
  }
  return elements;
}

absl::Status CheckDefault(const DefaultValues& values, const TensorSpec& input) {
  const bool strings = std::holds_alternative<std::vector<std::string>>(values);
  const bool whole = std::holds_alternative<std::vector<int64_t>>(values);
  if (strings != (input.type == DataType::kString) ||
      (!whole && !strings && !IsFloat(input.type))) {
    return absl::InvalidArgumentError(absl::StrCat("the default of input ", Describe(input), " is ",
                                                   strings ? "a string"
                                                   : input.type == DataType::kString
                                                       ? "a number"
                                                       : "a number that is not whole"));
  }
  const size_t count = std::visit([](const auto& list) { return list.size(); }, values);
  const int64_t needed = RowElements(input);
  if (count == 1 || needed < 0 || static_cast<int64_t>(count) == needed) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the default of input ", Describe(input), " has ",
                                                 count, " values; expected 1 or ", needed));
}

// `expected` says what an output has to be; `shape_fits` whether its dims are that.
template <typename TypeFits, typename ShapeFits>
absl::Status CheckOutput(const TensorSpec& output, absl::string_view expected, TypeFits type_fits,
                         ShapeFits shape_fits) {
  if (type_fits(output.type) && (!output.has_rank || shape_fits(output.dims))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("output ", Describe(output), " cannot be ", expected));
}

absl::Status CheckInputs(const Signature& signature, const std::vector<TensorSpec>& model_inputs) {
  std::set<std::string> sources;
  for (const auto& [tensor, input] : signature.inputs) {
    ASSIGN_OR_RETURN(const TensorSpec* actual, FindTensor(model_inputs, tensor, "input"));
    if (input.missing.has_value()) RETURN_IF_ERROR(CheckDefault(*input.missing, *actual));
  }
  for (const TensorSpec& tensor : model_inputs) {
    const auto named = signature.inputs.find(tensor.name);
    const std::string& source =
        named == signature.inputs.end() ? tensor.name : named->second.source;
    if (sources.insert(source).second || signature.method != SignatureMethod::kPredict) continue;
    return absl::InvalidArgumentError(absl::StrCat("two inputs are called \"", source,
                                                   "\" in requests; give each a name of its own"));
  }
  return absl::OkStatus();
}

absl::Status CheckClassify(const Signature& signature,
                           const std::vector<TensorSpec>& model_outputs) {
  const auto is_matrix = [](const std::vector<int64_t>& dims) { return dims.size() == 2; };
  const TensorSpec* classes = nullptr;
  const TensorSpec* scores = nullptr;
  if (!signature.classes.empty()) {
    ASSIGN_OR_RETURN(classes, FindTensor(model_outputs, signature.classes, "output"));
    RETURN_IF_ERROR(CheckOutput(
        *classes, "classes: these are strings[N,C]",
        [](DataType type) { return type == DataType::kString; }, is_matrix));
  }
  if (!signature.scores.empty() || classes == nullptr) {
    ASSIGN_OR_RETURN(const size_t index, MainOutput(signature, NamesOf(model_outputs)));
    scores = &model_outputs[index];
    RETURN_IF_ERROR(CheckOutput(*scores, "scores: these are float[N,C]", &IsFloat, is_matrix));
  }
  if (signature.labels.empty() || !scores->has_rank || scores->dims[1] == -1 ||
      scores->dims[1] == static_cast<int64_t>(signature.labels.size())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(signature.labels_file.empty() ? "\"labels\"" : signature.labels_file, " has ",
                   signature.labels.size(), " labels; output ", Describe(*scores), " has ",
                   scores->dims[1], " classes"));
}

absl::Status CheckSignature(const Signature& signature, const std::vector<TensorSpec>& model_inputs,
                            const std::vector<TensorSpec>& model_outputs) {
  RETURN_IF_ERROR(CheckInputs(signature, model_inputs));
  switch (signature.method) {
    case SignatureMethod::kPredict:
      for (const auto& [tensor, name] : signature.outputs) {
        RETURN_IF_ERROR(FindTensor(model_outputs, tensor, "output").status());
      }
      return absl::OkStatus();
    case SignatureMethod::kClassify:
      return CheckClassify(signature, model_outputs);
    case SignatureMethod::kRegress:
      break;
  }
  ASSIGN_OR_RETURN(const size_t index, MainOutput(signature, NamesOf(model_outputs)));
  return CheckOutput(model_outputs[index], "a regression: that is float[N] or float[N,1]", &IsFloat,
                     [](const std::vector<int64_t>& dims) {
                       return dims.size() == 1 ||
                              (dims.size() == 2 && (dims[1] == 1 || dims[1] == -1));
                     });
}

}  // namespace

absl::string_view SignatureMethodName(SignatureMethod method) {
  switch (method) {
    case SignatureMethod::kPredict:
      return "predict";
    case SignatureMethod::kClassify:
      return "classify";
    case SignatureMethod::kRegress:
      return "regress";
  }
  return "";
}

absl::StatusOr<Signatures> ParseSignatures(absl::string_view text) {
  json map;
  try {
    map = json::parse(text.begin(), text.end());
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("it is not JSON: ", error.what()));
  }
  if (!map.is_object() || map.size() > kMostSignatures) {
    return absl::InvalidArgumentError(absl::StrCat("it is ", Found(map),
                                                   "; expected an object of at most ",
                                                   kMostSignatures, " signatures by name"));
  }
  Signatures signatures;
  for (const auto& [name, object] : map.items()) {
    if (name.empty()) return absl::InvalidArgumentError("a signature has the empty name");
    absl::StatusOr<Signature> signature = ParseSignature(object);
    if (!signature.ok()) {
      return Annotate(signature.status(), absl::StrCat("signature \"", name, "\""));
    }
    signatures[name] = *std::move(signature);
  }
  return signatures;
}

absl::Status CheckSignatures(const Signatures& signatures,
                             const std::vector<TensorSpec>& model_inputs,
                             const std::vector<TensorSpec>& model_outputs) {
  for (const auto& [name, signature] : signatures) {
    RETURN_IF_ERROR(Annotate(CheckSignature(signature, model_inputs, model_outputs),
                             absl::StrCat("signature \"", name, "\"")));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> MainOutput(const Signature& signature,
                                  const std::vector<std::string>& model_outputs) {
  const bool regress = signature.method == SignatureMethod::kRegress;
  const std::string& name = regress ? signature.output : signature.scores;
  if (name.empty() && model_outputs.size() == 1) return 0;
  const auto found = std::find(model_outputs.begin(), model_outputs.end(), name);
  if (found != model_outputs.end()) return static_cast<size_t>(found - model_outputs.begin());
  return absl::InvalidArgumentError(
      absl::StrCat(name.empty() ? absl::StrCat("the model has several outputs; name one with \"",
                                               regress ? "output" : "scores", "\"")
                                : absl::StrCat("the model has no output \"", name, "\""),
                   ": it has \"", absl::StrJoin(model_outputs, "\", \""), "\""));
}

absl::StatusOr<std::vector<std::string>> ReadLabels(const std::string& model_path,
                                                    const std::string& file) {
  ASSIGN_OR_RETURN(const std::string path, ResolveInside(model_path, file));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<std::string> labels;
  for (absl::string_view line : absl::StrSplit(absl::StripSuffix(text, "\n"), '\n')) {
    labels.emplace_back(absl::StripSuffix(line, "\r"));
  }
  if (labels.size() > 1 || !labels.front().empty()) return labels;
  return absl::InvalidArgumentError(
      absl::StrCat(path, " is empty; expected the label of one class on each line"));
}

}  // namespace baton::repository

#include "server/repository/model_config.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "proto/model_config.pb.h"
#include "server/repository/scan.h"
#include "server/repository/text_errors.h"

namespace baton::repository {
namespace {

namespace pb = google::protobuf;

// What Baton honours, by path; everything below a path is honoured with it.
constexpr absl::string_view kHonoured[] = {
    "name",
    "platform",
    "backend",
    "version_policy",
    "max_batch_size",
    "input.name",
    "input.data_type",
    "input.dims",
    "output.name",
    "output.data_type",
    "output.dims",
    "output.label_filename",
    "parameters",
    "instance_group.count",
    "dynamic_batching.preferred_batch_size",
    "dynamic_batching.max_queue_delay_microseconds",
    "dynamic_batching.default_queue_policy",
    "dynamic_batching.priority_levels",
    "dynamic_batching.priority_queue_policy",
    "dynamic_batching.default_priority_level",
    "model_warmup",
};
constexpr absl::string_view kPlatforms[] = {"onnxruntime_onnx"};
constexpr absl::string_view kBackends[] = {"onnxruntime", "onnxruntime_onnx", "baton"};
constexpr absl::string_view kPrecisions[] = {"f32", "bf16", "int8", "auto"};
constexpr char kPrecisionKey[] = "precision";
constexpr char kSwapKey[] = "swap";
constexpr absl::string_view kSwaps[] = {"load_first", "unload_first"};
constexpr char kLatencyTargetKey[] = "latency_target_ms";
constexpr double kMinLatencyTargetMs = 0.001, kMaxLatencyTargetMs = 3'600'000;
constexpr char kSignaturesKey[] = "signatures";
constexpr char kLabelPrefix[] = "label.";

struct TypeRow {
  inference::DataType config;
  DataType type;
};
constexpr TypeRow kTypes[] = {
    {inference::TYPE_BOOL, DataType::kBool},     {inference::TYPE_UINT8, DataType::kUint8},
    {inference::TYPE_UINT16, DataType::kUint16}, {inference::TYPE_UINT32, DataType::kUint32},
    {inference::TYPE_UINT64, DataType::kUint64}, {inference::TYPE_INT8, DataType::kInt8},
    {inference::TYPE_INT16, DataType::kInt16},   {inference::TYPE_INT32, DataType::kInt32},
    {inference::TYPE_INT64, DataType::kInt64},   {inference::TYPE_FP16, DataType::kFloat16},
    {inference::TYPE_FP32, DataType::kFloat},    {inference::TYPE_FP64, DataType::kDouble},
    {inference::TYPE_STRING, DataType::kString}, {inference::TYPE_BF16, DataType::kBfloat16},
};

// "TYPE_FP32", as a config writes it.
std::string TypeName(DataType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return inference::DataType_Name(row.config);
  }
  return DataTypeName(type);
}

// kUndefined for TYPE_INVALID and numbers that are no type.
DataType FromConfig(inference::DataType type) {
  for (const TypeRow& row : kTypes) {
    if (row.config == type) return row.type;
  }
  return DataType::kUndefined;
}

absl::Status NoDataType(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, " has no data_type; expected one such as TYPE_FP32"));
}

std::string Describe(const TensorSpec& tensor) {
  return absl::StrCat(TypeName(tensor.type), " ",
                      tensor.has_rank ? ShapeToString(tensor.dims) : "of any shape");
}

template <typename Range>
bool Contains(const Range& range, absl::string_view value) {
  return std::find(std::begin(range), std::end(range), value) != std::end(range);
}

// Adds to `found` the paths of all fields that are set in `message` and not honoured.
void FindNotHonoured(const pb::Message& message, const std::string& prefix,
                     std::set<std::string>& found) {
  const pb::Reflection& reflection = *message.GetReflection();
  std::vector<const pb::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    const std::string path = prefix + field->name();
    if (Contains(kHonoured, path)) continue;
    const bool is_message =
        field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE && !field->is_map();
    const bool partly_honoured = std::any_of(
        std::begin(kHonoured), std::end(kHonoured),
        [&](absl::string_view honoured) { return absl::StartsWith(honoured, path + "."); });
    if (is_message && partly_honoured) {
      if (field->is_repeated()) {
        for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
          FindNotHonoured(reflection.GetRepeatedMessage(message, field, i), path + ".", found);
        }
      } else {
        FindNotHonoured(reflection.GetMessage(message, field), path + ".", found);
      }
      continue;
    }
    // "response_cache { enable: false }" asks for nothing; an empty choice of scheduler does.
    const bool asks_for_nothing = is_message && !field->is_repeated() &&
                                  field->containing_oneof() == nullptr &&
                                  reflection.GetMessage(message, field).ByteSizeLong() == 0;
    if (!asks_for_nothing) found.insert(path);
  }
}

std::vector<std::string> Warnings(const inference::ModelConfig& message, const std::string& path) {
  std::set<std::string> fields;
  FindNotHonoured(message, "", fields);
  if (message.default_model_filename() == kModelFile) fields.erase("default_model_filename");
  const bool on_cpu = std::all_of(
      message.instance_group().begin(), message.instance_group().end(), [](const auto& group) {
        return group.kind() == inference::ModelInstanceGroup::KIND_CPU ||
               group.kind() == inference::ModelInstanceGroup::KIND_AUTO;
      });
  if (on_cpu) fields.erase("instance_group.kind");
  const inference::ModelDynamicBatching& batching = message.dynamic_batching();
  if (batching.priority_levels() == 0 && !batching.priority_queue_policy().empty()) {
    fields.insert("dynamic_batching.priority_queue_policy");
  }
  for (const auto& [key, value] : message.parameters()) {
    if (key == kPrecisionKey || key == kSignaturesKey || key == kSwapKey ||
        key == kLatencyTargetKey || IsLengthOption(key) || absl::StartsWith(key, kLabelPrefix) ||
        absl::StartsWith(key, kRolloutPrefix)) {
      continue;
    }
    fields.insert(absl::StrCat("parameters[", key, "]"));
  }
  std::vector<std::string> warnings;
  for (const std::string& field : fields) {
    warnings.push_back(
        absl::StrCat(path, ": field \"", field, "\" is not honoured and has no effect"));
  }
  return warnings;
}

// ModelInput and ModelOutput; `kind` is "input" or "output".
template <typename Repeated>
absl::StatusOr<std::vector<TensorSpec>> ConvertTensors(const Repeated& tensors,
                                                       absl::string_view kind) {
  std::vector<TensorSpec> specs;
  std::set<std::string> names;
  for (const auto& tensor : tensors) {
    if (tensor.name().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(kind, "[", specs.size(), "] has no name; every ", kind, " needs one"));
    }
    if (!names.insert(tensor.name()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(kind, " \"", tensor.name(), "\" is listed twice"));
    }
    TensorSpec spec;
    spec.name = tensor.name();
    spec.type = FromConfig(tensor.data_type());
    if (spec.type == DataType::kUndefined) {
      return NoDataType(absl::StrCat(kind, " \"", tensor.name(), "\""));
    }
    spec.dims.assign(tensor.dims().begin(), tensor.dims().end());
    for (const int64_t dim : spec.dims) {
      if (dim == -1 || dim > 0) continue;
      return absl::InvalidArgumentError(absl::StrCat(kind, " \"", tensor.name(),
                                                     "\" has a dimension ", dim,
                                                     "; expected a positive size, or -1 for any"));
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

VersionPolicy ConvertPolicy(const inference::ModelVersionPolicy& message) {
  VersionPolicy policy;
  switch (message.policy_choice_case()) {
    case inference::ModelVersionPolicy::kAll:
      policy.kind = VersionPolicy::Kind::kAll;
      break;
    case inference::ModelVersionPolicy::kSpecific:
      policy.kind = VersionPolicy::Kind::kSpecific;
      policy.specific.insert(message.specific().versions().begin(),
                             message.specific().versions().end());
      break;
    case inference::ModelVersionPolicy::kLatest:
      policy.latest = std::max<int64_t>(message.latest().num_versions(), 1);
      break;
    case inference::ModelVersionPolicy::POLICY_CHOICE_NOT_SET:
      break;
  }
  return policy;
}

absl::StatusOr<WarmUpInput> ConvertWarmUpInput(const inference::ModelWarmup::Input& message) {
  using Message = inference::ModelWarmup::Input;
  WarmUpInput input;
  input.type = FromConfig(message.data_type());
  if (input.type == DataType::kUndefined) return NoDataType("it");
  for (const int64_t dim : message.dims()) {
    if (dim < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("it has a dimension ", dim, "; expected the size of the data, 1 or more"));
    }
    input.dims.push_back(dim);
  }
  switch (message.input_data_type_case()) {
    case Message::kZeroData:
      input.data = WarmUpInput::Data::kZero;
      return input;
    case Message::kRandomData:
      input.data = WarmUpInput::Data::kRandom;
      return input;
    case Message::kInputDataFile:
      input.data = WarmUpInput::Data::kFile;
      input.file = message.input_data_file();
      return input;
    case Message::INPUT_DATA_TYPE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "it has no data; expected zero_data, random_data or input_data_file");
}

absl::StatusOr<WarmUpSample> ConvertWarmUp(const inference::ModelWarmup& message) {
  WarmUpSample sample;
  sample.name = message.name();
  sample.batch_size = message.batch_size();
  sample.count = std::max<int64_t>(message.count(), 1);
  for (const auto& [name, input] : message.inputs()) {
    absl::StatusOr<WarmUpInput> converted = ConvertWarmUpInput(input);
    if (!converted.ok()) {
      return Annotate(converted.status(), absl::StrCat("input \"", name, "\""));
    }
    sample.inputs[name] = *std::move(converted);
  }
  return sample;
}

// One of Baton's own options, or anything else, which is passed over.
absl::Status ReadParameter(const std::string& key, const std::string& value, ModelConfig& config) {
  if (key == kPrecisionKey) {
    if (!Contains(kPrecisions, value)) {
      return absl::InvalidArgumentError(absl::StrCat("parameters[", key, "] is \"", value,
                                                     "\"; expected \"",
                                                     absl::StrJoin(kPrecisions, "\", \""), "\""));
    }
    config.precision = value;
  } else if (key == kSwapKey) {
    if (!Contains(kSwaps, value)) {
      return absl::InvalidArgumentError(absl::StrCat("parameters[", key, "] is \"", value,
                                                     "\"; expected \"",
                                                     absl::StrJoin(kSwaps, "\" or \""), "\""));
    }
    config.unload_first = value == kSwaps[1];
  } else if (key == kLatencyTargetKey) {
    double& target = config.latency_target_ms;
    if (!absl::SimpleAtod(value, &target) ||
        !(target >= kMinLatencyTargetMs && target <= kMaxLatencyTargetMs)) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameters[", key, "] is \"", value, "\"; expected milliseconds, from ",
                       kMinLatencyTargetMs, " to ", kMaxLatencyTargetMs));
    }
  } else if (IsLengthOption(key)) {
    RETURN_IF_ERROR(SetLengthOption(key, value, config.lengths));
  } else if (absl::StartsWith(key, kRolloutPrefix)) {
    RETURN_IF_ERROR(
        SetRolloutOption(absl::StripPrefix(key, kRolloutPrefix), value, config.rollout));
  } else if (key == kSignaturesKey) {
    absl::StatusOr<Signatures> signatures = ParseSignatures(value);
    if (!signatures.ok()) {
      return Annotate(signatures.status(), absl::StrCat("parameters[", key, "]"));
    }
    config.signatures = *std::move(signatures);
  } else if (absl::StartsWith(key, kLabelPrefix)) {
    const std::string label = key.substr(sizeof kLabelPrefix - 1);
    int64_t version = 0;
    if (label.empty() || !absl::SimpleAtoi(value, &version) || version < 1) {
      return absl::InvalidArgumentError(absl::StrCat("parameters[", key, "] is \"", value,
                                                     "\"; expected ", kLabelPrefix,
                                                     "NAME, and the number of a version"));
    }
    config.labels[label] = version;
  }
  return absl::OkStatus();
}

absl::Status CheckRuntime(absl::string_view field, const std::string& value,
                          absl::Span<const absl::string_view> accepted) {
  if (value.empty() || Contains(accepted, value)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is \"", value, "\"; Baton runs ONNX: expected \"",
                   absl::StrJoin(accepted, "\" or \""), "\", or nothing"));
}

absl::StatusOr<ModelConfig> Convert(const inference::ModelConfig& message,
                                    absl::string_view model_name) {
  if (!message.name().empty() && message.name() != model_name) {
    return absl::InvalidArgumentError(absl::StrCat("name is \"", message.name(),
                                                   "\"; expected the model's, \"", model_name,
                                                   "\", or nothing"));
  }
  RETURN_IF_ERROR(CheckRuntime("platform", message.platform(), kPlatforms));
  RETURN_IF_ERROR(CheckRuntime("backend", message.backend(), kBackends));

  ModelConfig config;
  if (message.has_max_batch_size()) {
    config.max_batch_size = message.max_batch_size();
    if (*config.max_batch_size < 0) {
      return absl::InvalidArgumentError(absl::StrCat("max_batch_size is ", *config.max_batch_size,
                                                     "; expected 0 (no batch dimension) or more"));
    }
  }
  ASSIGN_OR_RETURN(config.inputs, ConvertTensors(message.input(), "input"));
  ASSIGN_OR_RETURN(config.outputs, ConvertTensors(message.output(), "output"));
  for (const inference::ModelOutput& output : message.output()) {
    if (!output.label_filename().empty()) {
      config.label_files[output.name()] = output.label_filename();
    }
  }
  if (message.has_version_policy()) {
    config.version_policy = ConvertPolicy(message.version_policy());
    RETURN_IF_ERROR(config.version_policy->Validate());
  }
  ASSIGN_OR_RETURN(config.dynamic_batching,
                   ConvertBatching(message.dynamic_batching(), config.max_batch_size));
  for (const auto& [key, value] : message.parameters()) {
    config.parameters[key] = value.string_value();
    RETURN_IF_ERROR(ReadParameter(key, value.string_value(), config));
  }
  for (const inference::ModelInstanceGroup& group : message.instance_group()) {
    if (group.count() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("instance_group.count is ", group.count(), "; expected 0 or more"));
    }
    config.instance_count += group.count();
  }
  for (const inference::ModelWarmup& warm_up : message.model_warmup()) {
    absl::StatusOr<WarmUpSample> sample = ConvertWarmUp(warm_up);
    if (!sample.ok()) {
      return Annotate(sample.status(), absl::StrCat("model_warmup \"", warm_up.name(), "\""));
    }
    config.warm_ups.push_back(*std::move(sample));
  }
  return config;
}

// A config's dimension against the model's: a size of the model is fixed, -1 takes any.
bool DimsFit(absl::Span<const int64_t> config, absl::Span<const int64_t> model) {
  return std::equal(config.begin(), config.end(), model.begin(), model.end(),
                    [](int64_t c, int64_t m) { return m == -1 || m == c; });
}

bool HasBatchDimension(const TensorSpec& model) {
  return !model.has_rank || (!model.dims.empty() && model.dims.front() == -1);
}

bool ShapeFits(const TensorSpec& config, const TensorSpec& model,
               std::optional<int64_t> max_batch_size) {
  if (!model.has_rank) return true;
  const absl::Span<const int64_t> all = model.dims;
  const bool fits_with_batch = HasBatchDimension(model) && DimsFit(config.dims, all.subspan(1));
  // Without max_batch_size it is open whether the config left the batch dimension out.
  if (!max_batch_size.has_value()) return fits_with_batch || DimsFit(config.dims, all);
  return *max_batch_size > 0 ? fits_with_batch : DimsFit(config.dims, all);
}

const TensorSpec* Find(const std::vector<TensorSpec>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const TensorSpec& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

std::string Names(const std::vector<TensorSpec>& tensors) {
  return absl::StrJoin(tensors, ", ", [](std::string* out, const TensorSpec& t) {
    absl::StrAppend(out, "\"", t.name, "\"");
  });
}

absl::Status CheckTensors(const std::vector<TensorSpec>& config,
                          const std::vector<TensorSpec>& model, absl::string_view kind,
                          std::optional<int64_t> max_batch_size) {
  for (const TensorSpec& tensor : config) {
    const TensorSpec* actual = Find(model, tensor.name);
    if (actual == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model has no ", kind, " \"", tensor.name, "\"; it has ", Names(model)));
    }
    if (tensor.type == actual->type && ShapeFits(tensor, *actual, max_batch_size)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(kind, " \"", tensor.name, "\" is ", Describe(tensor), " in the config",
                     max_batch_size.value_or(0) > 0 ? " (dims without the batch dimension)" : "",
                     "; the model has ", Describe(*actual)));
  }
  return absl::OkStatus();
}

absl::Status CheckAll(const ModelConfig& config, const std::vector<TensorSpec>& model_inputs,
                      const std::vector<TensorSpec>& model_outputs) {
  if (config.max_batch_size.value_or(0) > 0) {
    for (const TensorSpec& input : model_inputs) {
      if (HasBatchDimension(input)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("max_batch_size is ", *config.max_batch_size, ", but input \"", input.name,
                       "\" is ", Describe(input),
                       " and has no batch dimension of any size in front; set "
                       "max_batch_size: 0 or export the model with a dynamic batch dimension"));
    }
  }
  RETURN_IF_ERROR(CheckTensors(config.inputs, model_inputs, "input", config.max_batch_size));
  RETURN_IF_ERROR(CheckTensors(config.outputs, model_outputs, "output", config.max_batch_size));
  RETURN_IF_ERROR(Annotate(CheckSignatures(config.signatures, model_inputs, model_outputs),
                           absl::StrCat("parameters[", kSignaturesKey, "]")));
  if (config.inputs.empty()) return absl::OkStatus();
  for (const TensorSpec& input : model_inputs) {
    if (Find(config.inputs, input.name) != nullptr) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("input \"", input.name, "\" (", Describe(input),
                     ") of the model is missing; list all inputs or none"));
  }
  return absl::OkStatus();
}

// The same bytes for the same message, whatever the order of its maps.
std::string Serialize(const inference::ModelConfig& message) {
  std::string bytes;
  pb::io::StringOutputStream stream(&bytes);
  pb::io::CodedOutputStream out(&stream);
  out.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&out);
  out.Trim();
  return bytes;
}

absl::StatusOr<ModelConfig> ConvertAll(inference::ModelConfig& message, const std::string& path,
                                       absl::string_view model_name) {
  absl::StatusOr<ModelConfig> config = Convert(message, model_name);
  if (!config.ok()) return Annotate(config.status(), path);
  config->warnings = Warnings(message, path);
  config->message = Serialize(message);
  message.clear_version_policy();
  for (const auto& [key, value] : config->parameters) {
    if (absl::StartsWith(key, kLabelPrefix) || absl::StartsWith(key, kRolloutPrefix)) {
      message.mutable_parameters()->erase(key);
    }
  }
  config->identity = Serialize(message);
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfigJson(absl::string_view json, const std::string& path,
                                                 absl::string_view model_name) {
  inference::ModelConfig message;
  const auto parsed = pb::util::JsonStringToMessage(std::string(json), &message);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", std::string(parsed.message())));
  }
  return ConvertAll(message, path, model_name);
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& path,
                                             absl::string_view model_name) {
  TextErrors errors(path);
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  inference::ModelConfig message;
  if (!parser.ParseFromString(std::string(text), &message)) {
    return absl::InvalidArgumentError(errors.Text());
  }
  return ConvertAll(message, path, model_name);
}

absl::Status ReadLabelFiles(const std::string& model_path, ModelConfig& config) {
  for (const auto& [output, file] : config.label_files) {
    absl::StatusOr<std::vector<std::string>> labels = ReadLabels(model_path, file);
    if (!labels.ok()) {
      return Annotate(labels.status(), absl::StrCat("label_filename of output \"", output, "\""));
    }
    config.class_labels[output] = *std::move(labels);
  }
  for (auto& [name, signature] : config.signatures) {
    if (signature.labels_file.empty()) continue;
    absl::StatusOr<std::vector<std::string>> labels = ReadLabels(model_path, signature.labels_file);
    if (!labels.ok()) {
      return Annotate(labels.status(), absl::StrCat("labels_file of signature \"", name, "\""));
    }
    signature.labels = *std::move(labels);
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_path,
                                            absl::string_view model_name) {
  const std::string path = absl::StrCat(model_path, "/", kConfigFile);
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return ModelConfig{};
  RETURN_IF_ERROR(text.status());
  absl::StatusOr<ModelConfig> config = ParseModelConfig(*text, path, model_name);
  if (config.ok()) RETURN_IF_ERROR(Annotate(ReadLabelFiles(model_path, *config), path));
  return config;
}

absl::Status CheckAgainstSignature(const ModelConfig& config,
                                   const std::vector<TensorSpec>& model_inputs,
                                   const std::vector<TensorSpec>& model_outputs) {
  return Annotate(CheckAll(config, model_inputs, model_outputs), kConfigFile);
}

}  // namespace baton::repository

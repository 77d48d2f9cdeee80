#include "server/api/tfs_signature.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "server/api/input_check.h"
#include "server/api/tfs_codec.h"

namespace baton::api {
namespace {

using repository::Signature;
using repository::SignatureMethod;

const char* TfMethodName(SignatureMethod method) {
  switch (method) {
    case SignatureMethod::kPredict:
      return kPredictMethod;
    case SignatureMethod::kClassify:
      return kClassifyMethod;
    case SignatureMethod::kRegress:
      return kRegressMethod;
  }
  return "";
}

// The signatures of the config whose method is `method`, or all for null, and the one that is
// always there.
std::string ListOf(const serving::Servable& servable, const SignatureMethod* method) {
  std::vector<std::string> names;
  const repository::Signatures& signatures = servable.config().signatures;
  for (const auto& [name, signature] : signatures) {
    if (method == nullptr || signature.method == *method) names.push_back(name);
  }
  if (!signatures.contains(kDefaultSignature)) names.push_back(kDefaultSignature);
  return names.empty() ? "none" : absl::StrCat("\"", absl::StrJoin(names, "\", \""), "\"");
}

tensorflow::TensorInfo Named(tensorflow::TensorInfo info, const std::string& name) {
  info.set_name(name);
  return info;
}

void FillDef(const Signature& signature, const serving::Servable& servable,
             tensorflow::SignatureDef& out) {
  const std::vector<engine::ValueInfo>& model_outputs = servable.signature().outputs;
  out.set_method_name(TfMethodName(signature.method));
  if (signature.method == SignatureMethod::kPredict) {
    const std::vector<engine::ValueInfo> inputs = RequestInputs(signature, servable);
    for (size_t i = 0; i < inputs.size(); ++i) {
      (*out.mutable_inputs())[inputs[i].name] =
          Named(ToTensorInfo(inputs[i]), servable.signature().inputs[i].name);
    }
    for (const auto& [tensor, name] : signature.outputs) {
      (*out.mutable_outputs())[name] = ToTensorInfo(model_outputs[OutputIndex(servable, tensor)]);
    }
    if (!signature.outputs.empty()) return;
    for (const engine::ValueInfo& info : model_outputs) {
      (*out.mutable_outputs())[info.name] = ToTensorInfo(info);
    }
    return;
  }
  engine::ValueInfo examples{"examples", DataType::kString, true, {engine::Dim{}}};
  (*out.mutable_inputs())["inputs"] = ToTensorInfo(examples);
  const auto add = [&](const char* key, const std::string& tensor) {
    (*out.mutable_outputs())[key] = ToTensorInfo(model_outputs[OutputIndex(servable, tensor)]);
  };
  std::vector<std::string> names;
  for (const engine::ValueInfo& info : model_outputs) names.push_back(info.name);
  const auto main = MainOutput(signature, names);
  if (signature.method == SignatureMethod::kRegress) {
    if (main.ok()) add("outputs", names[*main]);
    return;
  }
  if (!signature.classes.empty()) add("classes", signature.classes);
  if (main.ok() && (signature.classes.empty() || !signature.scores.empty())) {
    add("scores", names[*main]);
  }
}

}  // namespace

std::string SignatureName(const tensorflow::serving::ModelSpec& spec) {
  return spec.signature_name().empty() ? kDefaultSignature : spec.signature_name();
}

absl::StatusOr<const Signature*> FindSignature(const tensorflow::serving::ModelSpec& spec,
                                               const serving::Servable& servable,
                                               SignatureMethod method) {
  const repository::Signatures& signatures = servable.config().signatures;
  const std::string& asked = spec.signature_name();
  if (signatures.empty() && asked.empty()) return nullptr;
  const std::string name = SignatureName(spec);
  const auto found = signatures.find(name);
  if (found == signatures.end()) {
    if (name == kDefaultSignature) return nullptr;
    return absl::InvalidArgumentError(absl::StrCat(Describe(servable), ": no signature named \"",
                                                   absl::CHexEscape(name.substr(0, 100)),
                                                   "\"; it has ", ListOf(servable, nullptr)));
  }
  if (found->second.method == method) return &found->second;
  if (method == SignatureMethod::kPredict) return nullptr;
  return absl::InvalidArgumentError(absl::StrCat(
      Describe(servable), ": signature \"", name, "\" has the method \"",
      SignatureMethodName(found->second.method), "\", not \"", SignatureMethodName(method),
      "\"; signatures with that: ", ListOf(servable, &method)));
}

void SetModelSpec(const serving::Servable& servable, const std::string& signature,
                  tensorflow::serving::ModelSpec& spec) {
  spec.set_name(servable.model());
  spec.mutable_version()->set_value(servable.version());
  spec.set_signature_name(signature);
}

std::vector<engine::ValueInfo> RequestInputs(const Signature& signature,
                                             const serving::Servable& servable) {
  std::vector<engine::ValueInfo> inputs = servable.signature().inputs;
  for (engine::ValueInfo& info : inputs) {
    const auto named = signature.inputs.find(info.name);
    if (named != signature.inputs.end()) info.name = named->second.source;
  }
  return inputs;
}

std::vector<engine::ValueInfo> ReplyOutputs(const Signature& signature,
                                            const serving::Servable& servable) {
  if (signature.outputs.empty()) return servable.signature().outputs;
  std::vector<engine::ValueInfo> outputs;
  for (const auto& [tensor, name] : signature.outputs) {
    outputs.push_back(servable.signature().outputs[OutputIndex(servable, tensor)]);
    outputs.back().name = name;
  }
  return outputs;
}

size_t OutputIndex(const serving::Servable& servable, const std::string& output) {
  const std::vector<engine::ValueInfo>& outputs = servable.signature().outputs;
  const auto found = std::find_if(outputs.begin(), outputs.end(),
                                  [&](const auto& info) { return info.name == output; });
  BATON_CHECK_MSG(found != outputs.end(), output);  // the load has checked it
  return static_cast<size_t>(found - outputs.begin());
}

const repository::DefaultValues* DefaultOf(const Signature* signature, const std::string& input) {
  if (signature == nullptr) return nullptr;
  const auto found = signature->inputs.find(input);
  if (found == signature->inputs.end() || !found->second.missing.has_value()) return nullptr;
  return &*found->second.missing;
}

tensorflow::serving::SignatureDefMap DescribeSignatures(const serving::Servable& servable) {
  tensorflow::serving::SignatureDefMap map;
  FillDef(Signature(), servable, (*map.mutable_signature_def())[kDefaultSignature]);
  for (const auto& [name, signature] : servable.config().signatures) {
    tensorflow::SignatureDef& out = (*map.mutable_signature_def())[name];
    out.Clear();
    FillDef(signature, servable, out);
  }
  return map;
}

}  // namespace baton::api

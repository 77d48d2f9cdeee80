#include "server/api/oip_model_config.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/oip_codec.h"
#include "server/api/oip_inference.h"
#include "server/repository/manifest.h"

namespace baton::api {
namespace {

// What Triton's config calls a type: TYPE_FP32 for FP32, TYPE_STRING for BYTES.
inference::DataType ConfigType(DataType type) {
  inference::DataType out = inference::TYPE_INVALID;
  const std::string name =
      type == DataType::kString ? "TYPE_STRING" : absl::StrCat("TYPE_", OipTypeName(type));
  inference::DataType_Parse(name, &out);
  return out;
}

// Completes `tensors`, which are ModelInputs or ModelOutputs: one for each of `infos`, in that
// order. What the config says about one stays, but for dims that cannot be.
template <typename Repeated>
void Complete(const std::vector<engine::ValueInfo>& infos, bool batched, Repeated& tensors) {
  Repeated completed;
  for (const engine::ValueInfo& info : infos) {
    auto& tensor = *completed.Add();
    const auto given = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const auto& t) { return t.name() == info.name; });
    if (given != tensors.end()) tensor = *given;
    tensor.set_name(info.name);
    tensor.set_data_type(ConfigType(info.type));
    const size_t first = batched && !info.dims.empty() ? 1 : 0;  // the batch dimension is implied
    if (static_cast<size_t>(tensor.dims_size()) == info.dims.size() - first) continue;
    tensor.clear_dims();
    for (size_t d = first; d < info.dims.size(); ++d) tensor.add_dims(info.dims[d].value);
  }
  tensors = std::move(completed);
}

}  // namespace

inference::ModelConfig ServedConfig(const serving::Servable& servable) {
  inference::ModelConfig config;
  config.ParseFromString(servable.config().message);  // empty where there is no config.pbtxt
  config.set_name(servable.model());
  config.set_platform("onnxruntime_onnx");  // what clients know ONNX models by
  if (config.backend().empty()) config.set_backend("onnxruntime");
  if (config.default_model_filename().empty()) {
    config.set_default_model_filename(repository::kModelFile);
  }
  if (!config.has_version_policy()) {
    config.mutable_version_policy()->mutable_latest()->set_num_versions(1);
  }
  const int64_t rows = servable.max_batch_size();
  config.set_max_batch_size(
      static_cast<int32_t>(std::min<int64_t>(rows, std::numeric_limits<int32_t>::max())));
  Complete(servable.signature().inputs, rows > 0, *config.mutable_input());
  Complete(servable.signature().outputs, rows > 0, *config.mutable_output());
  if (rows > 0) config.mutable_dynamic_batching();
  if (config.instance_group().empty()) {
    inference::ModelInstanceGroup& group = *config.add_instance_group();
    group.set_name(servable.model());
    group.set_count(1);  // one copy, which all workers share
  }
  for (inference::ModelInstanceGroup& group : *config.mutable_instance_group()) {
    group.set_kind(inference::ModelInstanceGroup::KIND_CPU);
  }
  return config;
}

absl::Status ModelConfigResponse(const serving::Registry& registry,
                                 const inference::ModelConfigRequest& request,
                                 inference::ModelConfigResponse& response) {
  ASSIGN_OR_RETURN(const auto servable,
                   registry.Acquire(request.name(), ChoiceOf(request.version())));
  *response.mutable_config() = ServedConfig(*servable);
  return absl::OkStatus();
}

}  // namespace baton::api

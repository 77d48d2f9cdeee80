#include "engine/graph.h"

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"

namespace baton::engine {
namespace {

template <typename T>
absl::StatusOr<T> Attribute(const Node& node, const std::string& key, const T& otherwise,
                            absl::string_view type_name) {
  const auto it = node.attributes.find(key);
  if (it == node.attributes.end()) return otherwise;
  if (const T* value = std::get_if<T>(&it->second)) return *value;
  return absl::InvalidArgumentError(
      absl::StrCat(Describe(node), ": attribute \"", key, "\" is not ", type_name));
}

bool IsFloating(DataType type) {
  return type == DataType::kFloat || type == DataType::kDouble || type == DataType::kFloat16 ||
         type == DataType::kBfloat16;
}

size_t Mix(size_t seed, const Tensor& tensor) {
  seed = absl::HashOf(seed, tensor.type(), tensor.shape());
  if (tensor.empty() || IsFloating(tensor.type())) return seed;
  if (tensor.type() == DataType::kString) return absl::HashOf(seed, tensor.values<std::string>());
  return absl::HashOf(seed,
                      absl::string_view(static_cast<const char*>(tensor.data()), tensor.bytes()));
}

template <typename T>
size_t Mix(size_t seed, const T& value) {
  return absl::HashOf(seed, value);
}

size_t Mix(size_t seed, const std::vector<ValueInfo>& infos) {
  for (const ValueInfo& info : infos) {
    seed = absl::HashOf(seed, info.type, info.has_rank, info.dims.size());
    for (const Dim& dim : info.dims) seed = absl::HashOf(seed, dim.value, dim.symbol);
  }
  return seed;
}

}  // namespace

absl::StatusOr<int64_t> Node::Int(const std::string& key, int64_t otherwise) const {
  return Attribute<int64_t>(*this, key, otherwise, "an integer");
}
absl::StatusOr<float> Node::Float(const std::string& key, float otherwise) const {
  return Attribute<float>(*this, key, otherwise, "a float");
}
absl::StatusOr<std::string> Node::String(const std::string& key,
                                         const std::string& otherwise) const {
  return Attribute<std::string>(*this, key, otherwise, "a string");
}
absl::StatusOr<std::vector<int64_t>> Node::Ints(const std::string& key,
                                                const std::vector<int64_t>& otherwise) const {
  return Attribute<std::vector<int64_t>>(*this, key, otherwise, "a list of integers");
}
absl::StatusOr<std::vector<float>> Node::Floats(const std::string& key,
                                                const std::vector<float>& otherwise) const {
  return Attribute<std::vector<float>>(*this, key, otherwise, "a list of floats");
}

std::string Describe(const Node& node) {
  return absl::StrCat("node \"", node.name, "\" (", node.domain, node.domain.empty() ? "" : ".",
                      node.op, ", opset ", node.opset, ")");
}

std::string ToString(const ValueInfo& info) {
  std::string text = DataTypeName(info.type);
  if (!info.has_rank) return text + "[...]";
  text += '[';
  for (size_t i = 0; i < info.dims.size(); ++i) {
    if (i > 0) text += ',';
    const Dim& dim = info.dims[i];
    if (dim.value >= 0) {
      absl::StrAppend(&text, dim.value);
    } else {
      text += dim.symbol.empty() ? "?" : dim.symbol;
    }
  }
  return text + "]";
}

uint64_t StructureOf(const Graph& graph) {
  size_t seed = Mix(Mix(0, graph.signature.inputs), graph.signature.outputs);
  seed = absl::HashOf(seed, graph.inputs, graph.outputs);
  for (const Value& value : graph.values) seed = Mix(seed, value.constant);
  for (const Node& node : graph.nodes) {
    seed = absl::HashOf(seed, node.domain, node.op, node.opset, node.inputs, node.outputs);
    for (const auto& [key, attribute] : node.attributes) {
      seed = absl::HashOf(seed, key);
      seed = std::visit([seed](const auto& value) { return Mix(seed, value); }, attribute);
    }
  }
  return seed;
}

}  // namespace baton::engine

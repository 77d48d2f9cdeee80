#include "engine/graph.h"

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

}  // namespace baton::engine

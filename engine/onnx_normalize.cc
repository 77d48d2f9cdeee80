// Old forms of operators, brought to the newest:
// https://github.com/onnx/onnx/blob/main/docs/Changelog.md
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/onnx_import.h"

namespace baton::engine {
namespace {

// `attribute` became input number `input` in operator set `since`.
struct MovedAttribute {
  absl::string_view op;
  int since;
  const char* attribute;
  size_t input;
};
constexpr MovedAttribute kMoved[] = {
    {"Clip", 11, "min", 1},
    {"Clip", 11, "max", 2},
    {"Pad", 11, "pads", 1},
    {"Pad", 11, "value", 2},
    {"ReduceL1", 18, "axes", 1},
    {"ReduceL2", 18, "axes", 1},
    {"ReduceLogSum", 18, "axes", 1},
    {"ReduceLogSumExp", 18, "axes", 1},
    {"ReduceMax", 18, "axes", 1},
    {"ReduceMean", 18, "axes", 1},
    {"ReduceMin", 18, "axes", 1},
    {"ReduceProd", 18, "axes", 1},
    {"ReduceSum", 13, "axes", 1},
    {"ReduceSumSquare", 18, "axes", 1},
    {"Reshape", 5, "shape", 1},
    {"Slice", 10, "starts", 1},
    {"Slice", 10, "ends", 2},
    {"Slice", 10, "axes", 3},
    {"Split", 13, "split", 1},
    {"Squeeze", 13, "axes", 1},
    {"TopK", 10, "k", 1},
    {"Unsqueeze", 13, "axes", 1},
    {"Upsample", 9, "scales", 1},
};

absl::StatusOr<Tensor> ToTensor(const Node& node, const char* key, const AttributeValue& value) {
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
    return Tensor::From<int64_t>({static_cast<int64_t>(ints->size())}, absl::MakeConstSpan(*ints));
  }
  if (const auto* floats = std::get_if<std::vector<float>>(&value)) {
    return Tensor::From<float>({static_cast<int64_t>(floats->size())},
                               absl::MakeConstSpan(*floats));
  }
  if (const auto* number = std::get_if<float>(&value)) return Tensor::From<float>({}, {*number});
  if (const auto* number = std::get_if<int64_t>(&value)) {
    // TopK's k is a list of one; there is no scalar among the moved integers.
    return Tensor::From<int64_t>({1}, {*number});
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Describe(node), ": attribute \"", key, "\" is not a number or a list of them"));
}

}  // namespace

absl::Status NormalizeNode(Node& node, Graph& graph) {
  if (!node.domain.empty()) return absl::OkStatus();
  for (const MovedAttribute& moved : kMoved) {
    if (moved.op != node.op || node.opset >= moved.since) continue;
    const auto it = node.attributes.find(moved.attribute);
    if (it == node.attributes.end()) continue;
    ASSIGN_OR_RETURN(Tensor tensor, ToTensor(node, moved.attribute, it->second));
    node.attributes.erase(it);
    if (node.inputs.size() <= moved.input) node.inputs.resize(moved.input + 1, kNoValue);
    node.inputs[moved.input] =
        graph.AddConstant(absl::StrCat(node.name, "/", moved.attribute), std::move(tensor));
  }
  const bool softmax = node.op == "Softmax" || node.op == "LogSoftmax" || node.op == "Hardmax";
  if (softmax && node.opset < 13) {
    // Before 13: over everything from `axis` (default 1) on, taken as one dimension.
    if (!node.has_attribute("axis")) node.attributes["axis"] = int64_t{1};
    node.attributes["flatten"] = int64_t{1};
  }
  if (node.opset < 7 && node.has_attribute("broadcast")) {
    ASSIGN_OR_RETURN(const int64_t broadcast, node.Int("broadcast", 0));
    if (broadcast != 0 && node.has_attribute("axis")) {
      return absl::UnimplementedError(
          absl::StrCat(Describe(node),
                       ": broadcasting along an axis ended with opset 7; convert the "
                       "model to opset 7 or later"));
    }
  }
  return absl::OkStatus();
}

}  // namespace baton::engine

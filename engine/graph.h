// Graph: an ONNX graph in static single assignment. Every value has one producer (a node, an
// input, or a constant). Nodes are in topological order. onnx_import makes it, rewrites change
// it, a Model then holds it unchanged.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model.h"
#include "engine/tensor.h"

namespace baton::engine {

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;  // an optional input or output that is absent

using AttributeValue = std::variant<int64_t, float, std::string, std::vector<int64_t>,
                                    std::vector<float>, std::vector<std::string>, Tensor>;

// Work that a rewrite moved into the node that feeds it, done on that node's output in order.
struct PostOp {
  enum class Kind {
    kActivation,  // op: Relu, Sigmoid, Tanh …, with its alpha and beta
    kAddInput,    // adds the node's input number `input`, same shape as the output
  };
  Kind kind = Kind::kActivation;
  std::string op;
  float alpha = 0;
  float beta = 0;
  int input = -1;
};

struct Node {
  std::string name;    // never empty: made from operator and output where the file has none
  std::string domain;  // "" for ONNX's own
  std::string op;
  int opset = 0;  // version of the domain's operator set in the file
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::map<std::string, AttributeValue> attributes;
  std::vector<PostOp> post_ops;

  bool has_input(size_t i) const { return i < inputs.size() && inputs[i] != kNoValue; }
  bool has_output(size_t i) const { return i < outputs.size() && outputs[i] != kNoValue; }
  bool has_attribute(const std::string& key) const { return attributes.count(key) > 0; }

  // Attributes with their defaults. kInvalidArgument if the attribute has another type.
  absl::StatusOr<int64_t> Int(const std::string& key, int64_t otherwise) const;
  absl::StatusOr<float> Float(const std::string& key, float otherwise) const;
  absl::StatusOr<std::string> String(const std::string& key, const std::string& otherwise) const;
  absl::StatusOr<std::vector<int64_t>> Ints(const std::string& key,
                                            const std::vector<int64_t>& otherwise) const;
  absl::StatusOr<std::vector<float>> Floats(const std::string& key,
                                            const std::vector<float>& otherwise) const;
};

// `node "Conv_3" (Conv, opset 17)`: how errors name a node.
std::string Describe(const Node& node);

struct Value {
  std::string name;
  // Not empty for initializers and folded nodes. Once kernels are made, those that only kernels
  // need which have them themselves have no elements (null).
  Tensor constant;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Signature signature;  // of inputs and outputs, in the same order

  ValueId AddValue(std::string name) {
    values.push_back({std::move(name), {}});
    return static_cast<ValueId>(values.size() - 1);
  }
  ValueId AddConstant(std::string name, Tensor constant) {
    values.push_back({std::move(name), std::move(constant)});
    return static_cast<ValueId>(values.size() - 1);
  }
  bool is_constant(ValueId id) const {
    return id != kNoValue && !values[static_cast<size_t>(id)].constant.empty();
  }
  const Tensor& constant(ValueId id) const { return values[static_cast<size_t>(id)].constant; }
};

// The same for graphs that differ only in their floating-point constants, which are what training
// changes: they take the same time. Holds within this process.
uint64_t StructureOf(const Graph& graph);

}  // namespace baton::engine

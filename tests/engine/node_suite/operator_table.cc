#include "tests/engine/node_suite/operator_table.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/kernel_table.h"
#include "engine/tensor.h"

namespace baton::testing {
namespace {

using OperatorName = std::pair<std::string, std::string>;  // domain, operator

constexpr absl::string_view kIntroduction =
    "# Operators\n\n"
    "Made by `node_test --update` from the engine's kernel table and from ONNX's own node tests; "
    "do not edit.\n\n"
    "*From opset* is the oldest form of the operator that runs; all newer ones up to the newest "
    "that the tests know do, too, where the notes do not say otherwise. *Tested types* are the "
    "element types of inputs and outputs in the tests that pass. *Tests* are ONNX's tests for this "
    "operator alone: passed of all. Notes are the engine's own words for what it refuses. "
    "Functions "
    "that a model defines itself run where the operators in them do.\n\n";

// What the tests say about one operator.
struct Evidence {
  int passed = 0;
  int total = 0;
  int64_t newest_opset = 0;
  std::set<DataType> types;
  std::map<std::string, int> refusals;  // reason → tests
};

void AddTypes(const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& values,
              std::set<DataType>& types) {
  for (const onnx::ValueInfoProto& value : values) {
    if (value.type().has_tensor_type()) {
      types.insert(static_cast<DataType>(value.type().tensor_type().elem_type()));
    }
  }
}

// Takes from a reason what holds for one test only: the node's name before its operator, numbers
// of elements and the like stay.
std::string Essence(const std::string& reason) {
  const size_t end = reason.find("): ");
  return end == std::string::npos ? reason : reason.substr(end + 3);
}

std::string Title(const OperatorName& name) {
  return name.first.empty() ? name.second : absl::StrCat(name.first, ".", name.second);
}

std::string Notes(const Evidence& evidence) {
  std::vector<std::string> notes;
  for (const auto& [reason, tests] : evidence.refusals) {
    notes.push_back(absl::StrReplaceAll(reason, {{"|", "\\|"}}));
  }
  return absl::StrJoin(notes, "<br>");
}

}  // namespace

absl::StatusOr<std::string> OperatorTable(const std::string& data, const Manifest& manifest) {
  std::map<OperatorName, Evidence> evidence;
  for (const auto& [name, entry] : manifest) {
    const std::string path = absl::StrCat(data, "/", name, "/model.onnx");
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    onnx::ModelProto model;
    if (!model.ParseFromString(bytes)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not an ONNX model"));
    }
    std::set<OperatorName> operators;
    for (const onnx::NodeProto& node : model.graph().node()) {
      operators.emplace(node.domain() == "ai.onnx" ? "" : node.domain(), node.op_type());
    }
    // A test of several operators says little about each.
    if (operators.size() != 1) continue;
    Evidence& found = evidence[*operators.begin()];
    ++found.total;
    for (const auto& opset : model.opset_import()) {
      if (opset.domain() == operators.begin()->first) {
        found.newest_opset = std::max(found.newest_opset, opset.version());
      }
    }
    if (entry.kind == ManifestEntry::Kind::kPass) {
      ++found.passed;
      AddTypes(model.graph().input(), found.types);
      AddTypes(model.graph().output(), found.types);
    } else {
      ++found.refusals[Essence(entry.reason)];
    }
  }

  std::map<OperatorName, int> first_opsets;
  for (const engine::KernelEntry& kernel : engine::Kernels()) {
    if (kernel.domain == "baton") continue;  // made by rewrites, of others
    const OperatorName name(kernel.domain, kernel.op);
    const auto [it, added] = first_opsets.emplace(name, kernel.first_opset);
    if (!added) it->second = std::min(it->second, kernel.first_opset);
  }

  std::string text(kIntroduction);
  absl::StrAppend(&text, "## Supported\n\n",
                  "| operator | from opset | tested types | tests | notes |\n",
                  "|---|--:|---|--:|---|\n");
  for (const auto& [name, first_opset] : first_opsets) {
    const Evidence& found = evidence[name];
    std::vector<std::string> types;
    for (const DataType type : found.types) types.push_back(DataTypeName(type));
    absl::StrAppend(&text, "| ", Title(name), " | ", first_opset, " | ", absl::StrJoin(types, ", "),
                    " | ", found.passed, "/", found.total, " | ", Notes(found), " |\n");
  }
  absl::StrAppend(&text, "\n## Not supported\n\nOperators of ONNX's tests that have no kernel. A ",
                  "model with one of them is refused when it is loaded, with a message that names ",
                  "operators and nodes.\n\n| operator | tests | of them pass |\n|---|--:|--:|\n");
  for (const auto& [name, found] : evidence) {
    if (first_opsets.count(name) > 0) continue;
    absl::StrAppend(&text, "| ", Title(name), " | ", found.total, " | ", found.passed, " |\n");
  }
  return text;
}

}  // namespace baton::testing

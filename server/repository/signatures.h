// Signatures: how a model looks to TensorFlow Serving's calls, by signature name. They come from
// Baton's own parameter "signatures" of config.pbtxt, a JSON object:
//
//   {"NAME": {"method": "predict",   // the default
//             "inputs":  {"<input>": "<name in requests>", …},
//             "outputs": {"<output>": "<name in replies>", …}},    or ["<output>", …]
//    "NAME": {"method": "classify",
//             "inputs":  {"<input>": {"feature": "<name>", "default": 0}, …},
//             "scores":  "<output>",       // float[N,C]; the only output where it is left out
//             "classes": "<output>",       // strings[N,C]
//             "labels":  ["zero", …],      // of the classes, in the order of the scores; or
//             "labels_file": "FILE"},      // one a line, below the model's directory
//    "NAME": {"method": "regress", "inputs": …, "output": "<output>"}}   // float[N] or [N,1]
//
// <input> and <output> are the model's own names. An input takes a name as a string, or an object
// with "name" (predict) or "feature" (the others) and "default": a number, a string, or a list of
// them with one for each element of a row; it is taken where a request or example has none. Inputs
// that a signature leaves out go by their own names. Predict answers with all outputs where
// "outputs" is left out.
//
// Plain values; parsed and checked once.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::repository {

struct TensorSpec;

enum class SignatureMethod { kPredict, kClassify, kRegress };

// "predict", "classify", "regress".
absl::string_view SignatureMethodName(SignatureMethod method);

// One value for every element of a row, or one for each.
using DefaultValues =
    std::variant<std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

struct SignatureInput {
  std::string source;                    // name in requests, or feature
  std::optional<DefaultValues> missing;  // taken where there is none; never empty
  friend bool operator==(const SignatureInput&, const SignatureInput&) = default;
};

struct Signature {
  SignatureMethod method = SignatureMethod::kPredict;
  std::map<std::string, SignatureInput> inputs;  // by the model's name; others go by their own
  // Predict: the model's names and those in replies, in order; empty: all under their own names.
  std::vector<std::pair<std::string, std::string>> outputs;
  std::string scores;               // classify: an output; "": the only one, if classes is "", too
  std::string classes;              // classify: an output, or ""
  std::vector<std::string> labels;  // classify; may be empty
  std::string labels_file;          // classify: where `labels` is read from, or ""
  std::string output;               // regress: an output; "": the only one
};

using Signatures = std::map<std::string, Signature>;

// Parses and checks the JSON text. kInvalidArgument: names the signature, the key, what was found
// and what is expected.
absl::StatusOr<Signatures> ParseSignatures(absl::string_view json);

// OK if what `signatures` say fits a model's signature: names, types of defaults and outputs,
// numbers of labels. Else kInvalidArgument.
absl::Status CheckSignatures(const Signatures& signatures,
                             const std::vector<TensorSpec>& model_inputs,
                             const std::vector<TensorSpec>& model_outputs);

// The output that `signature` names as its scores or output, or the only one of `model_outputs`.
// kInvalidArgument if it names none and there are several.
absl::StatusOr<size_t> MainOutput(const Signature& signature,
                                  const std::vector<std::string>& model_outputs);

// The lines of `file`, a path below `model_path`: class i has line i. kInvalidArgument for a path
// that leaves the directory or an empty file; errors of ReadFile.
absl::StatusOr<std::vector<std::string>> ReadLabels(const std::string& model_path,
                                                    const std::string& file);

}  // namespace baton::repository

// ModelConfig: what a model's config.pbtxt says (Triton's schema, proto/model_config.proto), as far
// as Baton honours it. Parsed and checked once; a plain value afterwards.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"
#include "server/repository/dynamic_batching.h"
#include "server/repository/length_options.h"
#include "server/repository/rollout_options.h"
#include "server/repository/signatures.h"
#include "server/repository/version_policy.h"

namespace baton::repository {

// One input or output: in a config without the batch dimension where max_batch_size > 0, in a
// model's signature with every dimension. -1: any size.
struct TensorSpec {
  std::string name;
  DataType type = DataType::kUndefined;
  bool has_rank = true;  // false: any shape (a signature's; a config always has dims)
  std::vector<int64_t> dims;
};

// One input of a warm-up sample. `dims` leave out the batch dimension, as those of a TensorSpec.
struct WarmUpInput {
  enum class Data { kZero, kRandom, kFile };
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;  // none is of any size
  Data data = Data::kZero;
  std::string file = {};  // kFile: below kWarmUpDirectory of the model
};

// A request that is run before a version serves (Triton's model_warmup).
struct WarmUpSample {
  std::string name;        // "" if it has none
  int64_t batch_size = 0;  // rows, all alike; 0: the sample has no batch dimension
  std::map<std::string, WarmUpInput> inputs;
  int64_t count = 1;  // times that it is run
};

struct ModelConfig {
  // Not given: from the model. 0: the model has no batch dimension, or it is not to be batched.
  std::optional<int64_t> max_batch_size;
  std::vector<TensorSpec> inputs;   // empty: from the model
  std::vector<TensorSpec> outputs;  // empty: from the model
  std::optional<VersionPolicy> version_policy;
  DynamicBatching dynamic_batching;
  int instance_count = 0;  // executions at once; 0: as many as there are workers
  // Labels of an output's classes, in their order, and the files that they come from
  // (label_filename); both by output.
  std::map<std::string, std::string> label_files;
  std::map<std::string, std::vector<std::string>> class_labels;
  std::vector<WarmUpSample> warm_ups;
  // From `parameters`, Baton's own options:
  std::optional<std::string> precision;           // "f32", "bf16", "int8" or "auto"
  bool unload_first = false;                      // "swap": "unload_first", or "load_first"
  double latency_target_ms = 0;                   // 0: none
  LengthOptions lengths;                          // "length_buckets", …
  RolloutOptions rollout;                         // "rollout.…"
  std::map<std::string, int64_t> labels;          // "label.NAME": the version NAME stands for
  Signatures signatures;                          // "signatures", see signatures.h
  std::map<std::string, std::string> parameters;  // all
  std::string message;  // the whole inference.ModelConfig in wire format, for who asks
  // Equal for two configs exactly if a version that was loaded with one need not be loaded again
  // for the other: all but the version policy, labels and rollout.
  std::string identity;
  // One text for each field that was set and is not honoured; the caller logs them.
  std::vector<std::string> warnings;
};

// Parses and checks the text of a config.pbtxt. `path` is for messages. kInvalidArgument:
// "<path>:<line>:<column>: …" for wrong syntax and unknown fields, "<path>: <field> …" for a value
// that cannot be; also if its name is not `model_name`, or its backend or platform is none that
// runs ONNX.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& path,
                                             absl::string_view model_name);

// The same of the JSON form; errors have no line.
absl::StatusOr<ModelConfig> ParseModelConfigJson(absl::string_view json, const std::string& path,
                                                 absl::string_view model_name);

// Reads the files of labels that `config` names, which are below `model_path`, into it.
// kInvalidArgument for a path that leaves that directory; errors of ReadFile.
absl::Status ReadLabelFiles(const std::string& model_path, ModelConfig& config);

// Reads `model_path`/config.pbtxt and its files of labels; a default ModelConfig where there is no
// config.pbtxt.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_path,
                                            absl::string_view model_name);

// OK if what the config says about inputs, outputs, max_batch_size and TensorFlow Serving's
// signatures fits the model's signature.
// If it lists inputs it lists all of them; outputs may be left out. Else kInvalidArgument: names
// the tensor, what the config says and what the model has.
absl::Status CheckAgainstSignature(const ModelConfig& config,
                                   const std::vector<TensorSpec>& model_inputs,
                                   const std::vector<TensorSpec>& model_outputs);

}  // namespace baton::repository

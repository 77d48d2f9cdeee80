// Golden samples: ONNX's test-data layout beside a model, `test_data_set_*/input_0.pb …
// output_0.pb …`. Run at load on the engine as it will serve, and by `baton-model verify`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model.h"
#include "engine/session.h"
#include "engine/tensor.h"

namespace baton::engine {

struct GoldenSample {
  std::string name;             // directory's name
  std::vector<Tensor> inputs;   // in signature order
  std::vector<Tensor> outputs;  // in signature order
};

// All samples under `directory`, sorted by name; an empty list where there are none. Files are
// matched to inputs by the name in the TensorProto, else by position.
absl::StatusOr<std::vector<GoldenSample>> ReadGoldenSamples(const std::string& directory,
                                                            const Signature& signature);

struct Tolerance {
  double rtol = 1e-3;
  double atol = 1e-5;
};

struct GoldenResult {
  double max_abs_error = 0;
  double max_rel_error = 0;
};

// Runs one sample. kFailedPrecondition if an output misses the tolerance: names sample, output,
// element, both values and the tolerance. `result` (if not null) is raised to the largest errors
// seen, also when the sample fails.
absl::Status RunGoldenSample(const Model& model, Session& session, const GoldenSample& sample,
                             const Tolerance& tolerance, int threads, GoldenResult* result);

// Precision::kAuto: what `load` makes of bf16, where it makes anything of it and `check` lets it
// pass, else of f32. `check` runs samples, and fails where there are none.
absl::StatusOr<std::shared_ptr<const Model>> LoadAuto(
    const std::function<absl::StatusOr<std::shared_ptr<const Model>>(Precision)>& load,
    const std::function<absl::Status(const Model&)>& check);

}  // namespace baton::engine

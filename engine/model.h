// Model and Plan: a loaded ONNX file, and one compiled execution of it for fixed input shapes.
// Model is immutable to its users and thread-safe; Plan is immutable. Sessions run plans (see
// session.h). A Plan keeps what it needs of its Model alive.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tensor.h"

namespace baton::engine {

struct Dim {
  int64_t value = -1;  // -1: any size
  std::string symbol;  // dim_param, may be empty
};

struct ValueInfo {
  std::string name;
  DataType type = DataType::kUndefined;
  bool has_rank = true;  // false: any shape; dims is empty then
  std::vector<Dim> dims;
};

// "float[?,3,224,224]", with the symbol in place of "?" where there is one.
std::string ToString(const ValueInfo& info);

struct Signature {
  std::vector<ValueInfo> inputs;  // without initializers
  std::vector<ValueInfo> outputs;
};

// Of products. int8 asks that a model brings products of integers, which it then runs at any
// precision; auto is chosen by LoadAuto (golden.h), not by Model.
enum class Precision { kF32, kBf16, kInt8, kAuto };
// "f32", "bf16", "int8", "auto".
const char* PrecisionName(Precision precision);
std::optional<Precision> PrecisionNamed(absl::string_view name);

struct ModelOptions {
  Precision precision = Precision::kF32;
  size_t plan_cache_bytes = size_t{512} << 20;  // plans over this are dropped, least recent first
};

class Plan;

class Model {
 public:
  // Reads, checks and rewrites a model; packs nothing yet (plans do, once per weight and layout).
  // kNotFound: no such file. kInvalidArgument: not ONNX, or broken (names the node and what is
  // wrong). kUnimplemented: operators that are not supported, all of them in one message.
  static absl::StatusOr<std::shared_ptr<const Model>> Load(const std::string& path,
                                                           const ModelOptions& options);
  // As Load, from memory. External data is looked for in `directory`, "" for none.
  static absl::StatusOr<std::shared_ptr<const Model>> Parse(absl::string_view onnx,
                                                            const std::string& directory,
                                                            const ModelOptions& options);
  virtual ~Model() = default;

  virtual const Signature& signature() const = 0;

  // The same for models of one precision that differ only in the values of their weights: they take
  // the same time. Holds within this process.
  virtual uint64_t structure() const = 0;

  // The plan for these input shapes (one for each input, in signature order) and thread count;
  // compiles it when there is none yet. Callable from any thread; compiling holds no lock that
  // FindPlan waits for. kInvalidArgument: shapes that the model does not allow.
  virtual absl::StatusOr<std::shared_ptr<const Plan>> GetPlan(absl::Span<const Shape> input_shapes,
                                                              int threads) const = 0;
  // The plan if it is there, else null; never compiles.
  virtual std::shared_ptr<const Plan> FindPlan(absl::Span<const Shape> input_shapes,
                                               int threads) const = 0;

  // Bytes held: constants and packed weights; compiled plans without their arenas.
  virtual size_t weight_bytes() const = 0;
  virtual size_t plan_bytes() const = 0;
};

// What --profile prints of one step.
struct StepInfo {
  std::string node;            // ONNX node name, or the op type and its first output
  std::string op;              // ONNX operator, after rewrites ("Conv+Relu")
  std::string implementation;  // oneDNN's implementation name, or "baton"
  double flops = 0;            // multiply and add counted as two; 0 where it has no meaning
};

class Plan {
 public:
  virtual ~Plan() = default;
  virtual int threads() const = 0;
  virtual const std::vector<Shape>& input_shapes() const = 0;
  // One for each output; a dimension that depends on data is -1.
  virtual const std::vector<Shape>& output_shapes() const = 0;
  virtual size_t arena_bytes() const = 0;
  virtual const std::vector<StepInfo>& steps() const = 0;
};

}  // namespace baton::engine

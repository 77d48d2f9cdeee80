// Kernel, Step and their contexts: how an operator is written.
//
//   Make*     (at load)      parses attributes, keeps constant inputs          → Kernel
//   Prepare   (per shape)    checks types and shapes, packs weights, sets outputs → Step
//   Step::Run (per request)  allocates nothing, reentrant
//
// A kernel is immutable but for its cache of packed weights; a Step is immutable. What changes
// while a step runs (oneDNN's memory objects) is a StepState, which each Session makes for itself.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/dnnl_util.h"
#include "engine/graph.h"
#include "engine/tensor.h"

namespace baton::engine {

// What is known of a value while planning.
struct Meta {
  DataType type = DataType::kUndefined;
  Shape shape;
  std::optional<Layout> layout;  // set where it is not row-major

  size_t bytes() const {
    return layout ? layout->get_size()
                  : static_cast<size_t>(NumElements(shape)) * DataTypeSize(type);
  }
  // The oneDNN description. REQUIRES: HasDnnlType(type).
  Layout dnnl() const { return layout ? *layout : PlainLayout(type, shape); }
};

// Per Session and step.
class StepState {
 public:
  virtual ~StepState() = default;
};

struct RunContext {
  void* const* pointers;  // of the plan's buffers
  const int32_t* inputs;  // buffer of each of the step's inputs; -1 where absent
  const int32_t* outputs;
  void* scratch;     // as many bytes as Prepare asked for, aligned to 64
  StepState* state;  // what MakeState returned
  dnnl_stream_t stream;

  template <typename T>
  const T* input(size_t i) const {
    return static_cast<const T*>(pointers[inputs[i]]);
  }
  template <typename T>
  T* output(size_t i) const {
    return static_cast<T*>(pointers[outputs[i]]);
  }
};

class Step {
 public:
  virtual ~Step() = default;
  virtual std::unique_ptr<StepState> MakeState() const { return nullptr; }
  // Errors only for data that the operator rejects (an index out of range).
  virtual absl::Status Run(const RunContext& context) const = 0;
  virtual size_t scratch_bytes() const { return 0; }
  virtual const char* implementation() const { return "baton"; }
  virtual double flops() const { return 0; }
};

// The status with which Prepare says that it needs the data of input `i`, which is not known yet:
// the node is then prepared at run time.
absl::Status NeedsData(size_t input);
bool IsNeedsData(const absl::Status& status);

class PrepareContext {
 public:
  virtual ~PrepareContext() = default;

  // Threads the plan may use, and how many are worth opening for `flops` floating-point
  // operations and `bytes` of memory traffic: a parallel region costs about 1 µs.
  virtual int threads() const = 0;
  int ThreadsFor(double flops, double bytes) const;

  // True while only types and shapes are asked for: a kernel may return no step once it has set
  // its outputs, and should where a step is expensive to make.
  virtual bool shapes_only() const { return false; }

  virtual size_t num_inputs() const = 0;
  virtual bool has_input(size_t i) const = 0;
  virtual const Meta& input(size_t i) const = 0;
  // The data of an input where it is known while planning (always at run time), else null.
  // Row-major. Its pointer stays valid as long as the plan.
  virtual const Tensor* known(size_t i) const = 0;
  // As known, or NeedsData(i).
  absl::StatusOr<const Tensor*> Data(size_t i) const;

  // Has input `i` reordered to `layout` before the step runs; input(i) then says so. Only kernels
  // whose AcceptsLayouts is true ever see an input that is not row-major.
  virtual absl::Status SetInputLayout(size_t i, const Layout& layout) = 0;

  // Each output once, unless it is absent.
  virtual bool has_output(size_t i) const = 0;
  virtual void SetOutput(size_t i, Meta meta) = 0;
  void SetOutput(size_t i, DataType type, Shape shape) {
    SetOutput(i, Meta{type, std::move(shape), std::nullopt});
  }
  // The output is input's buffer under another shape; nothing has to run. REQUIRES: input(i) is
  // row-major.
  virtual void SetView(size_t output, size_t input, Shape shape) = 0;
  // The output starts with the data of `input` in meta's layout (copied first if that buffer is
  // still needed), and the step changes it.
  virtual absl::Status SetOverwrite(size_t output, size_t input, Meta meta) = 0;
  // The output may share the buffer of `input` (same bytes, element-wise): used if possible.
  virtual void SetMaybeInPlace(size_t output, size_t input, Meta meta) = 0;
  // The output is all inputs, one after the other in memory; nothing has to run. False where they
  // cannot be laid so: then a step has to copy them.
  virtual bool SetJoined(size_t output, Meta meta) = 0;
  // The output is this; nothing has to run.
  virtual void SetKnown(size_t output, Tensor value) = 0;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  // True if Prepare handles inputs in oneDNN's blocked layouts.
  virtual bool AcceptsLayouts() const { return false; }
  // Null where nothing has to run (every output is a view or known). kInvalidArgument: types or
  // shapes that the operator does not allow; kUnimplemented: allowed, but not supported here. The
  // caller adds the node's name to the message.
  virtual absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& context) const = 0;
  // True if it has constant input `i` itself: the graph need not keep its elements, since neither
  // Prepare nor a step reads them there.
  virtual bool HasConstant(size_t) const { return false; }
  // Bytes of weights held, packed or not.
  virtual size_t weight_bytes() const { return 0; }
};

// Makes a kernel. `graph` gives the constants among the node's inputs.
using KernelFactory = absl::StatusOr<std::unique_ptr<Kernel>> (*)(const Node& node,
                                                                  const Graph& graph);

// A kernel and a step out of plain functions, for operators without state.
//   return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
//     c.SetOutput(0, …);
//     return MakeStep([=](const RunContext& r) { …; return absl::OkStatus(); });
//   });
using PrepareFunction =
    std::function<absl::StatusOr<std::unique_ptr<Step>>(PrepareContext& context)>;
std::unique_ptr<Kernel> MakeKernel(PrepareFunction prepare);

template <typename F>
class FunctionStep final : public Step {
 public:
  FunctionStep(F run, size_t scratch_bytes) : run_(std::move(run)), scratch_bytes_(scratch_bytes) {}
  absl::Status Run(const RunContext& context) const override { return run_(context); }
  size_t scratch_bytes() const override { return scratch_bytes_; }

 private:
  const F run_;
  const size_t scratch_bytes_;
};
template <typename F>
std::unique_ptr<Step> MakeStep(F run, size_t scratch_bytes = 0) {
  return std::make_unique<FunctionStep<F>>(std::move(run), scratch_bytes);
}

// A step that runs one oneDNN primitive. Arguments: which buffer of the step, or which fixed
// memory (packed weights), is which DNNL_ARG.
struct DnnlArgument {
  int dnnl_arg;
  Layout layout;
  enum class From { kInput, kOutput, kFixed } from;
  int index = 0;  // of the input or output
  std::shared_ptr<const void> fixed = nullptr;
  size_t offset = 0;  // in bytes, into the input or output
};
std::unique_ptr<Step> MakeDnnlStep(const DnnlPrimitive& primitive,
                                   std::vector<DnnlArgument> arguments, int threads, double flops);
// Steps that are one to the plan: each runs with the same inputs and outputs. What it is called is
// what the first one is.
std::unique_ptr<Step> MakeSequence(std::vector<std::unique_ptr<Step>> steps);
void AddFixed(std::vector<FixedArgument> fixed, std::vector<DnnlArgument>& arguments);

// The input that a kAddInput among the post-ops adds; -1 if there is none.
int ResidualInput(absl::Span<const PostOp> post_ops);

// Weights of a kernel, which are constant: as they came until they are packed for the first time,
// from then on, if they are floats, in packed copies alone, one for each layout asked for.
// Thread-safe but for Set.
class PackedWeights {
 public:
  PackedWeights() = default;
  explicit PackedWeights(Tensor weights) { Set(std::move(weights)); }
  // Before all else.
  void Set(Tensor weights) {
    MutexLock lock(mu_);
    shape_ = weights.shape();
    plain_ = std::move(weights);
  }
  bool empty() const { return shape_.empty(); }
  const Shape& shape() const { return shape_; }

  // In layout `to`. `from`: how the weights came, the same in each call; they are shared, not
  // copied, when `to` is the same.
  absl::StatusOr<std::shared_ptr<const void>> Get(const Layout& from, const Layout& to) const;
  // As they came: unpacked, if need be.
  absl::StatusOr<Tensor> Plain(const Layout& from) const;
  // That of the first packed copy, if there is one.
  std::optional<Layout> layout() const;
  size_t bytes() const;

 private:
  absl::StatusOr<Tensor> PlainLocked(const Layout& from) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Shape shape_;
  mutable Mutex mu_;
  mutable Tensor plain_ ABSL_GUARDED_BY(mu_);  // empty once a packed copy stands for it
  mutable bool shared_ ABSL_GUARDED_BY(mu_) = false;
  mutable std::vector<std::pair<Layout, std::shared_ptr<const void>>> packed_ ABSL_GUARDED_BY(mu_);
  mutable size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of packed_
};

// Uninitialised memory aligned to 64 bytes; never null.
std::shared_ptr<void> AllocateAligned(size_t bytes);

}  // namespace baton::engine

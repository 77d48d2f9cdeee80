// PlanImpl: what Model compiles and Session runs. Ordered steps over numbered buffers; a buffer is
// an input of the model, a constant, a piece of the arena, or a tensor made at run time by a node
// whose shapes depend on data ("dynamic").
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/graph.h"
#include "engine/kernel.h"
#include "engine/model.h"

namespace baton::engine {

// A graph that will not change any more, with the kernel of each node.
struct LoadedGraph {
  Graph graph;
  std::vector<std::shared_ptr<const Kernel>> kernels;
};

struct Buffer {
  enum class Kind { kInput, kConstant, kArena, kDynamic };
  Kind kind = Kind::kArena;
  size_t index = 0;  // kInput: number of the input
  const void* constant = nullptr;
  size_t bytes = 0;
  size_t offset = 0;                  // kArena
  int first_step = 0, last_step = 0;  // kArena: when its contents matter
  int32_t whole = -1;                 // kArena: it is a part of that buffer, `part_offset` after
  size_t part_offset = 0;             // its beginning
};

struct PlannedStep {
  std::unique_ptr<Step> step;            // null for a dynamic node
  std::vector<int32_t> inputs, outputs;  // buffers; -1 where absent
  // A dynamic node: prepared at run time by its actual shapes. A meta without a type: that input
  // is dynamic itself.
  const Node* node = nullptr;
  const Kernel* kernel = nullptr;
  std::vector<Meta> input_metas;
};

struct PlannedOutput {
  int32_t buffer = -1;
  DataType type = DataType::kUndefined;  // undefined: known at run time only (kDynamic)
  Shape shape;
};

class PlanImpl;

// A batch that is run in pieces of some rows: rounds of a piece on each thread, and what is left
// then by all threads together; then the model's head for the whole batch, where it is split off
// (head.h). Rows are the first dimension of every input and output.
struct Pieces {
  std::shared_ptr<const PlanImpl> plan;  // of a piece, for one thread
  std::shared_ptr<const PlanImpl> rest;  // for all threads; null: nothing is left
  std::shared_ptr<const PlanImpl> head;  // for all threads; null: pieces make the model's outputs
  int64_t rows = 0, rounds = 0;
  int lanes = 0;  // pieces of a round
};

class PlanImpl final : public Plan {
 public:
  // Compiles. Shapes have been checked against the signature.
  static absl::StatusOr<std::shared_ptr<const PlanImpl>> Compile(
      std::shared_ptr<const LoadedGraph> loaded, absl::Span<const Shape> input_shapes, int threads);

  // A plan of nothing but pieces, which have been compiled.
  static std::shared_ptr<const PlanImpl> OfPieces(std::shared_ptr<const LoadedGraph> loaded,
                                                  absl::Span<const Shape> input_shapes, int threads,
                                                  Pieces pieces);

  int threads() const override { return threads_; }
  const std::vector<Shape>& input_shapes() const override { return input_shapes_; }
  const std::vector<Shape>& output_shapes() const override { return output_shapes_; }
  size_t arena_bytes() const override { return arena_bytes_; }
  const std::vector<StepInfo>& steps() const override { return infos_; }

  const std::vector<Buffer>& buffers() const { return buffers_; }
  const std::vector<PlannedStep>& planned_steps() const { return steps_; }
  const std::vector<PlannedOutput>& outputs() const { return outputs_; }
  const LoadedGraph& loaded() const { return *loaded_; }
  // Null unless the plan is one of pieces; it has no steps of its own then, and infos are those of
  // all pieces of a lane, then those of the head.
  const Pieces* pieces() const { return pieces_.plan == nullptr ? nullptr : &pieces_; }
  size_t scratch_bytes() const { return scratch_bytes_; }
  size_t known_bytes() const { return known_bytes_; }
  // Lives as long as the plan: lets a session forget plans that are gone.
  const std::shared_ptr<const PlanImpl*>& token() const { return token_; }

 private:
  friend class Planner;
  PlanImpl() : token_(std::make_shared<const PlanImpl*>(this)) {}

  std::shared_ptr<const LoadedGraph> loaded_;
  int threads_ = 1;
  std::vector<Shape> input_shapes_, output_shapes_;
  std::vector<Buffer> buffers_;
  std::vector<PlannedStep> steps_;
  std::vector<PlannedOutput> outputs_;
  std::vector<StepInfo> infos_;
  std::deque<Tensor> known_;  // values that planning has evaluated
  size_t known_bytes_ = 0;
  size_t arena_bytes_ = 0, scratch_bytes_ = 0;
  Pieces pieces_;
  std::shared_ptr<const PlanImpl*> token_;
};

// What is known of all values at a sample size (`batch` for the first dimension of an input where
// it is open, for each other symbolic dimension a size of its own), without compiling anything.
struct Inference {
  std::vector<std::optional<Meta>> metas;  // nullopt: depends on data, or a kernel is missing
  std::vector<Tensor> known;               // constants and what planning evaluates; else empty
};
Inference Infer(const LoadedGraph& loaded, int64_t batch);
inline std::vector<std::optional<Meta>> InferMetas(const LoadedGraph& loaded) {
  return Infer(loaded, 2).metas;
}

// Prepares `kernel` for these inputs (null where absent; row-major) and runs it once. For
// constant folding, for small values while planning, and for dynamic nodes. kOutOfRange if the
// outputs would have more than `max_bytes`.
absl::StatusOr<std::vector<Tensor>> Evaluate(const Node& node, const Kernel& kernel,
                                             absl::Span<const Tensor* const> inputs, int threads,
                                             size_t max_bytes);

}  // namespace baton::engine

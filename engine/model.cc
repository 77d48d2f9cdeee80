#include "engine/model.h"

#include <algorithm>
#include <list>
#include <map>
#include <optional>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/head.h"
#include "engine/kernel_table.h"
#include "engine/onnx_import.h"
#include "engine/plan.h"
#include "engine/rewrite/rewrite.h"
#include "engine/rows.h"

namespace baton::engine {
namespace {

// A kernel for each node. What is not supported is gathered into one error.
// Type and shape are left of constants that only kernels need that have them themselves.
void ForgetConstants(LoadedGraph& loaded) {
  Graph& graph = loaded.graph;
  std::vector<bool> needed(graph.values.size(), false);
  const auto need = [&](ValueId id) {
    if (id != kNoValue) needed[static_cast<size_t>(id)] = true;
  };
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const std::vector<ValueId>& inputs = graph.nodes[i].inputs;
    for (size_t input = 0; input < inputs.size(); ++input) {
      if (!loaded.kernels[i]->HasConstant(input)) need(inputs[input]);
    }
  }
  for (const ValueId id : graph.outputs) need(id);
  for (size_t i = 0; i < graph.values.size(); ++i) {
    Tensor& constant = graph.values[i].constant;
    if (constant.empty() || needed[i]) continue;
    constant = Tensor::Borrow(constant.type(), constant.shape(), nullptr, nullptr);
  }
}

absl::StatusOr<std::shared_ptr<const LoadedGraph>> MakeKernels(Graph graph) {
  auto loaded = std::make_shared<LoadedGraph>();
  loaded->graph = std::move(graph);
  std::vector<std::string> unsupported;
  for (const Node& node : loaded->graph.nodes) {
    const KernelEntry* entry = FindKernel(node.domain, node.op, node.opset);
    if (entry == nullptr) {
      unsupported.push_back(Describe(node));
      continue;
    }
    absl::StatusOr<std::unique_ptr<Kernel>> kernel = entry->make(node, loaded->graph);
    if (kernel.ok()) {
      loaded->kernels.push_back(*std::move(kernel));
    } else if (absl::IsUnimplemented(kernel.status())) {
      unsupported.push_back(absl::StrCat(Describe(node), ": ", kernel.status().message()));
    } else {
      return Annotate(kernel.status(), Describe(node));
    }
  }
  if (!unsupported.empty()) {
    constexpr size_t kMost = 20;
    std::string more;
    if (unsupported.size() > kMost) {
      more = absl::StrCat("; and ", unsupported.size() - kMost, " more");
      unsupported.resize(kMost);
    }
    return absl::UnimplementedError(
        absl::StrCat("not supported: ", absl::StrJoin(unsupported, "; "), more));
  }
  ForgetConstants(*loaded);
  return std::shared_ptr<const LoadedGraph>(std::move(loaded));
}

// `held`: of those alone whose elements the graph keeps.
size_t ConstantBytes(const Graph& graph, bool held) {
  size_t bytes = 0;
  for (const Value& value : graph.values) {
    const bool counts = !held || value.constant.data() != nullptr;
    if (!value.constant.empty() && counts) bytes += value.constant.bytes();
  }
  return bytes;
}

class ModelImpl final : public Model {
 public:
  ModelImpl(std::shared_ptr<const LoadedGraph> loaded, uint64_t structure,
            const ModelOptions& options)
      : options_(options),
        loaded_(std::move(loaded)),
        structure_(structure),
        held_bytes_(ConstantBytes(loaded_->graph, /*held=*/true)) {}

  const Signature& signature() const override { return loaded_->graph.signature; }
  uint64_t structure() const override { return structure_; }

  absl::StatusOr<std::shared_ptr<const Plan>> GetPlan(absl::Span<const Shape> input_shapes,
                                                      int threads) const override {
    if (auto plan = FindPlan(input_shapes, threads)) return plan;
    RETURN_IF_ERROR(CheckShapes(input_shapes));
    MutexLock compiling(compile_mu_);
    if (auto plan = FindPlan(input_shapes, threads)) return plan;  // another caller made it
    ASSIGN_OR_RETURN(const Pieces pieces, ChoosePieces(input_shapes, threads));
    if (pieces.plan != nullptr) {
      return Keep(PlanImpl::OfPieces(loaded_, input_shapes, threads, pieces));
    }
    return Compile(loaded_, input_shapes, threads);
  }

  std::shared_ptr<const Plan> FindPlan(absl::Span<const Shape> input_shapes,
                                       int threads) const override {
    return Find(*loaded_, input_shapes, threads);
  }

  size_t weight_bytes() const override {
    size_t bytes = held_bytes_;
    for (const auto& kernel : loaded_->kernels) bytes += kernel->weight_bytes();
    return bytes;
  }
  size_t plan_bytes() const override {
    MutexLock lock(mu_);
    return plan_bytes_;
  }

 private:
  // A row's activations should stay in the cache that the weights of a network of this size fill.
  static constexpr size_t kWeightBytesOfARow = 12 << 20;
  // Below this a piece is not worth its own walk through the plan.
  static constexpr double kFlopsOfAPiece = 1e7;
  // Below this threads had better share weights that no cache holds than each read them for a
  // piece.
  static constexpr double kFlopsOfAWeightByte = 32;

  // Measured on ResNet-50: 8 to 10 KB a step, most of it generated code.
  static size_t BytesOf(const PlanImpl& plan) {
    return plan.known_bytes() + plan.steps().size() * 10000 + 1000;
  }

  std::shared_ptr<const PlanImpl> Find(const LoadedGraph& loaded,
                                       absl::Span<const Shape> input_shapes, int threads) const {
    MutexLock lock(mu_);
    for (auto it = plans_.begin(); it != plans_.end(); ++it) {
      if (&(*it)->loaded() != &loaded || (*it)->threads() != threads ||
          absl::MakeConstSpan((*it)->input_shapes()) != input_shapes) {
        continue;
      }
      plans_.splice(plans_.begin(), plans_, it);
      return plans_.front();
    }
    return nullptr;
  }

  std::shared_ptr<const PlanImpl> Keep(std::shared_ptr<const PlanImpl> plan) const {
    std::vector<std::shared_ptr<const PlanImpl>> dropped;  // freed after the lock
    MutexLock lock(mu_);
    plans_.push_front(plan);
    plan_bytes_ += BytesOf(*plan);
    while (plan_bytes_ > options_.plan_cache_bytes && plans_.size() > 1) {
      plan_bytes_ -= BytesOf(*plans_.back());
      dropped.push_back(std::move(plans_.back()));
      plans_.pop_back();
    }
    return plan;
  }

  absl::StatusOr<std::shared_ptr<const PlanImpl>> Compile(
      const std::shared_ptr<const LoadedGraph>& loaded, absl::Span<const Shape> input_shapes,
      int threads) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(compile_mu_) {
    if (auto plan = Find(*loaded, input_shapes, threads)) return plan;
    ASSIGN_OR_RETURN(std::shared_ptr<const PlanImpl> plan,
                     PlanImpl::Compile(loaded, input_shapes, threads));
    return Keep(std::move(plan));
  }

  // No plan: the batch is run as a whole.
  absl::StatusOr<Pieces> ChoosePieces(absl::Span<const Shape> input_shapes, int threads) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(compile_mu_) {
    Pieces pieces;
    const int64_t batch = BatchOf(input_shapes);
    if (batch < std::max(2, threads) || !RowsAreIndependent()) return pieces;
    const auto& trunk = head_ ? head_->trunk : loaded_;
    // As many rows as make it worth to read all weights for them; the same work for every thread.
    const size_t weight_bytes = ConstantBytes(trunk->graph, /*held=*/false);
    const int64_t most =
        std::max<int64_t>(1, static_cast<int64_t>(weight_bytes / kWeightBytesOfARow));
    const int64_t rows_of_a_thread = batch / threads;
    pieces.lanes = threads;
    pieces.rounds = (rows_of_a_thread + most - 1) / most;
    pieces.rows = rows_of_a_thread / pieces.rounds;
    if (pieces.rows == batch) return pieces;
    std::vector<Shape> shapes(input_shapes.begin(), input_shapes.end());
    for (Shape& shape : shapes) shape[0] = pieces.rows;
    ASSIGN_OR_RETURN(auto plan, Compile(trunk, shapes, 1));
    double flops = 0;
    for (const StepInfo& step : plan->steps()) flops += step.flops;
    if (flops < kFlopsOfAPiece) return pieces;
    const bool mostly_reads = flops < kFlopsOfAWeightByte * static_cast<double>(weight_bytes);
    if (threads > 1 && most > 1 && mostly_reads) return pieces;
    if (const int64_t rest = batch - pieces.rows * pieces.rounds * threads; rest > 0) {
      for (Shape& shape : shapes) shape[0] = rest;
      ASSIGN_OR_RETURN(pieces.rest, Compile(trunk, shapes, threads));
    }
    if (head_) {
      Shape rows = plan->output_shapes()[0];
      rows[0] = batch;
      ASSIGN_OR_RETURN(pieces.head, Compile(head_->head, {rows}, threads));
    }
    pieces.plan = std::move(plan);
    return pieces;
  }

  // Finds the head as well, where they are.
  bool RowsAreIndependent() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(compile_mu_) {
    if (!rows_are_independent_) {
      rows_are_independent_ = engine::RowsAreIndependent(*loaded_);
      if (*rows_are_independent_) head_ = SplitHead(*loaded_);
    }
    return *rows_are_independent_;
  }

  // The first dimension of all inputs; 0 if they differ.
  static int64_t BatchOf(absl::Span<const Shape> shapes) {
    const int64_t batch = shapes.empty() || shapes[0].empty() ? 0 : shapes[0][0];
    const bool all = std::all_of(shapes.begin(), shapes.end(), [batch](const Shape& shape) {
      return !shape.empty() && shape[0] == batch;
    });
    return all ? batch : 0;
  }

  absl::Status CheckShapes(absl::Span<const Shape> shapes) const {
    const auto& inputs = signature().inputs;
    if (shapes.size() != inputs.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("got ", shapes.size(), " inputs, the model has ", inputs.size()));
    }
    std::map<std::string, int64_t> symbols;
    for (size_t i = 0; i < shapes.size(); ++i) {
      const auto wrong = [&](absl::string_view why) {
        return absl::InvalidArgumentError(absl::StrCat("input \"", inputs[i].name, "\": got shape ",
                                                       ShapeToString(shapes[i]), ", expected ",
                                                       ToString(inputs[i]), why));
      };
      const absl::StatusOr<int64_t> elements = CheckedNumElements(shapes[i]);
      if (!elements.ok()) return wrong(absl::StrCat(": ", elements.status().message()));
      if (!inputs[i].has_rank) continue;
      if (shapes[i].size() != inputs[i].dims.size()) return wrong(" (another rank)");
      for (size_t d = 0; d < shapes[i].size(); ++d) {
        const Dim& dim = inputs[i].dims[d];
        if (dim.value >= 0 && shapes[i][d] != dim.value) return wrong("");
        if (dim.value >= 0 || dim.symbol.empty()) continue;
        const auto [it, added] = symbols.emplace(dim.symbol, shapes[i][d]);
        if (!added && it->second != shapes[i][d]) {
          return wrong(absl::StrCat(": \"", dim.symbol, "\" is ", it->second, " in another input"));
        }
      }
    }
    return absl::OkStatus();
  }

  const ModelOptions options_;
  const std::shared_ptr<const LoadedGraph> loaded_;
  const uint64_t structure_;
  const size_t held_bytes_;
  mutable Mutex compile_mu_;  // one compilation at a time; never held together with waiting readers
  // Found out when there is a batch for the first time.
  mutable std::optional<bool> rows_are_independent_ ABSL_GUARDED_BY(compile_mu_);
  mutable std::optional<TrunkAndHead> head_ ABSL_GUARDED_BY(compile_mu_);
  mutable Mutex mu_ ABSL_ACQUIRED_AFTER(compile_mu_);
  mutable std::list<std::shared_ptr<const PlanImpl>> plans_ ABSL_GUARDED_BY(mu_);  // latest first
  mutable size_t plan_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace

const char* PrecisionName(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return "f32";
    case Precision::kBf16:
      return "bf16";
    case Precision::kInt8:
      return "int8";
    case Precision::kAuto:
      break;
  }
  return "auto";
}

std::optional<Precision> PrecisionNamed(absl::string_view name) {
  for (const Precision precision :
       {Precision::kF32, Precision::kBf16, Precision::kInt8, Precision::kAuto}) {
    if (name == PrecisionName(precision)) return precision;
  }
  return std::nullopt;
}

namespace {

// `file` is gone once its graph is there: weights that rewriting replaces need not stay.
absl::StatusOr<std::shared_ptr<const Model>> Build(absl::StatusOr<OnnxFile> file,
                                                   const std::string& directory,
                                                   const ModelOptions& options) {
  RETURN_IF_ERROR(file.status());
  if (options.precision == Precision::kAuto) {
    return absl::InvalidArgumentError("precision auto is chosen by who has samples to compare");
  }
  std::shared_ptr<const LoadedGraph> loaded;
  uint64_t structure = 0;
  RETURN_IF_ERROR(CatchDnnl("loading", [&] {
    ASSIGN_OR_RETURN(Graph graph, ImportOnnx(*file, directory));
    *file = {};
    structure = absl::HashOf(StructureOf(graph), options.precision);
    RETURN_IF_ERROR(Rewrite(graph, options.precision));
    ASSIGN_OR_RETURN(loaded, MakeKernels(std::move(graph)));
    return absl::OkStatus();
  }));
  return std::shared_ptr<const Model>(
      std::make_shared<ModelImpl>(std::move(loaded), structure, options));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Model>> Model::Parse(absl::string_view onnx,
                                                          const std::string& directory,
                                                          const ModelOptions& options) {
  return Build(ParseOnnx(onnx), directory, options);
}

absl::StatusOr<std::shared_ptr<const Model>> Model::Load(const std::string& path,
                                                         const ModelOptions& options) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  absl::StatusOr<OnnxFile> file = ReadOnnx(path);
  // These name the path.
  if (!file.ok() && !absl::IsInvalidArgument(file.status())) return file.status();
  absl::StatusOr<std::shared_ptr<const Model>> model = Build(std::move(file), directory, options);
  if (!model.ok()) {
    return Annotate(model.status(), slash == std::string::npos ? path : path.substr(slash + 1));
  }
  return model;
}

}  // namespace baton::engine

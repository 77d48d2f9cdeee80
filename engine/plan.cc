#include "engine/plan.h"

#include <algorithm>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"

namespace baton::engine {
namespace {

constexpr int kForever = std::numeric_limits<int>::max();
// A node whose inputs are all known is evaluated while planning if it makes no more than this;
// larger results would sit in every plan instead of sharing the arena.
constexpr size_t kMaxKnownBytes = 256 << 10;

size_t RoundUp(size_t bytes) { return (std::max<size_t>(bytes, 1) + 63) / 64 * 64; }

}  // namespace

// Walks the nodes once, asks each kernel for its step, and gives every value a buffer.
class Planner {
 public:
  Planner(const LoadedGraph& loaded, absl::Span<const Shape> input_shapes, int threads,
          bool shapes_only)
      : loaded_(loaded),
        graph_(loaded.graph),
        shapes_only_(shapes_only),
        plan_(new PlanImpl),
        values_(graph_.values.size()) {
    plan_->threads_ = threads;
    plan_->input_shapes_.assign(input_shapes.begin(), input_shapes.end());
  }

  // `loaded` is what the planner was made with.
  absl::StatusOr<std::shared_ptr<const PlanImpl>> Run(std::shared_ptr<const LoadedGraph> loaded) {
    plan_->loaded_ = std::move(loaded);
    DefineGivenValues();
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const absl::Status status = PlanNode(node, *loaded_.kernels[i]);
      if (!status.ok()) return Annotate(status, Describe(node));
    }
    RETURN_IF_ERROR(DefineOutputs());
    PlaceBuffers();
    return std::shared_ptr<const PlanImpl>(std::move(plan_));
  }

  Inference Infer() {
    DefineGivenValues();
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const Kernel* kernel = loaded_.kernels[i].get();
      if (kernel != nullptr && PlanNode(node, *kernel).ok()) continue;
      for (const ValueId id : node.outputs) {
        if (id != kNoValue) value(id).dynamic = true;
      }
    }
    Inference found{std::vector<std::optional<Meta>>(values_.size()),
                    std::vector<Tensor>(values_.size())};
    for (size_t i = 0; i < values_.size(); ++i) {
      const ValueState& state = values_[i];
      if (state.dynamic || state.meta.type == DataType::kUndefined) continue;
      found.metas[i] = state.meta;
      if (state.known != nullptr) found.known[i] = *state.known;
    }
    return found;
  }

 private:
  struct ValueState {
    Meta meta;
    bool dynamic = false;
    const Tensor* known = nullptr;
    int32_t buffer = -1;  // in meta's layout; made on demand for known values
    int uses = 0;         // consumers that are still to come
    std::vector<std::pair<Layout, int32_t>> reordered;
  };

  class NodeContext;

  void DefineGivenValues() {
    CountUses();
    for (size_t i = 0; i < graph_.inputs.size(); ++i) DefineInput(i);
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const Tensor& constant = graph_.values[i].constant;
      if (constant.empty()) continue;
      values_[i].meta = {constant.type(), constant.shape(), std::nullopt};
      values_[i].known = &constant;
    }
  }

  ValueState& value(ValueId id) { return values_[static_cast<size_t>(id)]; }
  int next_step() const { return static_cast<int>(plan_->steps_.size()); }

  void CountUses() {
    for (const Node& node : graph_.nodes) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) ++value(id).uses;
      }
    }
    for (const ValueId id : graph_.outputs) ++value(id).uses;
  }

  int32_t AddBuffer(Buffer buffer) {
    plan_->buffers_.push_back(buffer);
    pending_.push_back(0);
    has_parts_.push_back(false);
    return static_cast<int32_t>(plan_->buffers_.size() - 1);
  }
  int32_t AddArena(size_t bytes) {
    Buffer buffer;
    buffer.bytes = RoundUp(bytes);
    buffer.first_step = buffer.last_step = next_step();
    return AddBuffer(buffer);
  }
  Buffer& buffer(int32_t i) { return plan_->buffers_[static_cast<size_t>(i)]; }
  // Number of consumers still to come of any value in buffer i.
  int& pending(int32_t i) { return pending_[static_cast<size_t>(i)]; }

  void Assign(ValueId id, Meta meta, int32_t buffer_index) {
    value(id).meta = std::move(meta);
    value(id).buffer = buffer_index;
    pending(buffer_index) += value(id).uses;
  }

  void DefineInput(size_t i) {
    Buffer input;
    input.kind = Buffer::Kind::kInput;
    input.index = i;
    Assign(graph_.inputs[i],
           {graph_.signature.inputs[i].type, plan_->input_shapes_[i], std::nullopt},
           AddBuffer(input));
  }

  const Tensor* Keep(Tensor tensor) {
    plan_->known_bytes_ += tensor.bytes();
    plan_->known_.push_back(std::move(tensor));
    return &plan_->known_.back();
  }

  void DefineKnown(ValueId id, Tensor tensor) {
    ValueState& state = value(id);
    state.known = Keep(std::move(tensor));
    state.meta = {state.known->type(), state.known->shape(), std::nullopt};
  }

  // The buffer that holds the value in its own layout.
  int32_t BufferOf(ValueId id) {
    ValueState& state = value(id);
    if (state.buffer < 0) {
      BATON_CHECK(state.known != nullptr);
      Buffer constant;
      constant.kind = Buffer::Kind::kConstant;
      constant.constant = state.known->data();
      state.buffer = AddBuffer(constant);
    }
    return state.buffer;
  }

  void Touch(int32_t buffer_index) {
    Buffer& b = buffer(buffer_index);
    if (b.last_step != kForever) b.last_step = std::max(b.last_step, next_step());
  }

  void Emit(std::unique_ptr<Step> step, std::vector<int32_t> inputs, std::vector<int32_t> outputs,
            std::string node, std::string op) {
    for (const int32_t b : inputs) {
      if (b >= 0) Touch(b);
    }
    for (const int32_t b : outputs) {
      if (b >= 0) Touch(b);
    }
    plan_->scratch_bytes_ = std::max(plan_->scratch_bytes_, step->scratch_bytes());
    plan_->infos_.push_back(
        {std::move(node), std::move(op), step->implementation(), step->flops()});
    PlannedStep planned;
    planned.step = std::move(step);
    planned.inputs = std::move(inputs);
    planned.outputs = std::move(outputs);
    plan_->steps_.push_back(std::move(planned));
  }

  // Emits a step that copies `from` into a new buffer in layout `to`.
  absl::StatusOr<int32_t> EmitReorder(int32_t from_buffer, const Meta& from, const Layout& to,
                                      const std::string& name) {
    const double bytes = 2.0 * static_cast<double>(from.bytes());
    const int threads = bytes >= 5e5 ? plan_->threads_ : 1;
    const ScopedThreads scope(threads);
    const std::optional<DnnlPrimitive> made = MakeReorder(from.dnnl(), to);
    if (!made) {
      return absl::InternalError(
          absl::StrCat("no reorder for ", DataTypeName(from.type), ShapeToString(from.shape)));
    }
    const int32_t target = AddArena(to.get_size());
    using From = DnnlArgument::From;
    Emit(MakeDnnlStep(
             *made,
             {{DNNL_ARG_FROM, from.dnnl(), From::kInput, 0}, {DNNL_ARG_TO, to, From::kOutput, 0}},
             threads, 0),
         {from_buffer}, {target}, name, "Reorder");
    return target;
  }

  // The buffer that holds the value in `layout`, reordering it the first time.
  absl::StatusOr<int32_t> BufferInLayout(ValueId id, const Layout& layout) {
    ValueState& state = value(id);
    if (state.meta.dnnl() == layout) return BufferOf(id);
    for (const auto& [known_layout, known_buffer] : state.reordered) {
      if (known_layout == layout) return known_buffer;
    }
    ASSIGN_OR_RETURN(
        const int32_t target,
        EmitReorder(BufferOf(id), state.meta, layout, graph_.values[static_cast<size_t>(id)].name));
    value(id).reordered.emplace_back(layout, target);
    return target;
  }

  // One consumer less.
  void Consume(ValueId id) {
    --value(id).uses;
    if (value(id).buffer >= 0) --pending(value(id).buffer);
  }

  absl::Status PlanNode(const Node& node, const Kernel& kernel);
  absl::Status PlanDynamic(const Node& node, const Kernel& kernel);
  absl::Status DefineOutputs();
  void PlaceBuffers();

  const LoadedGraph& loaded_;
  const Graph& graph_;
  const bool shapes_only_;
  std::shared_ptr<PlanImpl> plan_;
  std::vector<ValueState> values_;
  std::vector<int> pending_;     // by buffer
  std::vector<bool> has_parts_;  // by buffer
};

// What a kernel says in Prepare, kept until the node is committed to the plan.
class Planner::NodeContext final : public PrepareContext {
 public:
  NodeContext(Planner& planner, const Node& node, const Kernel& kernel)
      : planner_(planner), node_(node), metas_(node.inputs.size()), outputs_(node.outputs.size()) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kNoValue) continue;
      metas_[i] = planner.value(node.inputs[i]).meta;
      if (!kernel.AcceptsLayouts()) metas_[i].layout.reset();
    }
  }

  int threads() const override { return planner_.plan_->threads_; }
  bool shapes_only() const override { return planner_.shapes_only_; }
  size_t num_inputs() const override { return node_.inputs.size(); }
  bool has_input(size_t i) const override { return node_.has_input(i); }
  const Meta& input(size_t i) const override { return metas_[i]; }
  const Tensor* known(size_t i) const override { return planner_.value(node_.inputs[i]).known; }
  absl::Status SetInputLayout(size_t i, const Layout& layout) override {
    if (IsPlain(layout)) {
      metas_[i].layout.reset();
    } else {
      metas_[i].layout = layout;
    }
    return absl::OkStatus();
  }
  bool has_output(size_t i) const override { return node_.has_output(i); }
  void SetOutput(size_t i, Meta meta) override { Set(i, How::kFresh, 0).meta = Plain(meta); }
  void SetView(size_t output, size_t input, Shape shape) override {
    Set(output, How::kView, input).meta = {metas_[input].type, std::move(shape), std::nullopt};
  }
  absl::Status SetOverwrite(size_t output, size_t input, Meta meta) override {
    Set(output, How::kOverwrite, input).meta = Plain(meta);
    return absl::OkStatus();
  }
  void SetMaybeInPlace(size_t output, size_t input, Meta meta) override {
    Set(output, How::kMaybeInPlace, input).meta = Plain(meta);
  }
  bool SetJoined(size_t output, Meta meta) override {
    std::vector<int32_t> buffers;
    for (size_t i = 0; i < node_.inputs.size(); ++i) {
      const ValueState& state = planner_.value(node_.inputs[i]);
      const size_t bytes = state.meta.bytes();
      const Buffer* b = state.buffer < 0 ? nullptr : &planner_.buffer(state.buffer);
      const bool reorders = metas_[i].layout != state.meta.layout;
      // Nothing else was or is in that memory.
      const bool fits = b != nullptr && !reorders && b->kind == Buffer::Kind::kArena &&
                        b->whole < 0 && b->bytes == bytes && bytes % 64 == 0;
      if (!fits || std::count(buffers.begin(), buffers.end(), state.buffer) > 0) return false;
      buffers.push_back(state.buffer);
    }
    Set(output, How::kJoined, 0).meta = Plain(meta);
    return true;
  }
  void SetKnown(size_t output, Tensor tensor) override {
    Set(output, How::kKnown, 0).known = std::move(tensor);
  }

  bool MakesStrings() const {
    return std::any_of(outputs_.begin(), outputs_.end(),
                       [](const Output& o) { return o.meta.type == DataType::kString; });
  }

  absl::Status Commit(std::unique_ptr<Step> step);

 private:
  enum class How { kUnset, kFresh, kView, kOverwrite, kMaybeInPlace, kJoined, kKnown };
  struct Output {
    How how = How::kUnset;
    size_t input = 0;
    Meta meta;
    Tensor known;
  };

  Output& Set(size_t i, How how, size_t input) {
    outputs_[i].how = how;
    outputs_[i].input = input;
    return outputs_[i];
  }
  // A row-major layout is none.
  static Meta Plain(Meta meta) {
    if (meta.layout && IsPlain(*meta.layout)) meta.layout.reset();
    return meta;
  }
  // The input's buffer, when this node is its last user and may write to it; else -1.
  int32_t Overwritable(size_t i, int32_t input_buffer) {
    const ValueState& state = planner_.value(node_.inputs[i]);
    const Buffer& b = planner_.buffer(input_buffer);
    if (b.kind != Buffer::Kind::kArena || state.uses > 0) return -1;
    if (b.whole >= 0 || planner_.has_parts_[static_cast<size_t>(input_buffer)]) return -1;
    if (input_buffer == state.buffer && planner_.pending(input_buffer) > 0) return -1;
    return input_buffer;
  }
  absl::StatusOr<int32_t> OutputBuffer(const Output& output, std::vector<int32_t>& inputs);

  Planner& planner_;
  const Node& node_;
  std::vector<Meta> metas_;
  std::vector<Output> outputs_;
};

absl::StatusOr<int32_t> Planner::NodeContext::OutputBuffer(const Output& output,
                                                           std::vector<int32_t>& inputs) {
  const size_t i = output.input;
  switch (output.how) {
    case How::kView:
      return inputs[i];
    case How::kMaybeInPlace: {
      const int32_t shared = Overwritable(i, inputs[i]);
      // Only one of the inputs may be that buffer: x + x reads it twice.
      const bool once = std::count(inputs.begin(), inputs.end(), inputs[i]) == 1;
      if (shared >= 0 && once && planner_.buffer(shared).bytes >= output.meta.bytes())
        return shared;
      break;
    }
    case How::kOverwrite: {
      int32_t target = -1;
      if (planner_.value(node_.inputs[i]).meta.dnnl() == output.meta.dnnl()) {
        target = Overwritable(i, inputs[i]);
      }
      if (target >= 0 && std::count(inputs.begin(), inputs.end(), inputs[i]) > 1) target = -1;
      if (target < 0) {
        // A private copy, straight from the value into the layout that the step wants.
        ASSIGN_OR_RETURN(target, planner_.EmitReorder(planner_.BufferOf(node_.inputs[i]),
                                                      planner_.value(node_.inputs[i]).meta,
                                                      output.meta.dnnl(), node_.name));
      }
      inputs[i] = target;
      return target;
    }
    case How::kJoined: {
      const int32_t whole = planner_.AddArena(output.meta.bytes());
      planner_.has_parts_[static_cast<size_t>(whole)] = true;
      size_t offset = 0;
      for (const int32_t part : inputs) {
        planner_.buffer(part).whole = whole;
        planner_.buffer(part).part_offset = offset;
        offset += planner_.buffer(part).bytes;
      }
      return whole;
    }
    default:
      break;
  }
  return planner_.AddArena(output.meta.bytes());
}

absl::Status Planner::NodeContext::Commit(std::unique_ptr<Step> step) {
  std::vector<int32_t> inputs(node_.inputs.size(), -1);
  std::vector<bool> overwritten(node_.inputs.size(), false);
  for (const Output& output : outputs_) {
    if (output.how == How::kOverwrite) overwritten[output.input] = true;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (node_.inputs[i] == kNoValue) continue;
    const ValueId id = node_.inputs[i];
    const Meta& actual = planner_.value(id).meta;
    const bool reorder = HasDnnlType(actual.type) && !overwritten[i] &&
                         (actual.layout || metas_[i].layout) && actual.dnnl() != metas_[i].dnnl();
    if (reorder) {
      ASSIGN_OR_RETURN(inputs[i], planner_.BufferInLayout(id, metas_[i].dnnl()));
    } else if (step != nullptr || planner_.value(id).buffer >= 0 || overwritten[i]) {
      inputs[i] = planner_.BufferOf(id);
    }
  }
  for (const ValueId id : node_.inputs) {
    if (id != kNoValue) planner_.Consume(id);
  }
  std::vector<int32_t> outputs(outputs_.size(), -1);
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (!node_.has_output(i)) continue;
    Output& output = outputs_[i];
    if (output.how == How::kUnset) {
      return absl::UnimplementedError(absl::StrCat("output ", i, " is not supported"));
    }
    if (output.how == How::kKnown) {
      planner_.DefineKnown(node_.outputs[i], std::move(output.known));
      continue;
    }
    if (output.how == How::kView && inputs[output.input] < 0) {
      inputs[output.input] = planner_.BufferOf(node_.inputs[output.input]);
    }
    ASSIGN_OR_RETURN(outputs[i], OutputBuffer(output, inputs));
    planner_.Assign(node_.outputs[i], output.meta, outputs[i]);
  }
  if (step == nullptr) return absl::OkStatus();
  std::string op = node_.op;
  for (const PostOp& post_op : node_.post_ops) {
    op += post_op.kind == PostOp::Kind::kAddInput ? "+Add" : "+" + post_op.op;
  }
  planner_.Emit(std::move(step), std::move(inputs), std::move(outputs), node_.name, std::move(op));
  return absl::OkStatus();
}

absl::Status Planner::PlanNode(const Node& node, const Kernel& kernel) {
  bool all_known = true;
  for (const ValueId id : node.inputs) {
    if (id == kNoValue) continue;
    if (value(id).dynamic) return PlanDynamic(node, kernel);
    all_known = all_known && value(id).known != nullptr;
  }
  if (all_known) {
    std::vector<const Tensor*> inputs;
    for (const ValueId id : node.inputs) {
      inputs.push_back(id == kNoValue ? nullptr : value(id).known);
    }
    absl::StatusOr<std::vector<Tensor>> outputs =
        Evaluate(node, kernel, inputs, /*threads=*/1, kMaxKnownBytes);
    if (outputs.ok()) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) Consume(id);
      }
      for (size_t i = 0; i < outputs->size(); ++i) {
        if (node.has_output(i)) DefineKnown(node.outputs[i], std::move((*outputs)[i]));
      }
      return absl::OkStatus();
    }
    if (outputs.status().code() != absl::StatusCode::kOutOfRange) return outputs.status();
  }
  NodeContext context(*this, node, kernel);
  absl::StatusOr<std::unique_ptr<Step>> step = kernel.Prepare(context);
  if (IsNeedsData(step.status())) return PlanDynamic(node, kernel);
  RETURN_IF_ERROR(step.status());
  if (context.MakesStrings()) return PlanDynamic(node, kernel);
  return context.Commit(*std::move(step));
}

absl::Status Planner::PlanDynamic(const Node& node, const Kernel& kernel) {
  PlannedStep planned;
  planned.node = &node;
  planned.kernel = &kernel;
  for (const ValueId id : node.inputs) {
    int32_t input = -1;
    Meta meta;
    if (id != kNoValue && value(id).dynamic) {
      input = value(id).buffer;
    } else if (id != kNoValue) {
      meta = value(id).meta;
      if (meta.layout) {
        const Layout plain = PlainLayout(meta.type, meta.shape);
        ASSIGN_OR_RETURN(input, BufferInLayout(id, plain));
        meta.layout.reset();
      } else {
        input = BufferOf(id);
      }
    }
    if (input >= 0) Touch(input);
    planned.inputs.push_back(input);
    planned.input_metas.push_back(std::move(meta));
  }
  for (const ValueId id : node.inputs) {
    if (id != kNoValue) Consume(id);
  }
  for (const ValueId id : node.outputs) {
    int32_t output = -1;
    if (id != kNoValue) {
      Buffer dynamic;
      dynamic.kind = Buffer::Kind::kDynamic;
      output = AddBuffer(dynamic);
      value(id).dynamic = true;
      value(id).buffer = output;
    }
    planned.outputs.push_back(output);
  }
  plan_->infos_.push_back({node.name, node.op, "dynamic", 0});
  plan_->steps_.push_back(std::move(planned));
  return absl::OkStatus();
}

absl::Status Planner::DefineOutputs() {
  for (const ValueId id : graph_.outputs) {
    PlannedOutput output;
    ValueState& state = value(id);
    if (state.dynamic) {
      output.buffer = state.buffer;
      const auto& info = graph_.signature.outputs[plan_->outputs_.size()];
      for (const Dim& dim : info.dims) output.shape.push_back(dim.value);
      plan_->output_shapes_.push_back(output.shape);
      plan_->outputs_.push_back(std::move(output));
      continue;
    }
    if (state.meta.layout) {
      const Layout plain = PlainLayout(state.meta.type, state.meta.shape);
      ASSIGN_OR_RETURN(output.buffer, BufferInLayout(id, plain));
    } else {
      output.buffer = BufferOf(id);
    }
    buffer(output.buffer).last_step = kForever;
    output.type = state.meta.type;
    output.shape = state.meta.shape;
    plan_->output_shapes_.push_back(output.shape);
    plan_->outputs_.push_back(std::move(output));
  }
  return absl::OkStatus();
}

// Greedy by size: the largest buffer first, each at the lowest offset where no buffer lies that is
// alive at the same time (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
// Inference", 2020).
void Planner::PlaceBuffers() {
  std::vector<Buffer*> order;
  for (Buffer& b : plan_->buffers_) {
    if (b.kind != Buffer::Kind::kArena) continue;
    if (b.whole < 0) {
      order.push_back(&b);
    } else {  // a whole comes after its parts
      Buffer& whole = buffer(b.whole);
      whole.first_step = std::min(whole.first_step, b.first_step);
      whole.last_step = std::max(whole.last_step, b.last_step);
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Buffer* a, const Buffer* b) { return a->bytes > b->bytes; });
  std::vector<const Buffer*> placed;  // by offset
  for (Buffer* b : order) {
    size_t offset = 0;
    for (const Buffer* other : placed) {
      const bool together = b->first_step <= other->last_step && other->first_step <= b->last_step;
      if (!together) continue;
      if (offset + b->bytes <= other->offset) break;
      offset = std::max(offset, other->offset + other->bytes);
    }
    b->offset = offset;
    plan_->arena_bytes_ = std::max(plan_->arena_bytes_, offset + b->bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), b,
                         [](const Buffer* x, const Buffer* y) { return x->offset < y->offset; }),
        b);
  }
  for (auto b = plan_->buffers_.rbegin(); b != plan_->buffers_.rend(); ++b) {
    if (b->whole >= 0) b->offset = buffer(b->whole).offset + b->part_offset;
  }
}

absl::StatusOr<std::shared_ptr<const PlanImpl>> PlanImpl::Compile(
    std::shared_ptr<const LoadedGraph> loaded, absl::Span<const Shape> input_shapes, int threads) {
  absl::StatusOr<std::shared_ptr<const PlanImpl>> plan;
  const absl::Status status = CatchDnnl("planning", [&] {
    const ScopedThreads scope(threads);
    plan = Planner(*loaded, input_shapes, threads, /*shapes_only=*/false).Run(loaded);
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(status);
  return plan;
}

std::shared_ptr<const PlanImpl> PlanImpl::OfPieces(std::shared_ptr<const LoadedGraph> loaded,
                                                   absl::Span<const Shape> input_shapes,
                                                   int threads, Pieces pieces) {
  std::shared_ptr<PlanImpl> plan(new PlanImpl);
  plan->loaded_ = std::move(loaded);
  plan->threads_ = threads;
  plan->input_shapes_.assign(input_shapes.begin(), input_shapes.end());
  plan->infos_ = pieces.plan->steps();
  for (StepInfo& info : plan->infos_) info.flops *= static_cast<double>(pieces.rounds);
  const PlanImpl& last = pieces.head != nullptr ? *pieces.head : *pieces.plan;
  if (pieces.head != nullptr) {
    const std::vector<StepInfo>& steps = last.steps();
    plan->infos_.insert(plan->infos_.end(), steps.begin(), steps.end());
  }
  for (const PlannedOutput& given : last.outputs()) {
    PlannedOutput output = given;
    output.shape[0] = input_shapes[0][0];
    plan->output_shapes_.push_back(output.shape);
    plan->outputs_.push_back(std::move(output));
  }
  plan->arena_bytes_ = pieces.plan->arena_bytes() * static_cast<size_t>(pieces.lanes);
  plan->pieces_ = std::move(pieces);
  return plan;
}

Inference Infer(const LoadedGraph& loaded, int64_t batch) {
  std::map<std::string, int64_t> sizes;
  std::vector<Shape> shapes;
  for (const ValueInfo& input : loaded.graph.signature.inputs) {
    Shape shape;
    for (size_t i = 0; i < input.dims.size(); ++i) {
      const Dim& dim = input.dims[i];
      if (dim.value >= 0) {
        shape.push_back(dim.value);
        continue;
      }
      const int64_t sample = i == 0 ? batch : 32 + 32 * static_cast<int64_t>(sizes.size());
      shape.push_back(dim.symbol.empty() ? sample
                                         : sizes.emplace(dim.symbol, sample).first->second);
    }
    shapes.push_back(std::move(shape));
  }
  const size_t values = loaded.graph.values.size();
  Inference found;
  const absl::Status status = CatchDnnl("inferring shapes", [&] {
    found = Planner(loaded, shapes, 1, /*shapes_only=*/true).Infer();
    return absl::OkStatus();
  });
  if (status.ok()) return found;
  return {std::vector<std::optional<Meta>>(values), std::vector<Tensor>(values)};
}

}  // namespace baton::engine

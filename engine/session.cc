#include "engine/session.h"

#include <omp.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/plan.h"

namespace baton::engine {
namespace {

constexpr auto kJustRun = [](size_t, const auto& run) { run(); };

// A grow-only block, aligned to 64 bytes.
class Block {
 public:
  // True if the block moved.
  bool Reserve(size_t bytes) {
    if (bytes <= bytes_) return false;
    memory_.reset();  // before the new one is allocated: contents are not kept
    memory_ = AllocateAligned(bytes);
    bytes_ = bytes;
    return true;
  }
  char* data() const { return static_cast<char*>(memory_.get()); }
  size_t bytes() const { return bytes_; }
  void Free() {
    memory_.reset();
    bytes_ = 0;
  }

 private:
  std::shared_ptr<void> memory_;
  size_t bytes_ = 0;
};

// What a session keeps for one plan, so that running it allocates nothing.
struct Binding {
  std::weak_ptr<const PlanImpl*> plan;
  uint64_t arena_generation = 0;
  std::vector<void*> pointers;  // by buffer
  std::vector<std::unique_ptr<StepState>> states;
  std::vector<TensorView> outputs;
  std::vector<Tensor> dynamic;  // by buffer; empty where not dynamic
  // Of a plan of pieces: what they have made, by output; then what each lane reads, by input; then
  // what the rest reads.
  std::vector<TensorView> gathered;
  std::vector<std::vector<TensorView>> piece_inputs;
  std::vector<absl::Status> statuses;  // of each lane
};

absl::Status CheckInputs(const PlanImpl& plan, absl::Span<const TensorView> inputs) {
  const auto& expected = plan.loaded().graph.signature.inputs;
  if (inputs.size() != expected.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("got ", inputs.size(), " inputs, the model has ", expected.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].type != expected[i].type || inputs[i].shape != plan.input_shapes()[i]) {
      return absl::InvalidArgumentError(
          absl::StrCat("input \"", expected[i].name, "\": got ", DataTypeName(inputs[i].type),
                       ShapeToString(inputs[i].shape), ", the plan is for ",
                       DataTypeName(expected[i].type), ShapeToString(plan.input_shapes()[i])));
    }
  }
  return absl::OkStatus();
}

// Bytes of one row of a tensor of `shape`.
size_t RowBytes(DataType type, const Shape& shape) {
  return static_cast<size_t>(NumElements(absl::MakeConstSpan(shape).subspan(1))) *
         DataTypeSize(type);
}

void BindPieces(const PlanImpl& plan, const Pieces& pieces, Binding& binding) {
  const auto& infos = plan.loaded().graph.signature.inputs;
  for (const PlannedOutput& output : pieces.plan->outputs()) {
    Shape shape = output.shape;
    shape[0] = plan.input_shapes()[0][0];
    binding.gathered.push_back({output.type, std::move(shape), nullptr});
  }
  const auto add = [&](const PlanImpl& piece) {
    std::vector<TensorView> views;
    for (size_t i = 0; i < infos.size(); ++i) {
      views.push_back({infos[i].type, piece.input_shapes()[i], nullptr});
    }
    binding.piece_inputs.push_back(std::move(views));
  };
  binding.statuses.resize(static_cast<size_t>(pieces.lanes));
  for (int lane = 0; lane < pieces.lanes; ++lane) add(*pieces.plan);
  if (pieces.rest != nullptr) add(*pieces.rest);
}

}  // namespace

struct Session::State {
  Block arena, scratch;
  uint64_t arena_generation = 1;
  std::vector<Block> staging;  // by input
  absl::flat_hash_map<const PlanImpl*, std::unique_ptr<Binding>> bindings;
  const PlanImpl* last_plan = nullptr;
  Binding* last_binding = nullptr;
  dnnl::stream stream{CpuEngine()};
  std::vector<std::unique_ptr<State>> lanes;  // of plans of pieces
  Block results;                              // of plans of pieces
  std::function<void()> between_steps;
  const std::function<void()>* between() const { return between_steps ? &between_steps : nullptr; }

  Binding& Bind(const PlanImpl& plan);
  absl::Status RunDynamic(const PlanImpl& plan, const PlannedStep& step, Binding& binding);
  // `around` runs each step, by its number from `first_step` on. `between`: called between steps;
  // may be null.
  template <typename Around>
  absl::StatusOr<absl::Span<const TensorView>> Run(const PlanImpl& plan,
                                                   absl::Span<const TensorView> inputs,
                                                   const Around& around,
                                                   const std::function<void()>* between,
                                                   size_t first_step = 0);
  template <typename Around>
  absl::StatusOr<absl::Span<const TensorView>> RunPieces(const PlanImpl& plan, Binding& binding,
                                                         absl::Span<const TensorView> inputs,
                                                         const Around& around,
                                                         const std::function<void()>* between);
  template <typename Around>
  absl::Status RunPiece(const PlanImpl& piece, Binding& binding, size_t lane, int64_t first_row,
                        absl::Span<const TensorView> inputs, const Around& around,
                        const std::function<void()>* between);
};

Binding& Session::State::Bind(const PlanImpl& plan) {
  if (&plan != last_plan || last_binding->plan.lock() != plan.token()) {
    auto found = bindings.find(&plan);
    if (found == bindings.end() || found->second->plan.lock() != plan.token()) {
      // A new plan: a good moment to forget those that are gone.
      absl::erase_if(bindings, [](const auto& entry) { return entry.second->plan.expired(); });
      auto binding = std::make_unique<Binding>();
      binding->plan = plan.token();
      binding->pointers.resize(plan.buffers().size());
      binding->dynamic.resize(plan.buffers().size());
      for (const PlannedStep& step : plan.planned_steps()) {
        binding->states.push_back(step.step ? step.step->MakeState() : nullptr);
      }
      for (const PlannedOutput& output : plan.outputs()) {
        binding->outputs.push_back({output.type, output.shape, nullptr});
      }
      if (const Pieces* pieces = plan.pieces()) BindPieces(plan, *pieces, *binding);
      found = bindings.insert_or_assign(&plan, std::move(binding)).first;
    }
    last_plan = &plan;
    last_binding = found->second.get();
  }
  if (plan.pieces() != nullptr) return *last_binding;  // the lanes have arenas
  if (arena.Reserve(plan.arena_bytes())) ++arena_generation;
  scratch.Reserve(plan.scratch_bytes());
  Binding& binding = *last_binding;
  if (binding.arena_generation != arena_generation) {
    binding.arena_generation = arena_generation;
    for (size_t i = 0; i < plan.buffers().size(); ++i) {
      const Buffer& b = plan.buffers()[i];
      if (b.kind == Buffer::Kind::kArena) binding.pointers[i] = arena.data() + b.offset;
      if (b.kind == Buffer::Kind::kConstant) binding.pointers[i] = const_cast<void*>(b.constant);
    }
  }
  return binding;
}

absl::Status Session::State::RunDynamic(const PlanImpl& plan, const PlannedStep& step,
                                        Binding& binding) {
  std::vector<Tensor> tensors(step.inputs.size());
  std::vector<const Tensor*> inputs(step.inputs.size(), nullptr);
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const int32_t buffer = step.inputs[i];
    if (buffer < 0) continue;
    const Meta& meta = step.input_metas[i];
    if (meta.type == DataType::kUndefined) {
      inputs[i] = &binding.dynamic[static_cast<size_t>(buffer)];
    } else {
      tensors[i] = Tensor::Borrow(meta.type, meta.shape,
                                  binding.pointers[static_cast<size_t>(buffer)], nullptr);
      inputs[i] = &tensors[i];
    }
  }
  absl::StatusOr<std::vector<Tensor>> outputs;
  RETURN_IF_ERROR(CatchDnnl(Describe(*step.node), [&] {
    outputs = Evaluate(*step.node, *step.kernel, inputs, plan.threads(),
                       std::numeric_limits<size_t>::max());
    return absl::OkStatus();
  }));
  if (!outputs.ok()) return Annotate(outputs.status(), Describe(*step.node));
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (step.outputs[i] < 0) continue;
    const size_t buffer = static_cast<size_t>(step.outputs[i]);
    binding.dynamic[buffer] = std::move((*outputs)[i]);
    binding.pointers[buffer] = binding.dynamic[buffer].mutable_data();
  }
  return absl::OkStatus();
}

template <typename Around>
absl::Status Session::State::RunPiece(const PlanImpl& piece, Binding& binding, size_t lane,
                                      int64_t first_row, absl::Span<const TensorView> inputs,
                                      const Around& around, const std::function<void()>* between) {
  std::vector<TensorView>& views = binding.piece_inputs[lane];
  for (size_t i = 0; i < views.size(); ++i) {
    views[i].data = static_cast<const char*>(inputs[i].data) +
                    static_cast<size_t>(first_row) * RowBytes(views[i].type, views[i].shape);
  }
  // What is left runs after all lanes, in the memory of the first.
  State& state = *lanes[lane < lanes.size() ? lane : 0];
  ASSIGN_OR_RETURN(const auto outputs, state.Run(piece, views, around, between));
  for (size_t i = 0; i < outputs.size(); ++i) {
    char* const all = static_cast<char*>(const_cast<void*>(binding.gathered[i].data));
    const size_t row = RowBytes(outputs[i].type, outputs[i].shape);
    std::memcpy(all + static_cast<size_t>(first_row) * row, outputs[i].data, outputs[i].bytes());
  }
  return absl::OkStatus();
}

template <typename Around>
absl::StatusOr<absl::Span<const TensorView>> Session::State::RunPieces(
    const PlanImpl& plan, Binding& binding, absl::Span<const TensorView> inputs,
    const Around& around, const std::function<void()>* between) {
  const Pieces& pieces = *plan.pieces();
  size_t bytes = 0;
  for (const TensorView& output : binding.gathered) bytes += (output.bytes() + 63) / 64 * 64;
  results.Reserve(bytes);
  bytes = 0;
  for (TensorView& output : binding.gathered) {
    output.data = results.data() + bytes;
    bytes += (output.bytes() + 63) / 64 * 64;
  }
  const auto count = static_cast<size_t>(pieces.lanes);
  while (lanes.size() < count) lanes.push_back(std::make_unique<State>());
  int64_t row = 0;
  for (int64_t round = 0; round < pieces.rounds; ++round, row += pieces.rows * pieces.lanes) {
    if (round > 0 && between != nullptr) (*between)();
    if (count == 1) {
      RETURN_IF_ERROR(RunPiece(*pieces.plan, binding, 0, row, inputs, around, between));
      continue;
    }
#pragma omp parallel for num_threads(pieces.lanes) schedule(static, 1)
    for (int lane = 0; lane < pieces.lanes; ++lane) {
      const auto i = static_cast<size_t>(lane);
      const int64_t first = row + lane * pieces.rows;
      // Only one lane's time is measured: the others do the same.
      binding.statuses[i] =
          lane == 0 ? RunPiece(*pieces.plan, binding, i, first, inputs, around, nullptr)
                    : RunPiece(*pieces.plan, binding, i, first, inputs, kJustRun, nullptr);
    }
    for (const absl::Status& status : binding.statuses) RETURN_IF_ERROR(status);
  }
  if (pieces.rest != nullptr) {
    RETURN_IF_ERROR(RunPiece(*pieces.rest, binding, count, row, inputs, kJustRun, between));
  }
  if (pieces.head == nullptr) return absl::Span<const TensorView>(binding.gathered);
  if (between != nullptr) (*between)();
  return lanes[0]->Run(*pieces.head, binding.gathered, around, between,
                       pieces.plan->steps().size());
}

template <typename Around>
absl::StatusOr<absl::Span<const TensorView>> Session::State::Run(
    const PlanImpl& plan, absl::Span<const TensorView> inputs, const Around& around,
    const std::function<void()>* between, size_t first_step) {
  RETURN_IF_ERROR(CheckInputs(plan, inputs));
  Binding& binding = Bind(plan);
  if (plan.pieces() != nullptr) return RunPieces(plan, binding, inputs, around, between);
  for (size_t i = 0; i < plan.buffers().size(); ++i) {
    const Buffer& b = plan.buffers()[i];
    if (b.kind != Buffer::Kind::kInput) break;  // inputs come first
    binding.pointers[i] = const_cast<void*>(inputs[b.index].data);
  }
  const auto& steps = plan.planned_steps();
  RunContext context{binding.pointers.data(), nullptr, nullptr,
                     scratch.data(),          nullptr, stream.get()};
  for (size_t i = 0; i < steps.size(); ++i) {
    const PlannedStep& step = steps[i];
    if (i > 0 && between != nullptr) (*between)();
    absl::Status status;
    around(first_step + i, [&] {
      if (step.step == nullptr) {
        status = RunDynamic(plan, step, binding);
        return;
      }
      context.inputs = step.inputs.data();
      context.outputs = step.outputs.data();
      context.state = binding.states[i].get();
      status = step.step->Run(context);
    });
    if (!status.ok()) [[unlikely]] {
      return Annotate(status, absl::StrCat("node \"", plan.steps()[i].node, "\""));
    }
  }
  for (size_t i = 0; i < plan.outputs().size(); ++i) {
    const PlannedOutput& output = plan.outputs()[i];
    const size_t buffer = static_cast<size_t>(output.buffer);
    if (output.type == DataType::kUndefined) {
      binding.outputs[i] = binding.dynamic[buffer].view();
    } else {
      binding.outputs[i].data = binding.pointers[buffer];
    }
  }
  return absl::Span<const TensorView>(binding.outputs);
}

Session::Session() : state_(std::make_unique<State>()) {}
Session::~Session() = default;

void* Session::InputBuffer(const Plan& plan, size_t index) {
  const auto& impl = static_cast<const PlanImpl&>(plan);
  const DataType type = impl.loaded().graph.signature.inputs[index].type;
  BATON_CHECK(type != DataType::kString);
  if (state_->staging.size() <= index) state_->staging.resize(index + 1);
  Block& block = state_->staging[index];
  block.Reserve(static_cast<size_t>(NumElements(plan.input_shapes()[index])) * DataTypeSize(type));
  return block.data();
}

absl::StatusOr<absl::Span<const TensorView>> Session::Run(const Plan& plan,
                                                          absl::Span<const TensorView> inputs) {
  return state_->Run(static_cast<const PlanImpl&>(plan), inputs, kJustRun, state_->between());
}

absl::StatusOr<absl::Span<const TensorView>> Session::RunProfiled(
    const Plan& plan, absl::Span<const TensorView> inputs, std::vector<double>& seconds) {
  seconds.resize(plan.steps().size());
  const auto measured = [&](size_t step, const auto& run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds[step] +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  return state_->Run(static_cast<const PlanImpl&>(plan), inputs, measured, state_->between());
}

void Session::SetBetweenSteps(std::function<void()> hook) {
  state_->between_steps = std::move(hook);
}

void Session::Trim() {
  State& state = *state_;
  absl::erase_if(state.bindings, [](const auto& entry) { return entry.second->plan.expired(); });
  const bool alive = state.last_binding != nullptr && state.bindings.contains(state.last_plan);
  const size_t needed = alive ? state.last_plan->arena_bytes() : 0;
  if (!alive) {
    state.last_plan = nullptr;
    state.last_binding = nullptr;
  }
  if (state.arena.bytes() > needed) {
    state.arena.Free();
    if (alive) state.arena.Reserve(needed);
    ++state.arena_generation;
  }
  state.scratch.Free();
  state.results.Free();
  state.lanes.clear();
  state.staging.clear();
}

void ReleaseThreads() { omp_pause_resource_all(omp_pause_soft); }

}  // namespace baton::engine

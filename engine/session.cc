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

}  // namespace

struct Session::State {
  Block arena, scratch;
  uint64_t arena_generation = 1;
  std::vector<Block> staging;  // by input
  absl::flat_hash_map<const PlanImpl*, std::unique_ptr<Binding>> bindings;
  const PlanImpl* last_plan = nullptr;
  Binding* last_binding = nullptr;
  dnnl::stream stream{CpuEngine()};
  std::function<void()> between_steps;

  Binding& Bind(const PlanImpl& plan);
  absl::Status RunDynamic(const PlanImpl& plan, const PlannedStep& step, Binding& binding);
  template <typename Around>
  absl::StatusOr<absl::Span<const TensorView>> Run(const PlanImpl& plan,
                                                   absl::Span<const TensorView> inputs,
                                                   const Around& around);
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
      found = bindings.insert_or_assign(&plan, std::move(binding)).first;
    }
    last_plan = &plan;
    last_binding = found->second.get();
  }
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
absl::StatusOr<absl::Span<const TensorView>> Session::State::Run(
    const PlanImpl& plan, absl::Span<const TensorView> inputs, const Around& around) {
  RETURN_IF_ERROR(CheckInputs(plan, inputs));
  Binding& binding = Bind(plan);
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
    if (i > 0 && between_steps) between_steps();
    absl::Status status;
    around(i, [&] {
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
  return state_->Run(static_cast<const PlanImpl&>(plan), inputs,
                     [](size_t, const auto& run) { run(); });
}

absl::StatusOr<absl::Span<const TensorView>> Session::RunProfiled(
    const Plan& plan, absl::Span<const TensorView> inputs, std::vector<double>& seconds) {
  seconds.resize(plan.steps().size());
  return state_->Run(static_cast<const PlanImpl&>(plan), inputs, [&](size_t step, const auto& run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds[step] +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  });
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
  state.staging.clear();
}

void ReleaseThreads() { omp_pause_resource_all(omp_pause_soft); }

}  // namespace baton::engine

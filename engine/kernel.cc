#include "engine/kernel.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"

namespace baton::engine {
namespace {

constexpr char kNeedsDataUrl[] = "baton/needs-data";

class FunctionKernel final : public Kernel {
 public:
  explicit FunctionKernel(PrepareFunction prepare) : prepare_(std::move(prepare)) {}
  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& context) const override {
    return prepare_(context);
  }

 private:
  const PrepareFunction prepare_;
};

struct DnnlState final : StepState {
  explicit DnnlState(dnnl::primitive primitive) : call(std::move(primitive)) {}
  DnnlCall call;  // one argument for each of the step's, the scratchpad last
};

class DnnlStep final : public Step {
 public:
  DnnlStep(const DnnlPrimitive& made, std::vector<DnnlArgument> arguments, int threads,
           double flops)
      : primitive_(made.primitive),
        scratchpad_(made.scratchpad),
        implementation_(made.implementation),
        arguments_(std::move(arguments)),
        threads_(threads),
        flops_(flops) {}

  std::unique_ptr<StepState> MakeState() const override {
    auto state = std::make_unique<DnnlState>(primitive_);
    for (const DnnlArgument& a : arguments_) {
      state->call.Add(a.dnnl_arg, a.layout, a.fixed.get());
    }
    if (scratchpad_.get_size() > 0) state->call.Add(DNNL_ARG_SCRATCHPAD, scratchpad_);
    return state;
  }

  absl::Status Run(const RunContext& context) const override {
    DnnlCall& call = static_cast<DnnlState&>(*context.state).call;
    for (size_t i = 0; i < arguments_.size(); ++i) {
      const DnnlArgument& a = arguments_[i];
      if (a.from == DnnlArgument::From::kFixed) continue;
      const int32_t* buffers =
          a.from == DnnlArgument::From::kInput ? context.inputs : context.outputs;
      call.SetData(i, static_cast<char*>(context.pointers[buffers[a.index]]) + a.offset);
    }
    if (call.size() > arguments_.size()) call.SetData(arguments_.size(), context.scratch);
    SetThreads(threads_);
    const dnnl_status_t status = call.Run(context.stream);
    if (status == dnnl_success) [[likely]]
      return absl::OkStatus();
    return DnnlErrorStatus(implementation_, status, "execution failed");
  }

  size_t scratch_bytes() const override { return scratchpad_.get_size(); }
  const char* implementation() const override { return implementation_.c_str(); }
  double flops() const override { return flops_; }

 private:
  const dnnl::primitive primitive_;
  const Layout scratchpad_;
  const std::string implementation_;
  const std::vector<DnnlArgument> arguments_;
  const int threads_;
  const double flops_;
};

class SequenceStep final : public Step {
 public:
  explicit SequenceStep(std::vector<std::unique_ptr<Step>> steps) : steps_(std::move(steps)) {}

  std::unique_ptr<StepState> MakeState() const override {
    auto state = std::make_unique<State>();
    for (const auto& step : steps_) state->states.push_back(step->MakeState());
    return state;
  }
  absl::Status Run(const RunContext& context) const override {
    const State& state = static_cast<const State&>(*context.state);
    RunContext own = context;
    for (size_t i = 0; i < steps_.size(); ++i) {
      own.state = state.states[i].get();
      RETURN_IF_ERROR(steps_[i]->Run(own));
    }
    return absl::OkStatus();
  }
  size_t scratch_bytes() const override {
    size_t most = 0;
    for (const auto& step : steps_) most = std::max(most, step->scratch_bytes());
    return most;
  }
  const char* implementation() const override { return steps_[0]->implementation(); }
  double flops() const override { return steps_[0]->flops(); }

 private:
  struct State final : StepState {
    std::vector<std::unique_ptr<StepState>> states;
  };
  const std::vector<std::unique_ptr<Step>> steps_;
};

}  // namespace

absl::Status NeedsData(size_t input) {
  absl::Status status =
      absl::FailedPreconditionError(absl::StrCat("needs the data of input ", input));
  status.SetPayload(kNeedsDataUrl, absl::Cord());
  return status;
}

bool IsNeedsData(const absl::Status& status) {
  return status.GetPayload(kNeedsDataUrl).has_value();
}

int PrepareContext::ThreadsFor(double flops, double bytes) const {
  // 7 to 15 µs of one core's work: 1 MFLOP, or 500 KB through the caches.
  return flops >= 1e6 || bytes >= 5e5 ? threads() : 1;
}

absl::StatusOr<const Tensor*> PrepareContext::Data(size_t i) const {
  const Tensor* data = known(i);
  if (data == nullptr) return NeedsData(i);
  return data;
}

std::unique_ptr<Kernel> MakeKernel(PrepareFunction prepare) {
  return std::make_unique<FunctionKernel>(std::move(prepare));
}

std::unique_ptr<Step> MakeDnnlStep(const DnnlPrimitive& primitive,
                                   std::vector<DnnlArgument> arguments, int threads, double flops) {
  return std::make_unique<DnnlStep>(primitive, std::move(arguments), threads, flops);
}

std::unique_ptr<Step> MakeSequence(std::vector<std::unique_ptr<Step>> steps) {
  return std::make_unique<SequenceStep>(std::move(steps));
}

void AddFixed(std::vector<FixedArgument> fixed, std::vector<DnnlArgument>& arguments) {
  for (FixedArgument& argument : fixed) {
    arguments.push_back({argument.dnnl_arg, argument.layout, DnnlArgument::From::kFixed, 0,
                         std::move(argument.data)});
  }
}

int ResidualInput(absl::Span<const PostOp> post_ops) {
  for (const PostOp& post_op : post_ops) {
    if (post_op.kind == PostOp::Kind::kAddInput) return post_op.input;
  }
  return -1;
}

absl::StatusOr<std::shared_ptr<const void>> PackedWeights::Get(const Layout& from,
                                                               const Layout& to) const {
  MutexLock lock(mu_);
  for (const auto& [layout, data] : packed_) {
    if (layout == to) return data;
  }
  ASSIGN_OR_RETURN(const Tensor plain, PlainLocked(from));
  if (from == to) {
    plain_ = plain;
    shared_ = true;
    return std::shared_ptr<const void>(std::make_shared<Tensor>(plain), plain.data());
  }
  std::shared_ptr<void> data = AllocateAligned(to.get_size());
  const ScopedThreads scope(1);  // see ReleaseThreads
  RETURN_IF_ERROR(ReorderNow(from, plain.data(), to, data.get()));
  packed_.emplace_back(to, data);
  bytes_ += to.get_size();
  if (!shared_ && plain.type() == DataType::kFloat && CanReorder(packed_[0].first, from)) {
    plain_ = Tensor();
  }
  return data;
}

absl::StatusOr<Tensor> PackedWeights::Plain(const Layout& from) const {
  MutexLock lock(mu_);
  return PlainLocked(from);
}

absl::StatusOr<Tensor> PackedWeights::PlainLocked(const Layout& from) const {
  if (!plain_.empty()) return plain_;
  Tensor plain(DataType::kFloat, shape_);
  const ScopedThreads scope(1);
  RETURN_IF_ERROR(
      ReorderNow(packed_[0].first, packed_[0].second.get(), from, plain.mutable_data()));
  return plain;
}

std::optional<Layout> PackedWeights::layout() const {
  MutexLock lock(mu_);
  if (packed_.empty()) return std::nullopt;
  return packed_[0].first;
}

size_t PackedWeights::bytes() const {
  MutexLock lock(mu_);
  return bytes_ + (plain_.empty() ? 0 : plain_.bytes());
}

std::shared_ptr<void> AllocateAligned(size_t bytes) {
  void* memory = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
  BATON_CHECK(memory != nullptr);
  return {memory, [](void* p) { std::free(p); }};
}

}  // namespace baton::engine

// Evaluate: one node, now, on tensors.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/plan.h"

namespace baton::engine {
namespace {

class EvaluateContext final : public PrepareContext {
 public:
  EvaluateContext(const Node& node, absl::Span<const Tensor* const> inputs, int threads)
      : node_(node),
        inputs_(inputs),
        threads_(threads),
        metas_(inputs.size()),
        reordered_(inputs.size()),
        outputs_(node.outputs.size()),
        known_(node.outputs.size()),
        overwrites_(node.outputs.size(), -1) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] != nullptr) metas_[i] = {inputs[i]->type(), inputs[i]->shape(), std::nullopt};
    }
  }

  int threads() const override { return threads_; }
  size_t num_inputs() const override { return inputs_.size(); }
  bool has_input(size_t i) const override { return i < inputs_.size() && inputs_[i] != nullptr; }
  const Meta& input(size_t i) const override { return metas_[i]; }
  const Tensor* known(size_t i) const override { return inputs_[i]; }
  absl::Status SetInputLayout(size_t i, const Layout& layout) override {
    const Layout plain = PlainLayout(metas_[i].type, metas_[i].shape);
    metas_[i].layout = layout;
    reordered_[i] = AllocateAligned(layout.get_size());
    return ReorderNow(plain, inputs_[i]->data(), layout, reordered_[i].get());
  }
  bool has_output(size_t i) const override { return node_.has_output(i); }
  void SetOutput(size_t i, Meta meta) override { outputs_[i] = std::move(meta); }
  void SetView(size_t output, size_t input, Shape shape) override {
    known_[output] =
        Tensor::Copy({inputs_[input]->type(), std::move(shape), inputs_[input]->data()});
  }
  absl::Status SetOverwrite(size_t output, size_t input, Meta meta) override {
    overwrites_[output] = static_cast<int>(input);
    outputs_[output] = std::move(meta);
    return absl::OkStatus();
  }
  void SetMaybeInPlace(size_t output, size_t, Meta meta) override {
    outputs_[output] = std::move(meta);
  }
  bool SetJoined(size_t, Meta) override { return false; }
  void SetKnown(size_t output, Tensor value) override { known_[output] = std::move(value); }

  absl::StatusOr<std::vector<Tensor>> Finish(const Step* step, size_t max_bytes) {
    size_t bytes = 0;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      bytes += known_[i].empty() ? outputs_[i].bytes() : known_[i].bytes();
    }
    if (bytes > max_bytes) return absl::OutOfRangeError("too large to evaluate while planning");
    // Buffers: inputs, then outputs. Blocked outputs get a buffer of their own first.
    std::vector<void*> pointers;
    std::vector<int32_t> in(inputs_.size(), -1), out(outputs_.size(), -1);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i] == nullptr) continue;
      in[i] = static_cast<int32_t>(pointers.size());
      pointers.push_back(reordered_[i] ? reordered_[i].get()
                                       : const_cast<void*>(inputs_[i]->data()));
    }
    std::vector<Tensor> results(outputs_.size());
    std::vector<std::shared_ptr<void>> blocked(outputs_.size());
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (!known_[i].empty()) results[i] = known_[i];
      if (!known_[i].empty() || !has_output(i)) continue;
      const Meta& meta = outputs_[i];
      results[i] = Tensor(meta.type, meta.shape);
      void* data = results[i].mutable_data();
      if (meta.layout) {
        blocked[i] = AllocateAligned(meta.bytes());
        data = blocked[i].get();
      }
      if (overwrites_[i] >= 0) {
        const Tensor& source = *inputs_[static_cast<size_t>(overwrites_[i])];
        if (meta.layout) {
          RETURN_IF_ERROR(
              ReorderNow(PlainLayout(meta.type, meta.shape), source.data(), *meta.layout, data));
        } else {
          std::memcpy(data, source.data(), meta.bytes());
        }
      }
      out[i] = static_cast<int32_t>(pointers.size());
      pointers.push_back(data);
    }
    if (step != nullptr) {
      const std::shared_ptr<void> scratch = AllocateAligned(step->scratch_bytes());
      const std::unique_ptr<StepState> state = step->MakeState();
      dnnl::stream stream(CpuEngine());
      RETURN_IF_ERROR(step->Run(
          {pointers.data(), in.data(), out.data(), scratch.get(), state.get(), stream.get()}));
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (!blocked[i]) continue;
      RETURN_IF_ERROR(ReorderNow(*outputs_[i].layout, blocked[i].get(),
                                 PlainLayout(outputs_[i].type, outputs_[i].shape),
                                 results[i].mutable_data()));
    }
    return results;
  }

 private:
  const Node& node_;
  const absl::Span<const Tensor* const> inputs_;
  const int threads_;
  std::vector<Meta> metas_;
  std::vector<std::shared_ptr<void>> reordered_;
  std::vector<Meta> outputs_;
  std::vector<Tensor> known_;
  std::vector<int> overwrites_;
};

}  // namespace

absl::StatusOr<std::vector<Tensor>> Evaluate(const Node& node, const Kernel& kernel,
                                             absl::Span<const Tensor* const> inputs, int threads,
                                             size_t max_bytes) {
  const ScopedThreads scope(threads);
  EvaluateContext context(node, inputs, threads);
  ASSIGN_OR_RETURN(const std::unique_ptr<Step> step, kernel.Prepare(context));
  return context.Finish(step.get(), max_bytes);
}

}  // namespace baton::engine

#include "trainer/layer_pass.h"

#include <utility>
#include <vector>

#include "engine/base/check.h"

namespace baton::trainer {
namespace {

using dnnl::memory;
using dnnl::prop_kind;

prop_kind ForwardKind(Purpose purpose) {
  return purpose == Purpose::kTraining ? prop_kind::forward_training : prop_kind::forward_inference;
}

Shape BatchShape(const Value& source, const Layer& layer) {
  Shape shape = {source.shape[0]};
  shape.insert(shape.end(), layer.output_shape.begin(), layer.output_shape.end());
  return shape;
}

Value MakeValue(const Device& device, const Shape& shape, const Layout& layout, Purpose purpose) {
  Value value{shape, memory(layout, device.engine), {}};
  if (purpose == Purpose::kTraining) value.gradient = memory(layout, device.engine);
  return value;
}

bool HasGradient(const Value& value) { return static_cast<bool>(value.gradient); }

// Runs what was made, in order.
class Sequence {
 public:
  void Add(Operation operation) { operations_.push_back(std::move(operation)); }
  void Run(const Device& device) const {
    for (const Operation& operation : operations_) operation.Run(device);
  }

 private:
  std::vector<Operation> operations_;
};

// Memory in `layout` for the contents of `plain`, which is `plain` itself where the layouts agree;
// else `sequence` copies there first.
memory Packed(const Device& device, const memory& plain, const Layout& layout, Sequence& sequence) {
  if (plain.get_desc() == layout) return plain;
  memory packed(layout, device.engine);
  sequence.Add(Operation::Reorder(device, plain, packed));
  return packed;
}

// A layer that is a fixed list of primitives each way.
class SequencePass : public LayerPass {
 public:
  void Forward(const Device& device) override { forward_.Run(device); }
  void Backward(const Device& device) override { backward_.Run(device); }

 protected:
  Sequence forward_, backward_;
};

// Plain layouts throughout: the weights change with every step, and packing them anew each time
// costs more than it saves at the sizes that are trained here.
class DensePass final : public SequencePass {
 public:
  DensePass(const Device& device, Layer& layer, const Value& source, Purpose purpose) {
    const Shape shape = BatchShape(source, layer);
    output_ = MakeValue(device, shape, PlainLayout(shape), purpose);
    const memory weights = MemoryOf(device, layer.parameters[0].value);
    const memory bias = MemoryOf(device, layer.parameters[1].value);
    const Layout src = source.data.get_desc(), dst = output_.data.get_desc();
    const auto forward = InnerProductForward(device, ForwardKind(purpose), src, weights.get_desc(),
                                             bias.get_desc(), dst);
    forward_.Add(Operation::Make<dnnl::inner_product_forward>(device, forward,
                                                              {{DNNL_ARG_SRC, source.data},
                                                               {DNNL_ARG_WEIGHTS, weights},
                                                               {DNNL_ARG_BIAS, bias},
                                                               {DNNL_ARG_DST, output_.data}}));
    if (purpose == Purpose::kInference) return;
    backward_.Add(Operation::Make<dnnl::inner_product_backward_weights>(
        device,
        InnerProductBackwardWeights(device, src, weights.get_desc(), bias.get_desc(), dst, forward),
        {{DNNL_ARG_SRC, source.data},
         {DNNL_ARG_DIFF_DST, output_.gradient},
         {DNNL_ARG_DIFF_WEIGHTS, MemoryOf(device, layer.parameters[0].gradient)},
         {DNNL_ARG_DIFF_BIAS, MemoryOf(device, layer.parameters[1].gradient)}}));
    if (!HasGradient(source)) return;
    backward_.Add(Operation::Make<dnnl::inner_product_backward_data>(
        device, InnerProductBackwardData(device, src, weights.get_desc(), dst, forward),
        {{DNNL_ARG_DIFF_DST, output_.gradient},
         {DNNL_ARG_WEIGHTS, weights},
         {DNNL_ARG_DIFF_SRC, source.gradient}}));
  }
};

// oneDNN chooses the layouts of the output and of the weights; the parameters stay plain and are
// reordered on the way, which is cheap beside a convolution.
class ConvPass final : public SequencePass {
 public:
  ConvPass(const Device& device, Layer& layer, const Value& source, Purpose purpose) {
    Parameter& weight = layer.parameters[0];
    const int64_t padding = (std::get<Conv2D>(layer.spec).kernel - 1) / 2;
    const Shape shape = BatchShape(source, layer);
    const Layout src = source.data.get_desc();
    const Layout any_weights = AnyLayout(weight.value.shape());
    const memory weights = MemoryOf(device, weight.value);
    const memory bias = MemoryOf(device, layer.parameters[1].value);

    const auto forward = ConvolutionForward(device, ForwardKind(purpose), src, any_weights,
                                            bias.get_desc(), AnyLayout(shape), padding);
    output_ = MakeValue(device, shape, forward.dst_desc(), purpose);
    const Layout dst = output_.data.get_desc();
    const memory packed = Packed(device, weights, forward.weights_desc(), forward_);
    forward_.Add(Operation::Make<dnnl::convolution_forward>(device, forward,
                                                            {{DNNL_ARG_SRC, source.data},
                                                             {DNNL_ARG_WEIGHTS, packed},
                                                             {DNNL_ARG_BIAS, bias},
                                                             {DNNL_ARG_DST, output_.data}}));
    if (purpose == Purpose::kInference) return;

    const auto by_weights = ConvolutionBackwardWeights(device, src, any_weights, bias.get_desc(),
                                                       dst, padding, forward);
    const memory gradient = MemoryOf(device, weight.gradient);
    const Layout gradient_layout = by_weights.diff_weights_desc();
    const bool plain = gradient_layout == gradient.get_desc();
    const memory packed_gradient = plain ? gradient : memory(gradient_layout, device.engine);
    backward_.Add(Operation::Make<dnnl::convolution_backward_weights>(
        device, by_weights,
        {{DNNL_ARG_SRC, source.data},
         {DNNL_ARG_DIFF_DST, output_.gradient},
         {DNNL_ARG_DIFF_WEIGHTS, packed_gradient},
         {DNNL_ARG_DIFF_BIAS, MemoryOf(device, layer.parameters[1].gradient)}}));
    if (!plain) backward_.Add(Operation::Reorder(device, packed_gradient, gradient));
    if (!HasGradient(source)) return;
    const auto by_data = ConvolutionBackwardData(device, src, any_weights, dst, padding, forward);
    const memory packed_for_data = Packed(device, weights, by_data.weights_desc(), backward_);
    backward_.Add(
        Operation::Make<dnnl::convolution_backward_data>(device, by_data,
                                                         {{DNNL_ARG_DIFF_DST, output_.gradient},
                                                          {DNNL_ARG_WEIGHTS, packed_for_data},
                                                          {DNNL_ARG_DIFF_SRC, source.gradient}}));
  }
};

class MaxPoolPass final : public SequencePass {
 public:
  MaxPoolPass(const Device& device, Layer& layer, const Value& source, Purpose purpose) {
    const int64_t size = std::get<MaxPool>(layer.spec).size;
    const Shape shape = BatchShape(source, layer);
    const Layout src = source.data.get_desc();
    const auto forward = MaxPoolForward(device, ForwardKind(purpose), src, AnyLayout(shape), size);
    output_ = MakeValue(device, shape, forward.dst_desc(), purpose);
    Operation::Arguments arguments = {{DNNL_ARG_SRC, source.data}, {DNNL_ARG_DST, output_.data}};
    memory where;  // each maximum was: backward needs to know
    if (purpose == Purpose::kTraining) {
      where = memory(forward.workspace_desc(), device.engine);
      arguments.insert({DNNL_ARG_WORKSPACE, where});
    }
    forward_.Add(Operation::Make<dnnl::pooling_forward>(device, forward, std::move(arguments)));
    if (!HasGradient(source)) return;
    backward_.Add(Operation::Make<dnnl::pooling_backward>(
        device, MaxPoolBackward(device, src, output_.data.get_desc(), size, forward),
        {{DNNL_ARG_DIFF_DST, output_.gradient},
         {DNNL_ARG_WORKSPACE, where},
         {DNNL_ARG_DIFF_SRC, source.gradient}}));
  }
};

dnnl::algorithm AlgorithmOf(Activation::Kind kind) {
  switch (kind) {
    case Activation::Kind::kSigmoid:
      return dnnl::algorithm::eltwise_logistic_use_dst_for_bwd;
    case Activation::Kind::kTanh:
      return dnnl::algorithm::eltwise_tanh_use_dst_for_bwd;
    case Activation::Kind::kRelu:
      return dnnl::algorithm::eltwise_relu_use_dst_for_bwd;
  }
  BATON_CHECK(false);
}

class ActivationPass final : public SequencePass {
 public:
  ActivationPass(const Device& device, Layer& layer, const Value& source, Purpose purpose) {
    const dnnl::algorithm algorithm = AlgorithmOf(std::get<Activation>(layer.spec).kind);
    const Layout layout = source.data.get_desc();
    output_ = MakeValue(device, source.shape, layout, purpose);
    const auto forward = EltwiseForward(device, ForwardKind(purpose), algorithm, layout);
    forward_.Add(Operation::Make<dnnl::eltwise_forward>(
        device, forward, {{DNNL_ARG_SRC, source.data}, {DNNL_ARG_DST, output_.data}}));
    if (!HasGradient(source)) return;
    backward_.Add(Operation::Make<dnnl::eltwise_backward>(
        device, EltwiseBackward(device, algorithm, layout, forward),
        {{DNNL_ARG_DST, output_.data},
         {DNNL_ARG_DIFF_DST, output_.gradient},
         {DNNL_ARG_DIFF_SRC, source.gradient}}));
  }
};

// Back to row-major order, whatever layout the layers before chose, and then seen as [batch, n].
class FlattenPass final : public SequencePass {
 public:
  FlattenPass(const Device& device, Layer& layer, const Value& source, Purpose purpose) {
    const Shape shape = BatchShape(source, layer);
    output_ = MakeValue(device, shape, PlainLayout(shape), purpose);
    const Layout unflattened = PlainLayout(source.shape);
    const auto as_source = [&](const memory& flat) {
      return memory(unflattened, device.engine, flat.get_data_handle());
    };
    forward_.Add(Operation::Reorder(device, source.data, as_source(output_.data)));
    if (!HasGradient(source)) return;
    backward_.Add(Operation::Reorder(device, as_source(output_.gradient), source.gradient));
  }
};

// Which pass computes which kind of layer.
struct PassMaker {
  const Device& device;
  Layer& layer;
  const Value& source;
  Purpose purpose;

  std::unique_ptr<LayerPass> operator()(const Dense&) const { return Make<DensePass>(); }
  std::unique_ptr<LayerPass> operator()(const Conv2D&) const { return Make<ConvPass>(); }
  std::unique_ptr<LayerPass> operator()(const MaxPool&) const { return Make<MaxPoolPass>(); }
  std::unique_ptr<LayerPass> operator()(const Activation&) const { return Make<ActivationPass>(); }
  std::unique_ptr<LayerPass> operator()(const Flatten&) const { return Make<FlattenPass>(); }

  template <typename Pass>
  std::unique_ptr<LayerPass> Make() const {
    return std::make_unique<Pass>(device, layer, source, purpose);
  }
};

}  // namespace

std::unique_ptr<LayerPass> LayerPass::Make(const Device& device, Layer& layer, const Value& source,
                                           Purpose purpose) {
  return std::visit(PassMaker{device, layer, source, purpose}, layer.spec);
}

}  // namespace baton::trainer

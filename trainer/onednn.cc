#include "trainer/onednn.h"

namespace baton::trainer {
namespace {

using dnnl::memory;
using dnnl::prop_kind;

dnnl::primitive_attr UserScratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

memory::dims Dims(absl::Span<const int64_t> shape) { return {shape.begin(), shape.end()}; }

// 2.x describes an operation in an object of its own; 3.x takes its arguments directly.
template <typename Primitive, typename... Args>
auto Describe(const Device& device, const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Primitive::primitive_desc(device.engine, args..., UserScratchpad());
#else
  return typename Primitive::primitive_desc(typename Primitive::desc(args...), UserScratchpad(),
                                            device.engine);
#endif
}

template <typename Primitive, typename Forward, typename... Args>
auto DescribeBackward(const Device& device, const Forward& forward, const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Primitive::primitive_desc(device.engine, args..., forward, UserScratchpad());
#else
  return typename Primitive::primitive_desc(typename Primitive::desc(args...), UserScratchpad(),
                                            device.engine, forward);
#endif
}

const memory::dims kStride1 = {1, 1};
const memory::dims kNoPadding = {0, 0};

}  // namespace

Layout PlainLayout(absl::Span<const int64_t> shape) {
  memory::dims strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return Layout(Dims(shape), memory::data_type::f32, strides);
}

Layout AnyLayout(absl::Span<const int64_t> shape) {
  return Layout(Dims(shape), memory::data_type::f32, memory::format_tag::any);
}

dnnl::memory MemoryOf(const Device& device, Tensor& tensor) {
  return dnnl::memory(PlainLayout(tensor.shape()), device.engine,
                      tensor.mutable_values<float>().data());
}

Operation Operation::Reorder(const Device& device, const dnnl::memory& from,
                             const dnnl::memory& to) {
  const dnnl::reorder::primitive_desc desc(from, to, UserScratchpad());
  return Operation(dnnl::reorder(desc),
                   {{DNNL_ARG_FROM, from},
                    {DNNL_ARG_TO, to},
                    {DNNL_ARG_SCRATCHPAD, dnnl::memory(desc.scratchpad_desc(), device.engine)}});
}

dnnl::inner_product_forward::primitive_desc InnerProductForward(const Device& device,
                                                                prop_kind kind, const Layout& src,
                                                                const Layout& weights,
                                                                const Layout& bias,
                                                                const Layout& dst) {
  return Describe<dnnl::inner_product_forward>(device, kind, src, weights, bias, dst);
}

dnnl::inner_product_backward_data::primitive_desc InnerProductBackwardData(
    const Device& device, const Layout& diff_src, const Layout& weights, const Layout& diff_dst,
    const dnnl::inner_product_forward::primitive_desc& forward) {
  return DescribeBackward<dnnl::inner_product_backward_data>(device, forward, diff_src, weights,
                                                             diff_dst);
}

dnnl::inner_product_backward_weights::primitive_desc InnerProductBackwardWeights(
    const Device& device, const Layout& src, const Layout& diff_weights, const Layout& diff_bias,
    const Layout& diff_dst, const dnnl::inner_product_forward::primitive_desc& forward) {
  return DescribeBackward<dnnl::inner_product_backward_weights>(device, forward, src, diff_weights,
                                                                diff_bias, diff_dst);
}

dnnl::convolution_forward::primitive_desc ConvolutionForward(const Device& device, prop_kind kind,
                                                             const Layout& src,
                                                             const Layout& weights,
                                                             const Layout& bias, const Layout& dst,
                                                             int64_t padding) {
  const memory::dims pad = {padding, padding};
  return Describe<dnnl::convolution_forward>(device, kind, dnnl::algorithm::convolution_direct, src,
                                             weights, bias, dst, kStride1, pad, pad);
}

dnnl::convolution_backward_data::primitive_desc ConvolutionBackwardData(
    const Device& device, const Layout& diff_src, const Layout& weights, const Layout& diff_dst,
    int64_t padding, const dnnl::convolution_forward::primitive_desc& forward) {
  const memory::dims pad = {padding, padding};
  return DescribeBackward<dnnl::convolution_backward_data>(
      device, forward, dnnl::algorithm::convolution_direct, diff_src, weights, diff_dst, kStride1,
      pad, pad);
}

dnnl::convolution_backward_weights::primitive_desc ConvolutionBackwardWeights(
    const Device& device, const Layout& src, const Layout& diff_weights, const Layout& diff_bias,
    const Layout& diff_dst, int64_t padding,
    const dnnl::convolution_forward::primitive_desc& forward) {
  const memory::dims pad = {padding, padding};
  return DescribeBackward<dnnl::convolution_backward_weights>(
      device, forward, dnnl::algorithm::convolution_direct, src, diff_weights, diff_bias, diff_dst,
      kStride1, pad, pad);
}

dnnl::pooling_forward::primitive_desc MaxPoolForward(const Device& device, prop_kind kind,
                                                     const Layout& src, const Layout& dst,
                                                     int64_t size) {
  const memory::dims square = {size, size};
#if DNNL_VERSION_MAJOR >= 3
  const memory::dims dilation = {0, 0};
  return Describe<dnnl::pooling_forward>(device, kind, dnnl::algorithm::pooling_max, src, dst,
                                         square, square, dilation, kNoPadding, kNoPadding);
#else
  return Describe<dnnl::pooling_forward>(device, kind, dnnl::algorithm::pooling_max, src, dst,
                                         square, square, kNoPadding, kNoPadding);
#endif
}

dnnl::pooling_backward::primitive_desc MaxPoolBackward(
    const Device& device, const Layout& diff_src, const Layout& diff_dst, int64_t size,
    const dnnl::pooling_forward::primitive_desc& forward) {
  const memory::dims square = {size, size};
#if DNNL_VERSION_MAJOR >= 3
  const memory::dims dilation = {0, 0};
  return DescribeBackward<dnnl::pooling_backward>(device, forward, dnnl::algorithm::pooling_max,
                                                  diff_src, diff_dst, square, square, dilation,
                                                  kNoPadding, kNoPadding);
#else
  return DescribeBackward<dnnl::pooling_backward>(device, forward, dnnl::algorithm::pooling_max,
                                                  diff_src, diff_dst, square, square, kNoPadding,
                                                  kNoPadding);
#endif
}

dnnl::eltwise_forward::primitive_desc EltwiseForward(const Device& device, prop_kind kind,
                                                     dnnl::algorithm algorithm,
                                                     const Layout& data) {
#if DNNL_VERSION_MAJOR >= 3
  return Describe<dnnl::eltwise_forward>(device, kind, algorithm, data, data, 0.f, 0.f);
#else
  return Describe<dnnl::eltwise_forward>(device, kind, algorithm, data, 0.f, 0.f);
#endif
}

dnnl::eltwise_backward::primitive_desc EltwiseBackward(
    const Device& device, dnnl::algorithm algorithm, const Layout& data,
    const dnnl::eltwise_forward::primitive_desc& forward) {
#if DNNL_VERSION_MAJOR >= 3
  return DescribeBackward<dnnl::eltwise_backward>(device, forward, algorithm, data, data, data, 0.f,
                                                  0.f);
#else
  return DescribeBackward<dnnl::eltwise_backward>(device, forward, algorithm, data, data, 0.f, 0.f);
#endif
}

}  // namespace baton::trainer

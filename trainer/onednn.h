// What training needs of oneDNN, and the trainer's one place that knows how its API differs
// between versions (2.6 in Debian 12, 3.x in Debian 13). Every primitive is made with a user
// scratchpad. Throws dnnl::error: callers stand inside CatchDnnl.
#pragma once

#include <new>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace baton::trainer {

using Layout = dnnl::memory::desc;

// The CPU, and the order in which its work is done. Not thread-safe.
struct Device {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

// Row-major floats.
Layout PlainLayout(absl::Span<const int64_t> shape);
// Floats in the layout that the primitive likes best. REQUIRES: rank 4.
Layout AnyLayout(absl::Span<const int64_t> shape);

// `tensor`'s own memory. REQUIRES: a float tensor that outlives the result.
dnnl::memory MemoryOf(const Device& device, Tensor& tensor);

// A primitive with its arguments and its scratchpad, made once and run often.
class Operation {
 public:
  using Arguments = std::unordered_map<int, dnnl::memory>;

  Operation() = default;
  template <typename Primitive>
  static Operation Make(const Device& device, const typename Primitive::primitive_desc& desc,
                        Arguments arguments) {
    arguments.insert({DNNL_ARG_SCRATCHPAD, dnnl::memory(desc.scratchpad_desc(), device.engine)});
    return Operation(Primitive(desc), std::move(arguments));
  }
  // Copies `from` into `to`, changing the layout.
  static Operation Reorder(const Device& device, const dnnl::memory& from, const dnnl::memory& to);

  explicit operator bool() const { return static_cast<bool>(primitive_); }
  // REQUIRES: made.
  void Run(const Device& device) const { primitive_.execute(device.stream, arguments_); }

 private:
  Operation(dnnl::primitive primitive, Arguments arguments)
      : primitive_(std::move(primitive)), arguments_(std::move(arguments)) {}
  dnnl::primitive primitive_;
  Arguments arguments_;
};

// Descriptors. `forward` is the forward primitive's descriptor, which oneDNN wants as a hint.
dnnl::inner_product_forward::primitive_desc InnerProductForward(
    const Device& device, dnnl::prop_kind kind, const Layout& src, const Layout& weights,
    const Layout& bias, const Layout& dst);
dnnl::inner_product_backward_data::primitive_desc InnerProductBackwardData(
    const Device& device, const Layout& diff_src, const Layout& weights, const Layout& diff_dst,
    const dnnl::inner_product_forward::primitive_desc& forward);
dnnl::inner_product_backward_weights::primitive_desc InnerProductBackwardWeights(
    const Device& device, const Layout& src, const Layout& diff_weights, const Layout& diff_bias,
    const Layout& diff_dst, const dnnl::inner_product_forward::primitive_desc& forward);

// Stride 1, `padding` zeros on every side.
dnnl::convolution_forward::primitive_desc ConvolutionForward(
    const Device& device, dnnl::prop_kind kind, const Layout& src, const Layout& weights,
    const Layout& bias, const Layout& dst, int64_t padding);
dnnl::convolution_backward_data::primitive_desc ConvolutionBackwardData(
    const Device& device, const Layout& diff_src, const Layout& weights, const Layout& diff_dst,
    int64_t padding, const dnnl::convolution_forward::primitive_desc& forward);
dnnl::convolution_backward_weights::primitive_desc ConvolutionBackwardWeights(
    const Device& device, const Layout& src, const Layout& diff_weights, const Layout& diff_bias,
    const Layout& diff_dst, int64_t padding,
    const dnnl::convolution_forward::primitive_desc& forward);

// Maxima of size×size squares, side by side.
dnnl::pooling_forward::primitive_desc MaxPoolForward(const Device& device, dnnl::prop_kind kind,
                                                     const Layout& src, const Layout& dst,
                                                     int64_t size);
dnnl::pooling_backward::primitive_desc MaxPoolBackward(
    const Device& device, const Layout& diff_src, const Layout& diff_dst, int64_t size,
    const dnnl::pooling_forward::primitive_desc& forward);

// `algorithm`: one of those that compute their gradient from the result (…_use_dst_for_bwd).
dnnl::eltwise_forward::primitive_desc EltwiseForward(const Device& device, dnnl::prop_kind kind,
                                                     dnnl::algorithm algorithm, const Layout& data);
dnnl::eltwise_backward::primitive_desc EltwiseBackward(
    const Device& device, dnnl::algorithm algorithm, const Layout& data,
    const dnnl::eltwise_forward::primitive_desc& forward);

// Runs `f`, which returns nothing; kInternal, beginning with `what`, if oneDNN throws.
template <typename F>
absl::Status CatchDnnl(absl::string_view what, const F& f) {
  try {
    f();
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    return absl::InternalError(absl::StrCat(what, ": oneDNN: ", error.what(), " (status ",
                                            static_cast<int>(error.status), ")"));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of memory"));
  }
}

}  // namespace baton::trainer

// The one place that knows how oneDNN's API differs between versions (2.6 in Debian 12, 3.x in
// Debian 13), and what every kernel built on oneDNN shares: memory descriptors, primitives with
// user scratchpads, and the boundary where its exceptions become a Status.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/graph.h"
#include "engine/tensor.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace baton::engine {

using Layout = dnnl::memory::desc;

// The process's oneDNN CPU engine.
const dnnl::engine& CpuEngine();

// True for float, bfloat16, float16, int32, int8, uint8.
bool HasDnnlType(DataType type);
dnnl::memory::data_type ToDnnlType(DataType type);
dnnl::memory::dims ToDnnlDims(absl::Span<const int64_t> shape);

// Row-major; rank 0 becomes rank 1 of one element.
Layout PlainLayout(DataType type, absl::Span<const int64_t> shape);
// Of unspecified layout (`any`): the primitive chooses.
Layout AnyLayout(DataType type, absl::Span<const int64_t> shape);
// N, C/16, spatial, 16c for rank 3 to 5 (8c below AVX-512).
Layout ChannelBlockedLayout(DataType type, absl::Span<const int64_t> shape);
Shape ShapeOf(const Layout& layout);
bool IsPlain(const Layout& layout);
// Channels last: N, spatial, C for rank 3 to 5.
Layout ChannelsLastLayout(DataType type, absl::Span<const int64_t> shape);
// No dimension is padded, so that element-wise code may walk the whole buffer.
bool IsDense(const Layout& layout);
// The same places for elements of another type; nullopt where this oneDNN cannot say so.
std::optional<Layout> WithType(const Layout& layout, DataType type);
bool HasAvx512();
// The processor multiplies bfloat16 (AVX-512 BF16).
bool HasBfloat16();

// Runs `f`, and turns what it throws into a Status that begins with `what`.
template <typename F>
absl::Status CatchDnnl(const std::string& what, const F& f);
absl::Status DnnlErrorStatus(const std::string& what, int status, const char* message);

// While alive, primitives are made and run with `threads` OpenMP threads on this thread.
class ScopedThreads {
 public:
  explicit ScopedThreads(int threads);
  ~ScopedThreads();
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;

 private:
  const int before_;
};
// Sets this thread's OpenMP thread count; cheap where it is unchanged.
void SetThreads(int threads);

// An activation as oneDNN has it. nullopt if `op` has no oneDNN equivalent.
struct Eltwise {
  dnnl::algorithm algorithm;
  float alpha = 0;
  float beta = 0;
};
std::optional<Eltwise> ToEltwise(const std::string& op, float alpha, float beta);

// What a product of integers does with its sums, in the units of its result:
//   y = saturate(round(post_ops(scales[c] · Σ (x - src_zero_point) · w + bias[c]))) +
//   dst_zero_point
struct Quantization {
  std::vector<float> scales;  // one, or one for each channel of the result
  int32_t src_zero_point = 0, dst_zero_point = 0;
  // A post-op kAddInput adds sum_scale · (input - sum_zero_point); the input has the result's type.
  float sum_scale = 1;
  int32_t sum_zero_point = 0;
  // Given with each run instead: an argument for all of `scales`, one for src_zero_point (int32).
  bool run_time_scales = false, run_time_src_zero_point = false;
  bool grouped = false;  // weights of a convolution in groups
};

// Attributes of a primitive: user scratchpad and post-ops. A kAddInput post-op becomes `sum`: the
// destination must hold that input's data when the primitive starts. `quantization` may be null.
dnnl::primitive_attr MakeAttr(absl::Span<const PostOp> post_ops,
                              const Quantization* quantization = nullptr);
// The arguments that such a primitive wants beside the usual ones, where they are not given with
// each run.
struct FixedArgument {
  int dnnl_arg;
  Layout layout;
  std::shared_ptr<const void> data;
};
std::vector<FixedArgument> QuantizationArguments(const Quantization& quantization);
// DNNL_ARG of what is given with each run.
int ScalesArgument();
int SrcZeroPointArgument();
// The bias, in the result's units, as a primitive with such attributes wants it: before or after
// scaling.
float BiasFor(float bias, float scale);

// What was made: enough to run it and to describe it.
struct DnnlPrimitive {
  dnnl::primitive primitive;
  Layout src, weights, bias, dst;  // as chosen; zero descriptors where there is none
  Layout src1;                     // binary's and matmul's second source
  Layout scratchpad;
  std::string implementation;
};

// A primitive with a memory object for each of its arguments. One thread at a time.
class DnnlCall {
 public:
  explicit DnnlCall(dnnl::primitive primitive) : primitive_(std::move(primitive)) {}
  // Number of the argument, from 0 on. `data` may come later.
  size_t Add(int dnnl_arg, const Layout& layout, const void* data = nullptr);
  void SetData(size_t argument, const void* data) {
    if (data_[argument] == data) return;
    data_[argument] = data;
    dnnl_memory_set_data_handle(memories_[argument].get(), const_cast<void*>(data));
  }
  size_t size() const { return memories_.size(); }
  dnnl_status_t Run(dnnl_stream_t stream) const {
    return dnnl_primitive_execute(primitive_.get(), stream, static_cast<int>(arguments_.size()),
                                  arguments_.data());
  }

 private:
  const dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
  std::vector<const void*> data_;
};

// nullopt if oneDNN has no implementation for the request.
struct ConvSpec {
  Layout src, weights, bias, dst;                                 // bias: zero descriptor for none
  std::vector<int64_t> strides, dilations, pads_begin, pads_end;  // dilation 1 is dense
  bool transposed = false;  // ConvTranspose; weights as (g,) out, in, spatial
};
std::optional<DnnlPrimitive> MakeConvolution(const ConvSpec& spec,
                                             const dnnl::primitive_attr& attr);
std::optional<DnnlPrimitive> MakeInnerProduct(const Layout& src, const Layout& weights,
                                              const Layout& bias, const Layout& dst,
                                              const dnnl::primitive_attr& attr);
// `bias` may be a zero descriptor.
std::optional<DnnlPrimitive> MakeMatMul(const Layout& a, const Layout& b, const Layout& bias,
                                        const Layout& dst, const dnnl::primitive_attr& attr);
std::optional<DnnlPrimitive> MakeEltwise(const Layout& src, const Eltwise& eltwise,
                                         const dnnl::primitive_attr& attr);
std::optional<DnnlPrimitive> MakeBinary(dnnl::algorithm algorithm, const Layout& a, const Layout& b,
                                        const Layout& dst, const dnnl::primitive_attr& attr);
struct PoolSpec {
  dnnl::algorithm algorithm = dnnl::algorithm::pooling_max;
  Layout src, dst;
  std::vector<int64_t> kernel, strides, dilations, pads_begin, pads_end;  // dilation 1 is dense
};
std::optional<DnnlPrimitive> MakePooling(const PoolSpec& spec, const dnnl::primitive_attr& attr);
std::optional<DnnlPrimitive> MakeReorder(const Layout& from, const Layout& to);
std::optional<DnnlPrimitive> MakeLrn(const Layout& src, int64_t size, float alpha, float beta,
                                     float k, const dnnl::primitive_attr& attr);
std::optional<DnnlPrimitive> MakeConcat(int axis, const std::vector<Layout>& sources,
                                        const Layout& dst, const dnnl::primitive_attr& attr);

bool CanReorder(const Layout& from, const Layout& to);
// Reorders `data` once, while loading or planning.
absl::Status ReorderNow(const Layout& from, const void* data, const Layout& to, void* result);

template <typename F>
absl::Status CatchDnnl(const std::string& what, const F& f) {
  try {
    return f();
  } catch (const dnnl::error& error) {
    return DnnlErrorStatus(what, static_cast<int>(error.status), error.what());
  } catch (const std::exception& error) {
    return absl::InternalError(what + ": " + error.what());
  }
}

}  // namespace baton::engine

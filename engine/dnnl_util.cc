#include "engine/dnnl_util.h"

#include <omp.h>

#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace baton::engine {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;

// A primitive descriptor, or an empty one where there is no implementation: 2.x makes an operation
// descriptor first, 3.x takes everything at once.
template <typename P, typename... Args>
typename P::primitive_desc MakeDescriptor(const dnnl::primitive_attr& attr, const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
  return typename P::primitive_desc(CpuEngine(), args..., attr, /*allow_empty=*/true);
#else
  return typename P::primitive_desc(typename P::desc(args...), attr, CpuEngine(),
                                    /*allow_empty=*/true);
#endif
}

#if DNNL_VERSION_MAJOR >= 3
using PoolingForward = dnnl::pooling_forward;
#else
using PoolingForward = dnnl::pooling_v2_forward;
#endif

// `make` returns a primitive descriptor; what oneDNN cannot do or refuses is nullopt.
template <typename Make, typename Fill>
std::optional<DnnlPrimitive> Finish(const Make& make, const Fill& fill) {
  try {
    auto descriptor = make();
    if (descriptor.get(/*allow_empty=*/true) == nullptr) return std::nullopt;
    DnnlPrimitive made;
    fill(descriptor, made);
    made.primitive = dnnl::primitive(descriptor.get());
    made.scratchpad = descriptor.scratchpad_desc();
    made.implementation = descriptor.impl_info_str();
    return made;
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
}

memory::dims DimsOf(const Layout& layout) {
#if DNNL_VERSION_MAJOR >= 3
  return layout.get_dims();
#else
  return layout.dims();
#endif
}

memory::data_type TypeOf(const Layout& layout) {
#if DNNL_VERSION_MAJOR >= 3
  return layout.get_data_type();
#else
  return layout.data_type();
#endif
}

memory::dims ToDims(const std::vector<int64_t>& values) { return {values.begin(), values.end()}; }

memory::dims MinusOne(const std::vector<int64_t>& values) {
  memory::dims dims = ToDims(values);
  for (auto& d : dims) --d;
  return dims;
}

template <typename P>
auto MakeConvolutionDescriptor(algorithm algorithm, const ConvSpec& s,
                               const dnnl::primitive_attr& attr) {
  const auto strides = ToDims(s.strides), dilations = MinusOne(s.dilations);
  const auto begin = ToDims(s.pads_begin), end = ToDims(s.pads_end);
  if (s.bias.get_size() == 0) {
    return MakeDescriptor<P>(attr, prop_kind::forward_inference, algorithm, s.src, s.weights, s.dst,
                             strides, dilations, begin, end);
  }
  return MakeDescriptor<P>(attr, prop_kind::forward_inference, algorithm, s.src, s.weights, s.bias,
                           s.dst, strides, dilations, begin, end);
}

const auto kFillWeighted = [](const auto& descriptor, DnnlPrimitive& made) {
  made.src = descriptor.src_desc();
  made.weights = descriptor.weights_desc();
  made.bias = descriptor.bias_desc();
  made.dst = descriptor.dst_desc();
};

const auto kFillUnary = [](const auto& descriptor, DnnlPrimitive& made) {
  made.src = descriptor.src_desc();
  made.dst = descriptor.dst_desc();
};

}  // namespace

const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

bool HasDnnlType(DataType type) {
  switch (type) {
    case DataType::kFloat:
    case DataType::kFloat16:
    case DataType::kBfloat16:
    case DataType::kInt32:
    case DataType::kInt8:
    case DataType::kUint8:
      return true;
    default:
      return false;
  }
}

memory::data_type ToDnnlType(DataType type) {
  switch (type) {
    case DataType::kFloat:
      return memory::data_type::f32;
    case DataType::kFloat16:
      return memory::data_type::f16;
    case DataType::kBfloat16:
      return memory::data_type::bf16;
    case DataType::kInt32:
      return memory::data_type::s32;
    case DataType::kInt8:
      return memory::data_type::s8;
    case DataType::kUint8:
      return memory::data_type::u8;
    default:
      break;
  }
  BATON_CHECK_MSG(false, DataTypeName(type));
  return memory::data_type::undef;
}

memory::dims ToDnnlDims(absl::Span<const int64_t> shape) {
  if (shape.empty()) return {1};
  return {shape.begin(), shape.end()};
}

Layout PlainLayout(DataType type, absl::Span<const int64_t> shape) {
  const memory::dims dims = ToDnnlDims(shape);
  memory::dims strides(dims.size(), 1);
  for (size_t i = dims.size() - 1; i > 0; --i) {
    strides[i - 1] = strides[i] * std::max<int64_t>(dims[i], 1);
  }
  return Layout(dims, ToDnnlType(type), strides);
}

Layout AnyLayout(DataType type, absl::Span<const int64_t> shape) {
  return Layout(ToDnnlDims(shape), ToDnnlType(type), memory::format_tag::any);
}

Layout ChannelBlockedLayout(DataType type, absl::Span<const int64_t> shape) {
  BATON_CHECK(shape.size() >= 3 && shape.size() <= 5);
  using Tag = memory::format_tag;
  static constexpr Tag k16[] = {Tag::nCw16c, Tag::nChw16c, Tag::nCdhw16c};
  static constexpr Tag k8[] = {Tag::nCw8c, Tag::nChw8c, Tag::nCdhw8c};
  const size_t i = shape.size() - 3;
  return Layout(ToDnnlDims(shape), ToDnnlType(type), HasAvx512() ? k16[i] : k8[i]);
}

Layout ChannelsLastLayout(DataType type, absl::Span<const int64_t> shape) {
  const memory::dims dims = ToDnnlDims(shape);
  memory::dims strides(dims.size(), 1);
  int64_t stride = dims[1];
  for (size_t i = dims.size() - 1; i > 1; --i) {
    strides[i] = stride;
    stride *= std::max<int64_t>(dims[i], 1);
  }
  strides[0] = stride;
  return Layout(dims, ToDnnlType(type), strides);
}

std::optional<Layout> WithType(const Layout& layout, DataType type) {
#if DNNL_VERSION_MAJOR >= 3
  if (layout.get_inner_nblks() == 0) {
    return Layout(DimsOf(layout), ToDnnlType(type), layout.get_strides());
  }
  const memory::dims dims = DimsOf(layout);
  if (dims.size() < 3 || dims.size() > 5) return std::nullopt;
  for (const DataType own : {DataType::kFloat, DataType::kBfloat16}) {
    if (layout == ChannelBlockedLayout(own, dims)) return ChannelBlockedLayout(type, dims);
  }
  return std::nullopt;
#else
  Layout other = layout;
  other.data.data_type = dnnl::memory::convert_to_c(ToDnnlType(type));
  return other;
#endif
}

Shape ShapeOf(const Layout& layout) {
  const memory::dims dims = DimsOf(layout);
  return Shape(dims.begin(), dims.end());
}

bool IsPlain(const Layout& layout) {
  const memory::dims dims = DimsOf(layout);
  memory::dims strides(dims.size(), 1);
  for (size_t i = dims.size() - 1; i > 0; --i) {
    strides[i - 1] = strides[i] * std::max<int64_t>(dims[i], 1);
  }
  return layout == Layout(dims, TypeOf(layout), strides);
}

bool IsDense(const Layout& layout) {
  size_t bytes = 0;
  switch (TypeOf(layout)) {
    case memory::data_type::f32:
    case memory::data_type::s32:
      bytes = 4;
      break;
    case memory::data_type::bf16:
    case memory::data_type::f16:
      bytes = 2;
      break;
    default:
      bytes = 1;
      break;
  }
  for (const auto d : DimsOf(layout)) bytes *= static_cast<size_t>(d);
  return layout.get_size() == bytes;
}

namespace {
// The best instruction set that oneDNN would use is none of these.
bool HasMoreThan(std::initializer_list<dnnl::cpu_isa> sets) {
  const dnnl::cpu_isa best = dnnl::get_effective_cpu_isa();
  return std::find(sets.begin(), sets.end(), best) == sets.end();
}
}  // namespace

bool HasAvx512() {
  using Isa = dnnl::cpu_isa;
  static const bool has = HasMoreThan({Isa::sse41, Isa::avx, Isa::avx2, Isa::avx2_vnni});
  return has;
}

bool HasBfloat16() {
  using Isa = dnnl::cpu_isa;
  static const bool has = HasMoreThan(
      {Isa::sse41, Isa::avx, Isa::avx2, Isa::avx2_vnni, Isa::avx512_core, Isa::avx512_core_vnni});
  return has;
}

absl::Status DnnlErrorStatus(const std::string& what, int status, const char* message) {
  const auto code = static_cast<dnnl_status_t>(status);
  const std::string text = absl::StrCat(what, ": oneDNN: ", message);
  if (code == dnnl_unimplemented) return absl::UnimplementedError(text);
  if (code == dnnl_out_of_memory) return absl::ResourceExhaustedError(text);
  if (code == dnnl_invalid_arguments) return absl::InvalidArgumentError(text);
  return absl::InternalError(text);
}

void SetThreads(int threads) {
  if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
}

ScopedThreads::ScopedThreads(int threads) : before_(omp_get_max_threads()) { SetThreads(threads); }

ScopedThreads::~ScopedThreads() { SetThreads(before_); }

std::optional<Eltwise> ToEltwise(const std::string& op, float alpha, float beta) {
  if (op == "Relu") return Eltwise{algorithm::eltwise_relu, 0, 0};
  if (op == "LeakyRelu") return Eltwise{algorithm::eltwise_relu, alpha, 0};
  if (op == "Sigmoid") return Eltwise{algorithm::eltwise_logistic, 0, 0};
  if (op == "Tanh") return Eltwise{algorithm::eltwise_tanh, 0, 0};
  if (op == "Elu") return Eltwise{algorithm::eltwise_elu, alpha, 0};
  if (op == "Clip") return Eltwise{algorithm::eltwise_clip, alpha, beta};
  if (op == "Softplus") return Eltwise{algorithm::eltwise_soft_relu, 1, 0};
  if (op == "Abs") return Eltwise{algorithm::eltwise_abs, 0, 0};
  if (op == "Sqrt") return Eltwise{algorithm::eltwise_sqrt, 0, 0};
  if (op == "Exp") return Eltwise{algorithm::eltwise_exp, 0, 0};
  if (op == "Swish") return Eltwise{algorithm::eltwise_swish, alpha, 0};
  if (op == "HardSwish") {
#if DNNL_VERSION_MAJOR >= 3
    return Eltwise{algorithm::eltwise_hardswish, 1.f / 6.f, 0.5f};
#else
    return Eltwise{algorithm::eltwise_hardswish, 0, 0};
#endif
  }
  if (op == "Mish") return Eltwise{algorithm::eltwise_mish, 0, 0};
  if (op == "Gelu") return Eltwise{algorithm::eltwise_gelu_erf, 0, 0};
  if (op == "GeluTanh") return Eltwise{algorithm::eltwise_gelu_tanh, 0, 0};
  if (op == "Linear") return Eltwise{algorithm::eltwise_linear, alpha, beta};
  return std::nullopt;
}

namespace {

// oneDNN 3.x knows scales of operands, not of the result; those of the weights stand for both.
void SetQuantization(const Quantization& q, dnnl::primitive_attr& attr) {
  const bool each_channel = q.scales.size() > 1;
#if DNNL_VERSION_MAJOR >= 3
  attr.set_scales_mask(DNNL_ARG_WEIGHTS, each_channel ? (q.grouped ? 3 : 1) : 0);
  if (q.src_zero_point != 0 || q.run_time_src_zero_point) {
    attr.set_zero_points_mask(DNNL_ARG_SRC, 0);
  }
  if (q.dst_zero_point != 0) attr.set_zero_points_mask(DNNL_ARG_DST, 0);
#else
  const int mask = each_channel ? 1 << 1 : 0;
  if (q.run_time_scales) {
    attr.set_output_scales(mask, {DNNL_RUNTIME_F32_VAL});
  } else {
    attr.set_output_scales(mask, q.scales);
  }
  if (q.run_time_src_zero_point) {
    attr.set_zero_points(DNNL_ARG_SRC, 0, {DNNL_RUNTIME_S32_VAL});
  } else if (q.src_zero_point != 0) {
    attr.set_zero_points(DNNL_ARG_SRC, 0, {q.src_zero_point});
  }
  if (q.dst_zero_point != 0) attr.set_zero_points(DNNL_ARG_DST, 0, {q.dst_zero_point});
#endif
}

#if DNNL_VERSION_MAJOR >= 3
template <typename T>
FixedArgument ValuesArgument(int dnnl_arg, DataType type, const std::vector<T>& values) {
  auto kept = std::make_shared<std::vector<T>>(values);
  return {dnnl_arg, PlainLayout(type, {static_cast<int64_t>(values.size())}),
          std::shared_ptr<const void>(kept, kept->data())};
}
#endif

}  // namespace

std::vector<FixedArgument> QuantizationArguments([[maybe_unused]] const Quantization& q) {
  std::vector<FixedArgument> arguments;
#if DNNL_VERSION_MAJOR >= 3
  if (!q.run_time_scales) {
    arguments.push_back(ValuesArgument(ScalesArgument(), DataType::kFloat, q.scales));
  }
  if (!q.run_time_src_zero_point && q.src_zero_point != 0) {
    arguments.push_back(ValuesArgument(SrcZeroPointArgument(), DataType::kInt32,
                                       std::vector<int32_t>{q.src_zero_point}));
  }
  if (q.dst_zero_point != 0) {
    arguments.push_back(ValuesArgument(DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_DST, DataType::kInt32,
                                       std::vector<int32_t>{q.dst_zero_point}));
  }
#endif
  return arguments;
}

int ScalesArgument() {
#if DNNL_VERSION_MAJOR >= 3
  return DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS;
#else
  return DNNL_ARG_ATTR_OUTPUT_SCALES;
#endif
}

int SrcZeroPointArgument() { return DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC; }

float BiasFor(float bias, [[maybe_unused]] float scale) {
#if DNNL_VERSION_MAJOR >= 3
  return bias;
#else
  return bias / scale;
#endif
}

dnnl::primitive_attr MakeAttr(absl::Span<const PostOp> post_ops, const Quantization* quantization) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (quantization != nullptr) SetQuantization(*quantization, attr);
  dnnl::post_ops ops;
  for (const PostOp& post_op : post_ops) {
    if (post_op.kind == PostOp::Kind::kAddInput) {
      if (quantization == nullptr) {
        ops.append_sum(1.0f);
      } else {
        ops.append_sum(quantization->sum_scale, quantization->sum_zero_point);
      }
      continue;
    }
    const std::optional<Eltwise> eltwise = ToEltwise(post_op.op, post_op.alpha, post_op.beta);
    BATON_CHECK_MSG(eltwise.has_value(), post_op.op);
#if DNNL_VERSION_MAJOR >= 3
    ops.append_eltwise(eltwise->algorithm, eltwise->alpha, eltwise->beta);
#else
    ops.append_eltwise(1.0f, eltwise->algorithm, eltwise->alpha, eltwise->beta);
#endif
  }
  attr.set_post_ops(ops);
  return attr;
}

size_t DnnlCall::Add(int dnnl_arg, const Layout& layout, const void* data) {
  memories_.emplace_back(layout, CpuEngine(), const_cast<void*>(data));
  arguments_.push_back({dnnl_arg, memories_.back().get()});
  data_.push_back(data);
  return memories_.size() - 1;
}

std::optional<DnnlPrimitive> MakeConvolution(const ConvSpec& spec,
                                             const dnnl::primitive_attr& attr) {
  if (spec.transposed) {
    return Finish(
        [&] {
          return MakeConvolutionDescriptor<dnnl::deconvolution_forward>(
              algorithm::deconvolution_direct, spec, attr);
        },
        kFillWeighted);
  }
  return Finish(
      [&] {
        return MakeConvolutionDescriptor<dnnl::convolution_forward>(algorithm::convolution_direct,
                                                                    spec, attr);
      },
      kFillWeighted);
}

std::optional<DnnlPrimitive> MakeInnerProduct(const Layout& src, const Layout& weights,
                                              const Layout& bias, const Layout& dst,
                                              const dnnl::primitive_attr& attr) {
  return Finish(
      [&] {
        constexpr auto kKind = prop_kind::forward_inference;
        return bias.get_size() == 0
                   ? MakeDescriptor<dnnl::inner_product_forward>(attr, kKind, src, weights, dst)
                   : MakeDescriptor<dnnl::inner_product_forward>(attr, kKind, src, weights, bias,
                                                                 dst);
      },
      kFillWeighted);
}

std::optional<DnnlPrimitive> MakeMatMul(const Layout& a, const Layout& b, const Layout& bias,
                                        const Layout& dst, const dnnl::primitive_attr& attr) {
  return Finish(
      [&] {
        return bias.get_size() == 0 ? MakeDescriptor<dnnl::matmul>(attr, a, b, dst)
                                    : MakeDescriptor<dnnl::matmul>(attr, a, b, bias, dst);
      },
      kFillWeighted);
}

std::optional<DnnlPrimitive> MakeEltwise(const Layout& src, const Eltwise& eltwise,
                                         const dnnl::primitive_attr& attr) {
  return Finish(
      [&] {
#if DNNL_VERSION_MAJOR >= 3
        return MakeDescriptor<dnnl::eltwise_forward>(attr, prop_kind::forward_inference,
                                                     eltwise.algorithm, src, src, eltwise.alpha,
                                                     eltwise.beta);
#else
        return MakeDescriptor<dnnl::eltwise_forward>(attr, prop_kind::forward_inference,
                                                     eltwise.algorithm, src, eltwise.alpha,
                                                     eltwise.beta);
#endif
      },
      kFillUnary);
}

std::optional<DnnlPrimitive> MakeBinary(algorithm algorithm, const Layout& a, const Layout& b,
                                        const Layout& dst, const dnnl::primitive_attr& attr) {
  return Finish([&] { return MakeDescriptor<dnnl::binary>(attr, algorithm, a, b, dst); },
                [](const auto& descriptor, DnnlPrimitive& made) {
                  made.src = descriptor.src0_desc();
                  made.src1 = descriptor.src1_desc();
                  made.dst = descriptor.dst_desc();
                });
}

std::optional<DnnlPrimitive> MakePooling(const PoolSpec& spec, const dnnl::primitive_attr& attr) {
  return Finish(
      [&] {
        return MakeDescriptor<PoolingForward>(attr, prop_kind::forward_inference, spec.algorithm,
                                              spec.src, spec.dst, ToDims(spec.strides),
                                              ToDims(spec.kernel), MinusOne(spec.dilations),
                                              ToDims(spec.pads_begin), ToDims(spec.pads_end));
      },
      kFillUnary);
}

std::optional<DnnlPrimitive> MakeReorder(const Layout& from, const Layout& to) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return Finish(
      [&] {
        return dnnl::reorder::primitive_desc(CpuEngine(), from, CpuEngine(), to, attr,
                                             /*allow_empty=*/true);
      },
      kFillUnary);
}

std::optional<DnnlPrimitive> MakeLrn(const Layout& src, int64_t size, float alpha, float beta,
                                     float k, const dnnl::primitive_attr& attr) {
  constexpr auto kKind = prop_kind::forward_inference;
  constexpr auto kAcross = algorithm::lrn_across_channels;
  return Finish(
      [&] {
#if DNNL_VERSION_MAJOR >= 3
        return MakeDescriptor<dnnl::lrn_forward>(attr, kKind, kAcross, src, src, size, alpha, beta,
                                                 k);
#else
        return MakeDescriptor<dnnl::lrn_forward>(attr, kKind, kAcross, src, size, alpha, beta, k);
#endif
      },
      kFillUnary);
}

std::optional<DnnlPrimitive> MakeConcat(int axis, const std::vector<Layout>& sources,
                                        const Layout& dst, const dnnl::primitive_attr& attr) {
  return Finish(
      [&] {
#if DNNL_VERSION_MAJOR >= 3
        return dnnl::concat::primitive_desc(CpuEngine(), dst, axis, sources, attr);
#else
        return dnnl::concat::primitive_desc(dst, axis, sources, CpuEngine(), attr);
#endif
      },
      [](const auto& descriptor, DnnlPrimitive& made) { made.dst = descriptor.dst_desc(); });
}

bool CanReorder(const Layout& from, const Layout& to) {
  try {
    dnnl::reorder::primitive_desc(CpuEngine(), from, CpuEngine(), to);
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

absl::Status ReorderNow(const Layout& from, const void* data, const Layout& to, void* result) {
  return CatchDnnl("reorder", [&] {
    dnnl::stream stream(CpuEngine());
    memory source(from, CpuEngine(), const_cast<void*>(data));
    memory destination(to, CpuEngine(), result);
    dnnl::reorder(source, destination).execute(stream, source, destination);
    stream.wait();
    return absl::OkStatus();
  });
}

}  // namespace baton::engine

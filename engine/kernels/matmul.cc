// MatMul and Gemm. With constant weights: oneDNN's inner product on packed weights, with bias,
// activation and residual in one primitive, or for a large matrix its convolution; for few rows and
// a small matrix, our own. Else: oneDNN's matmul on the operands as they are.
#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/row_product.h"

namespace baton::engine {
namespace {

using From = DnnlArgument::From;

absl::Status CheckFloat(const PrepareContext& c) {
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (c.has_input(i) && c.input(i).type != DataType::kFloat) {
      return absl::UnimplementedError(absl::StrCat("element type ", DataTypeName(c.input(i).type),
                                                   " is not supported; expected float"));
    }
  }
  return absl::OkStatus();
}

absl::Status WrongShapes(const Shape& a, const Shape& b) {
  return absl::InvalidArgumentError(
      absl::StrCat("shapes ", ShapeToString(a), " and ", ShapeToString(b), " do not multiply"));
}

std::unique_ptr<Step> FillZero(size_t bytes) {
  return MakeStep([bytes](const RunContext& r) {
    if (bytes > 0) std::memset(r.output<char>(0), 0, bytes);
    return absl::OkStatus();
  });
}

class RowStep final : public Step {
 public:
  RowStep(std::shared_ptr<const RowProduct> product, int64_t rows, int threads, double flops)
      : product_(std::move(product)), rows_(rows), threads_(threads), flops_(flops) {}
  absl::Status Run(const RunContext& r) const override {
    const float* const x = r.input<float>(0);
    float* const y = r.output<float>(0);
    ParallelFor(threads_, rows_, 1, [&](int64_t begin, int64_t end) {
      product_->Run(x + begin * product_->k(), y + begin * product_->n(), end - begin);
    });
    return absl::OkStatus();
  }
  const char* implementation() const override { return product_->implementation(); }
  double flops() const override { return flops_; }

 private:
  const std::shared_ptr<const RowProduct> product_;
  const int64_t rows_;
  const int threads_;
  const double flops_;
};

// Products of some rows each, on a thread each.
class RowPartsStep final : public Step {
 public:
  explicit RowPartsStep(std::vector<std::unique_ptr<Step>> parts) : parts_(std::move(parts)) {}

  std::unique_ptr<StepState> MakeState() const override {
    auto state = std::make_unique<State>();
    for (const auto& part : parts_) state->parts.push_back({part->MakeState(), {}});
    return state;
  }
  absl::Status Run(const RunContext& r) const override {
    std::vector<Part>& states = static_cast<State&>(*r.state).parts;
    const auto n = static_cast<int64_t>(parts_.size());
    ParallelFor(static_cast<int>(n), n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Part& state = states[static_cast<size_t>(i)];
        RunContext own = r;
        own.state = state.state.get();
        own.scratch = static_cast<char*>(r.scratch) + static_cast<size_t>(i) * part_scratch();
        own.stream = state.stream.get();
        state.status = parts_[static_cast<size_t>(i)]->Run(own);
      }
    });
    for (const Part& state : states) RETURN_IF_ERROR(state.status);
    return absl::OkStatus();
  }
  size_t scratch_bytes() const override { return part_scratch() * parts_.size(); }
  const char* implementation() const override { return parts_[0]->implementation(); }
  double flops() const override {
    double sum = 0;
    for (const auto& part : parts_) sum += part->flops();
    return sum;
  }

 private:
  struct Part {
    std::unique_ptr<StepState> state;
    absl::Status status;
    dnnl::stream stream = dnnl::stream(CpuEngine());
  };
  struct State final : StepState {
    std::vector<Part> parts;
  };
  size_t part_scratch() const {
    size_t most = 0;
    for (const auto& part : parts_) most = std::max(most, part->scratch_bytes());
    return (most + 63) / 64 * 64;
  }

  const std::vector<std::unique_ptr<Step>> parts_;
};

// Elements of a matrix of floats of 2 MiB: what a second-level cache holds, or more.
constexpr int64_t kLargeMatrix = int64_t{1} << 19;

// y[rows, n] = post_ops(x[rows, k] · w + bias): x keeps its leading dimensions.
class DenseKernel final : public Kernel {
 public:
  // `weights`: [n, k] if `transposed`, else [k, n]. `bias` [n] may be empty.
  // `float_output`: of bfloat16, too.
  DenseKernel(const Tensor& weights, bool transposed, Tensor bias, std::vector<PostOp> post_ops,
              bool rank2, bool float_output)
      : packed_(weights),
        bias_(std::move(bias)),
        post_ops_(std::move(post_ops)),
        n_(packed_.shape()[transposed ? 0 : 1]),
        k_(packed_.shape()[transposed ? 1 : 0]),
        weights_layout_({n_, k_}, dnnl::memory::data_type::f32,
                        transposed ? dnnl::memory::dims{k_, 1} : dnnl::memory::dims{1, n_}),
        rank2_(rank2),
        float_output_(float_output) {
    const auto activation = RowProduct::ActivationOf(post_ops_);
    if (activation && k_ > 0 && n_ > 0 && RowProduct::IsSmall(k_, n_)) {
      row_ = std::make_shared<RowProduct>(weights, transposed, bias_, *activation);
    }
  }

  bool HasConstant(size_t i) const override { return i == 1; }
  size_t weight_bytes() const override {
    return packed_.bytes() + (row_ == nullptr ? 0 : row_->bytes());
  }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const DataType type = c.input(0).type;
    const DataType y_type = float_output_ ? DataType::kFloat : type;
    RETURN_IF_ERROR(CheckTypes(c, y_type));
    const Shape x = c.input(0).shape;
    if (x.empty() || x.back() != k_ || (rank2_ && x.size() != 2)) return WrongShapes(x, {k_, n_});
    Shape y = x;
    y.back() = n_;
    const Meta output{y_type, y, std::nullopt};
    const int64_t rows =
        k_ == 0 ? NumElements(absl::MakeConstSpan(x).first(x.size() - 1)) : NumElements(x) / k_;
    if (c.shapes_only() || rows == 0 || k_ == 0 || n_ == 0) {
      c.SetOutput(0, output);
      if (c.shapes_only()) return nullptr;
      if (rows > 0 && n_ > 0) return absl::UnimplementedError("a product over 0 elements");
      return FillZero(0);
    }
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(k_ * n_);
    const int threads = c.ThreadsFor(flops, 4.0 * static_cast<double>(k_ * n_));
    if (row_ != nullptr && type == DataType::kFloat && rows <= row_->most_rows() * threads) {
      c.SetOutput(0, output);
      // Rows share no work: half of what is worth threads elsewhere is worth them here.
      return std::make_unique<RowStep>(row_, rows, c.ThreadsFor(2 * flops, 0), flops);
    }
    ASSIGN_OR_RETURN(std::unique_ptr<Step> step, PrepareParts(type, y_type, rows, threads));
    const int residual = ResidualInput(post_ops_);
    if (residual >= 0) {
      RETURN_IF_ERROR(c.SetOverwrite(0, static_cast<size_t>(residual), output));
    } else {
      c.SetOutput(0, output);
    }
    return step;
  }

 private:
  // Rows of float, or of bfloat16, for which weights are rounded. Constants are float.
  absl::Status CheckTypes(const PrepareContext& c, DataType y_type) const {
    const DataType type = c.input(0).type;
    const int residual = ResidualInput(post_ops_);
    if (type == DataType::kBfloat16 &&
        (residual < 0 || c.input(static_cast<size_t>(residual)).type == y_type)) {
      return absl::OkStatus();
    }
    return CheckFloat(c);
  }

  bool AsPixels(DataType type) const {
    return type == DataType::kFloat && k_ * n_ >= kLargeMatrix && HasAvx512();
  }

  // With weights as they are packed already, if they need not be otherwise: oneDNN 3 wants blocks
  // of another size for another number of rows.
  std::optional<DnnlPrimitive> MakeProduct(DataType type, DataType y_type, int64_t rows,
                                           int threads) const {
    const ScopedThreads scope(threads);
    const auto make = [&](const Layout& weights) {
      if (AsPixels(type)) {
        std::optional<DnnlPrimitive> made = MakePixelProduct(rows, weights);
        if (made) return made;
      }
      const Layout bias = bias_.empty() ? Layout() : PlainLayout(DataType::kFloat, {n_});
      return MakeInnerProduct(PlainLayout(type, {rows, k_}), weights, bias,
                              PlainLayout(y_type, {rows, n_}), MakeAttr(post_ops_));
    };
    std::optional<DnnlPrimitive> made = make(AnyLayout(type, {n_, k_}));
    const std::optional<Layout> packed = packed_.layout();
    if (!made || !packed || *packed == AsMatrix(made->weights)) return made;
    std::optional<DnnlPrimitive> other = make(*packed);
    return other && other->implementation == made->implementation ? other : made;
  }

  // Of floats: rows as the pixels of an image, channels last. Where weights outgrow the
  // second-level cache oneDNN's convolution is faster than its inner product: it reads them less
  // often.
  std::optional<DnnlPrimitive> MakePixelProduct(int64_t rows, const Layout& weights) const {
    constexpr DataType kType = DataType::kFloat;
    const bool any = weights == AnyLayout(kType, {n_, k_});
    ConvSpec spec;
    spec.src = ChannelsLastLayout(kType, {1, k_, 1, rows});
    spec.dst = ChannelsLastLayout(kType, {1, n_, 1, rows});
    spec.weights = any ? AnyLayout(kType, {n_, k_, 1, 1}) : weights.reshape({n_, k_, 1, 1});
    if (!bias_.empty()) spec.bias = PlainLayout(kType, {n_});
    spec.strides = spec.dilations = {1, 1};
    spec.pads_begin = spec.pads_end = {0, 0};
    std::optional<DnnlPrimitive> made = MakeConvolution(spec, MakeAttr(post_ops_));
    const bool fast = made && absl::StartsWith(made->implementation, "brgconv_1x1:avx512");
    return fast ? made : std::nullopt;
  }

  // Of a convolution's weights, [n, k, 1, 1], those of a product, which are the same.
  Layout AsMatrix(const Layout& weights) const { return weights.reshape({n_, k_}); }

  // Where each thread gets many rows it has a product of its own: oneDNN's inner product shares
  // rows out in blocks, which leaves one thread with much more than another. Its convolution shares
  // large weights out.
  absl::StatusOr<std::unique_ptr<Step>> PrepareParts(DataType type, DataType y_type, int64_t rows,
                                                     int threads) const {
    constexpr int64_t kManyRows = 64;
    const bool shared = threads > 1 && rows / threads >= kManyRows && !AsPixels(type);
    const int64_t part = shared ? (rows + threads - 1) / threads : rows;
    std::vector<std::unique_ptr<Step>> parts;
    for (int64_t first = 0; first < rows; first += part) {
      ASSIGN_OR_RETURN(
          parts.emplace_back(),
          PreparePart(type, y_type, first, std::min(part, rows - first), shared ? 1 : threads));
    }
    if (parts.size() == 1) return std::move(parts[0]);
    return std::make_unique<RowPartsStep>(std::move(parts));
  }

  absl::StatusOr<std::unique_ptr<Step>> PreparePart(DataType type, DataType y_type,
                                                    int64_t first_row, int64_t rows,
                                                    int threads) const {
    const std::optional<DnnlPrimitive> made = MakeProduct(type, y_type, rows, threads);
    if (!made) return absl::UnimplementedError("oneDNN has no inner product of this form");
    ASSIGN_OR_RETURN(auto packed, packed_.Get(weights_layout_, AsMatrix(made->weights)));
    const auto first = static_cast<size_t>(first_row);
    const size_t x_row = static_cast<size_t>(k_) * DataTypeSize(type);
    const size_t y_row = static_cast<size_t>(n_) * DataTypeSize(y_type);
    std::vector<DnnlArgument> arguments = {
        {DNNL_ARG_SRC, made->src, From::kInput, 0, nullptr, first * x_row},
        {DNNL_ARG_WEIGHTS, made->weights, From::kFixed, 0, std::move(packed)},
        {DNNL_ARG_DST, made->dst, From::kOutput, 0, nullptr, first * y_row}};
    if (!bias_.empty()) {
      arguments.push_back(
          {DNNL_ARG_BIAS, made->bias, From::kFixed, 0,
           std::shared_ptr<const void>(std::make_shared<Tensor>(bias_), bias_.data())});
    }
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(k_ * n_);
    return MakeDnnlStep(*made, std::move(arguments), threads, flops);
  }

  const PackedWeights packed_;
  const Tensor bias_;
  const std::vector<PostOp> post_ops_;
  const int64_t n_, k_;
  const Layout weights_layout_;
  const bool rank2_, float_output_;
  std::shared_ptr<const RowProduct> row_;  // null where it cannot be used
};

// numpy.matmul on operands of any rank.
absl::StatusOr<std::unique_ptr<Step>> PrepareMatMul(PrepareContext& c) {
  RETURN_IF_ERROR(CheckFloat(c));
  Shape a = c.input(0).shape, b = c.input(1).shape;
  if (a.empty() || b.empty()) return WrongShapes(a, b);
  const bool vector_a = a.size() == 1, vector_b = b.size() == 1;
  if (vector_a) a.insert(a.begin(), 1);
  if (vector_b) b.push_back(1);
  const size_t rank = std::max(a.size(), b.size());
  a.insert(a.begin(), rank - a.size(), 1);
  b.insert(b.begin(), rank - b.size(), 1);
  const int64_t m = a[rank - 2], k = a[rank - 1], n = b[rank - 1];
  if (b[rank - 2] != k) return WrongShapes(c.input(0).shape, c.input(1).shape);
  Shape full;
  for (size_t i = 0; i + 2 < rank; ++i) {
    if (a[i] != b[i] && a[i] != 1 && b[i] != 1) {
      return WrongShapes(c.input(0).shape, c.input(1).shape);
    }
    full.push_back(a[i] == 1 ? b[i] : a[i]);
  }
  Shape y = full;
  if (!vector_a) y.push_back(m);
  if (!vector_b) y.push_back(n);
  full.push_back(m);
  full.push_back(n);
  c.SetOutput(0, DataType::kFloat, y);
  if (c.shapes_only()) return nullptr;
  if (NumElements(full) == 0 || k == 0) return FillZero(static_cast<size_t>(NumElements(full)) * 4);
  const double flops = 2.0 * static_cast<double>(NumElements(full)) * static_cast<double>(k);
  const int threads = c.ThreadsFor(flops, 0);
  const ScopedThreads scope(threads);
  const std::optional<DnnlPrimitive> made =
      MakeMatMul(PlainLayout(DataType::kFloat, a), PlainLayout(DataType::kFloat, b), Layout(),
                 PlainLayout(DataType::kFloat, full), MakeAttr({}));
  if (!made) return absl::UnimplementedError("oneDNN has no product of this form");
  return MakeDnnlStep(*made,
                      {{DNNL_ARG_SRC, made->src, From::kInput, 0},
                       {DNNL_ARG_WEIGHTS, made->weights, From::kInput, 1},
                       {DNNL_ARG_DST, made->dst, From::kOutput, 0}},
                      threads, flops);
}

struct GemmOptions {
  float alpha = 1, beta = 1;
  bool transpose_a = false, transpose_b = false;
};

// y = alpha · a·b + beta · c, c broadcast to [m, n]; the product is in y already.
class GemmEpilogue {
 public:
  GemmEpilogue(float alpha, float beta, int64_t m, int64_t n, const Shape* c)
      : alpha_(alpha), beta_(beta), m_(m), n_(n), has_c_(c != nullptr && beta != 0) {
    if (!has_c_) return;
    Shape shape = *c;
    shape.insert(shape.begin(), 2 - shape.size(), 1);
    row_stride_ = shape[0] == 1 ? 0 : shape[1];
    column_stride_ = shape[1] == 1 ? 0 : 1;
  }
  bool has_c() const { return has_c_; }
  bool needed() const { return has_c_ || alpha_ != 1; }
  void Run(float* y, const float* c) const {
    for (int64_t i = 0; i < m_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        const float add = has_c_ ? beta_ * c[i * row_stride_ + j * column_stride_] : 0;
        y[i * n_ + j] = alpha_ * y[i * n_ + j] + add;
      }
    }
  }

 private:
  const float alpha_, beta_;
  const int64_t m_, n_;
  const bool has_c_;
  int64_t row_stride_ = 0, column_stride_ = 0;
};

class GemmStep final : public Step {
 public:
  GemmStep(std::unique_ptr<Step> product, GemmEpilogue epilogue)
      : product_(std::move(product)), epilogue_(epilogue) {}
  std::unique_ptr<StepState> MakeState() const override { return product_->MakeState(); }
  absl::Status Run(const RunContext& r) const override {
    RETURN_IF_ERROR(product_->Run(r));
    if (epilogue_.needed()) {
      epilogue_.Run(r.output<float>(0), epilogue_.has_c() ? r.input<float>(2) : nullptr);
    }
    return absl::OkStatus();
  }
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  const char* implementation() const override { return product_->implementation(); }
  double flops() const override { return product_->flops(); }

 private:
  const std::unique_ptr<Step> product_;
  const GemmEpilogue epilogue_;
};

absl::StatusOr<std::unique_ptr<Step>> PrepareGemm(PrepareContext& c, const GemmOptions& options) {
  RETURN_IF_ERROR(CheckFloat(c));
  const Shape a = c.input(0).shape, b = c.input(1).shape;
  if (a.size() != 2 || b.size() != 2) return WrongShapes(a, b);
  const int64_t m = a[options.transpose_a ? 1 : 0], k = a[options.transpose_a ? 0 : 1];
  const int64_t n = b[options.transpose_b ? 0 : 1];
  if (b[options.transpose_b ? 1 : 0] != k) return WrongShapes(a, b);
  const Shape* bias = c.has_input(2) ? &c.input(2).shape : nullptr;
  if (bias != nullptr) {
    Shape shape = *bias;
    if (shape.size() < 2) shape.insert(shape.begin(), 2 - shape.size(), 1);
    if (shape.size() != 2 || (shape[0] != 1 && shape[0] != m) || (shape[1] != 1 && shape[1] != n)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "C has shape ", ShapeToString(*bias), ", which does not broadcast to [", m, ",", n, "]"));
    }
  }
  c.SetOutput(0, DataType::kFloat, {m, n});
  if (c.shapes_only()) return nullptr;
  if (m == 0 || n == 0) return FillZero(0);
  if (k == 0) return absl::UnimplementedError("a product over 0 elements");
  using Dims = dnnl::memory::dims;
  const Layout a_layout({m, k}, dnnl::memory::data_type::f32,
                        options.transpose_a ? Dims{1, m} : Dims{k, 1});
  const Layout b_layout({k, n}, dnnl::memory::data_type::f32,
                        options.transpose_b ? Dims{1, k} : Dims{n, 1});
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n * k);
  const int threads = c.ThreadsFor(flops, 0);
  const ScopedThreads scope(threads);
  const std::optional<DnnlPrimitive> made =
      MakeMatMul(a_layout, b_layout, Layout(), PlainLayout(DataType::kFloat, {m, n}), MakeAttr({}));
  if (!made) return absl::UnimplementedError("oneDNN has no product of this form");
  std::unique_ptr<Step> product = MakeDnnlStep(*made,
                                               {{DNNL_ARG_SRC, made->src, From::kInput, 0},
                                                {DNNL_ARG_WEIGHTS, made->weights, From::kInput, 1},
                                                {DNNL_ARG_DST, made->dst, From::kOutput, 0}},
                                               threads, flops);
  if (bias == nullptr && options.alpha == 1) return product;
  return std::make_unique<GemmStep>(std::move(product),
                                    GemmEpilogue(options.alpha, options.beta, m, n, bias));
}

// The bias [n] that beta · C amounts to, if C is a constant with one row.
std::optional<Tensor> ConstantBias(const Node& node, const Graph& graph, float beta, int64_t n) {
  if (!node.has_input(2)) return Tensor();
  if (!graph.is_constant(node.inputs[2])) return std::nullopt;
  const Tensor& c = graph.constant(node.inputs[2]);
  const bool one_row = c.shape().size() < 2 || c.shape()[0] == 1;
  if (c.type() != DataType::kFloat || !one_row || (c.size() != n && c.size() != 1)) {
    return std::nullopt;
  }
  Tensor bias(DataType::kFloat, {n});
  const auto from = c.values<float>();
  const auto to = bias.mutable_values<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = beta * from[from.size() == 1 ? 0 : i];
  return bias;
}

bool IsConstantMatrix(const Graph& graph, ValueId id) {
  return graph.is_constant(id) && graph.constant(id).type() == DataType::kFloat &&
         graph.constant(id).shape().size() == 2;
}

}  // namespace

bool IsDense(const Node& node, const Graph& graph) {
  if (node.inputs.size() < 2 || !IsConstantMatrix(graph, node.inputs[1])) return false;
  if (node.op == "MatMul") return true;
  const absl::StatusOr<int64_t> transpose_a = node.Int("transA", 0);
  const absl::StatusOr<int64_t> transpose_b = node.Int("transB", 0);
  if (!transpose_a.ok() || *transpose_a != 0 || !transpose_b.ok()) return false;
  const int64_t n = graph.constant(node.inputs[1]).shape()[*transpose_b != 0 ? 0 : 1];
  return ConstantBias(node, graph, 1, n).has_value();
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeGemm(const Node& node, const Graph& graph) {
  if (!node.has_input(0) || !node.has_input(1)) {
    return absl::InvalidArgumentError("expected inputs A and B");
  }
  GemmOptions options;
  ASSIGN_OR_RETURN(options.alpha, node.Float("alpha", 1));
  ASSIGN_OR_RETURN(options.beta, node.Float("beta", 1));
  ASSIGN_OR_RETURN(const int64_t transpose_a, node.Int("transA", 0));
  ASSIGN_OR_RETURN(const int64_t transpose_b, node.Int("transB", 0));
  options.transpose_a = transpose_a != 0;
  options.transpose_b = transpose_b != 0;
  if (IsDense(node, graph)) {
    Tensor weights = graph.constant(node.inputs[1]);
    const int64_t n = weights.shape()[options.transpose_b ? 0 : 1];
    if (options.alpha != 1) {
      Tensor scaled = Tensor::Copy(weights.view());
      for (float& w : scaled.mutable_values<float>()) w *= options.alpha;
      weights = std::move(scaled);
    }
    return std::make_unique<DenseKernel>(std::move(weights), options.transpose_b,
                                         *ConstantBias(node, graph, options.beta, n), node.post_ops,
                                         /*rank2=*/true, node.has_attribute(kFloatOutput));
  }
  return MakeKernel([options](PrepareContext& c) { return PrepareGemm(c, options); });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeMatMul(const Node& node, const Graph& graph) {
  if (!node.has_input(0) || !node.has_input(1)) {
    return absl::InvalidArgumentError("expected inputs A and B");
  }
  if (IsDense(node, graph)) {
    Tensor bias;
    if (node.has_input(2)) {  // moved here by a rewrite, which checked its size
      const Tensor& constant = graph.constant(node.inputs[2]);
      bias = constant.Reshaped({constant.size()});
    }
    return std::make_unique<DenseKernel>(graph.constant(node.inputs[1]), /*transposed=*/false,
                                         std::move(bias), node.post_ops, /*rank2=*/false,
                                         node.has_attribute(kFloatOutput));
  }
  return MakeKernel(&PrepareMatMul);
}

}  // namespace baton::engine

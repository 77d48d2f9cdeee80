// Attention: softmax(scale · Q Kᵀ + mask) V for each head, in blocks of queries whose scores stay
// in the second-level cache. Heads are read where they lie: nothing is transposed or copied.
// Vaswani et al., "Attention Is All You Need", 2017.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/simd.h"

namespace baton::engine {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Scores of a block of queries: 128 KiB.
constexpr int64_t kMostScores = 32 << 10;

struct AttentionOptions {
  int64_t query_heads = 0, key_heads = 0;  // of inputs of rank 3
  float scale = 0;                         // 0: 1/√(size of a head)
  float softcap = 0;                       // 0: none
  bool causal = false;
  bool heads_last = false;  // inputs of rank 4, and the output, are [batch, length, heads, size]
};

// Q, K, V or Y: [batch, heads, rows, size], wherever its dimensions lie.
struct Heads {
  int64_t batch = 0, heads = 0, rows = 0, size = 0;
  int64_t batch_stride = 0, head_stride = 0, row_stride = 0;  // in elements

  int64_t At(int64_t b, int64_t head) const { return b * batch_stride + head * head_stride; }
  // `rows` rows of a head.
  Layout Matrix(int64_t some_rows, DataType type) const {
    return Layout({some_rows, size}, ToDnnlType(type), {row_stride, 1});
  }
  Layout Transposed(DataType type) const {
    return Layout({size, rows}, ToDnnlType(type), {1, row_stride});
  }
};

// [batch, rows, heads · size]
Heads RowsOfHeads(int64_t batch, int64_t rows, int64_t heads, int64_t size) {
  return {batch, heads, rows, size, rows * heads * size, size, heads * size};
}
// [batch, heads, rows, size]
Heads HeadsOfRows(int64_t batch, int64_t heads, int64_t rows, int64_t size) {
  return {batch, heads, rows, size, heads * rows * size, rows * size, size};
}

absl::StatusOr<Heads> ReadHeads(const PrepareContext& c, size_t input, int64_t heads,
                                bool heads_last) {
  static constexpr const char* kNames[] = {"Q", "K", "V"};
  const Meta& x = c.input(input);
  const bool half = x.type == DataType::kBfloat16 && c.input(0).type == x.type;
  if (x.type != DataType::kFloat && !half) {
    return absl::UnimplementedError(absl::StrCat(kNames[input], " is ", DataTypeName(x.type),
                                                 ", which is not supported; expected float"));
  }
  if (x.shape.size() == 4 && heads_last) {
    return RowsOfHeads(x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
  }
  if (x.shape.size() == 4) return HeadsOfRows(x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
  if (x.shape.size() != 3 || heads < 1 || x.shape[2] % heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        kNames[input], " is ", ShapeToString(x.shape), " for ", heads,
        " heads; expected [batch,heads,length,size] or [batch,length,heads*size] and the number"));
  }
  return RowsOfHeads(x.shape[0], x.shape[1], heads, x.shape[2] / heads);
}

// How the mask is read: [batch, heads, queries, keys] with strides of 0 where it repeats.
struct Mask {
  bool given = false, boolean = false;
  int64_t strides[4] = {};
};

absl::StatusOr<Mask> ReadMask(const PrepareContext& c, size_t input, const Heads& q, int64_t keys) {
  Mask mask;
  if (!c.has_input(input)) return mask;
  const Meta& m = c.input(input);
  mask.given = true;
  mask.boolean = m.type == DataType::kBool;
  if (!mask.boolean && m.type != DataType::kFloat) {
    return absl::UnimplementedError(absl::StrCat("the mask is ", DataTypeName(m.type),
                                                 ", which is not supported; expected float or "
                                                 "bool"));
  }
  const int64_t full[4] = {q.batch, q.heads, q.rows, keys};
  int64_t stride = 1;
  for (size_t i = 0; i < m.shape.size(); ++i) {
    const int64_t d = m.shape[m.shape.size() - 1 - i];
    if (i >= 4 || (d != 1 && d != full[3 - i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("the mask ", ShapeToString(m.shape), " does not broadcast to ",
                       ShapeToString({full[0], full[1], full[2], full[3]})));
    }
    mask.strides[3 - i] = d == 1 ? 0 : stride;
    stride *= d;
  }
  return mask;
}

struct SoftmaxRow {
  float* scores;      // room for whole vectors
  const float* bias;  // added after scaling; or null
  int64_t n;
  float scale, softcap;
};

// A vector of scores, scaled and biased; lanes past the last are anything.
BATON_INLINE void LoadScores(const SoftmaxRow& row, int64_t i, Vector& x) {
  Load(row.scores + i, x);
  x = x * row.scale;
  if (row.softcap != 0) {
    x = x / row.softcap;
    Tanh(x);
    x = x * row.softcap;
  }
  Vector other;
  if (row.bias != nullptr) {
    LoadUpTo(row.bias + i, row.n - i, 0, other);
    x = x + other;
  }
}

// The result takes the place of the scores: of bfloat16, the first half of the row.
template <typename T>
struct SoftmaxLoop {
  BATON_INLINE static void Run(const SoftmaxRow& row) {
    Vector x, largest = Vector{} + kMinusInfinity;
    for (int64_t i = 0; i < row.n; i += kLanes) {
      LoadScores(row, i, x);
      // Beyond the last: e to that power adds nothing to a sum of at least 1.
      const auto left = static_cast<uint32_t>(row.n - i);
      if (left < kLanes) x = kLane < left ? x : Vector{} + kMinusInfinity;
      Store(x, row.scores + i);
      largest = x > largest ? x : largest;
    }
    const float most = Largest(largest);
    Vector sums = {};
    for (int64_t i = 0; i < row.n; i += kLanes) {
      Load(row.scores + i, x);
      x = x - most;
      ExpOfDifference(x);
      Store(x, row.scores + i);
      sums = sums + x;
    }
    const float inverse = 1.0f / Sum(sums);
    for (int64_t i = 0; i < row.n; i += kLanes) {
      Load(row.scores + i, x);
      x = x * inverse;
      StoreUpTo(x, kLanes, reinterpret_cast<T*>(row.scores) + i);
    }
  }
};

// The two products for a block of queries.
struct Block {
  DnnlPrimitive scores, values;
};

struct AttentionPlan {
  Heads q, k, v, y;
  DataType type = DataType::kFloat;  // or bfloat16
  AttentionOptions options;
  Mask mask;
  int threads = 1;
  int64_t block = 0, blocks = 0;  // queries of a block; blocks of a head
  int64_t padded_keys = 0;        // scores of a row in memory
  std::optional<Block> whole, rest;
  double flops = 0;

  size_t score_bytes() const { return static_cast<size_t>(block * padded_keys) * sizeof(float); }
  size_t scratchpad_bytes() const {
    size_t most = 0;
    for (const auto* some : {&whole, &rest}) {
      if (!*some) continue;
      most = std::max(
          {most, (*some)->scores.scratchpad.get_size(), (*some)->values.scratchpad.get_size()});
    }
    return (most + 63) / 64 * 64;
  }
  size_t bias_bytes() const { return static_cast<size_t>(padded_keys) * sizeof(float); }
  // Of one thread: scores, a row of the mask, oneDNN's own.
  size_t thread_bytes() const { return score_bytes() + bias_bytes() + scratchpad_bytes(); }
};

// The calls of one block of one thread.
struct BlockCalls {
  explicit BlockCalls(const Block& block)
      : scores(block.scores.primitive), values(block.values.primitive) {
    AddArguments(block.scores, scores);
    AddArguments(block.values, values);
  }
  static void AddArguments(const DnnlPrimitive& product, DnnlCall& call) {
    call.Add(DNNL_ARG_SRC, product.src);
    call.Add(DNNL_ARG_WEIGHTS, product.weights);
    call.Add(DNNL_ARG_DST, product.dst);
    if (product.scratchpad.get_size() > 0) call.Add(DNNL_ARG_SCRATCHPAD, product.scratchpad);
  }
  static dnnl_status_t Run(DnnlCall& call, const void* a, const void* b, void* y, void* scratchpad,
                           dnnl_stream_t stream) {
    call.SetData(0, a);
    call.SetData(1, b);
    call.SetData(2, y);
    if (call.size() > 3) call.SetData(3, scratchpad);
    return call.Run(stream);
  }
  DnnlCall scores, values;
};

struct ThreadState {
  explicit ThreadState(const AttentionPlan& plan) : stream(CpuEngine()) {
    if (plan.whole) whole.emplace(*plan.whole);
    if (plan.rest) rest.emplace(*plan.rest);
  }
  dnnl::stream stream;
  std::optional<BlockCalls> whole, rest;
  dnnl_status_t status = dnnl_success;
};

struct AttentionState final : StepState {
  std::vector<std::unique_ptr<ThreadState>> threads;
};

class AttentionStep final : public Step {
 public:
  explicit AttentionStep(AttentionPlan plan)
      : plan_(std::move(plan)),
        softmax_(plan_.type == DataType::kFloat ? CompiledFor<SoftmaxLoop<float>>(BestIsa())
                                                : CompiledFor<SoftmaxLoop<Bfloat16>>(BestIsa())),
        element_(static_cast<int64_t>(DataTypeSize(plan_.type))) {}

  std::unique_ptr<StepState> MakeState() const override {
    auto state = std::make_unique<AttentionState>();
    for (int t = 0; t < plan_.threads; ++t) {
      state->threads.push_back(std::make_unique<ThreadState>(plan_));
    }
    return state;
  }

  absl::Status Run(const RunContext& r) const override {
    auto& threads = static_cast<AttentionState&>(*r.state).threads;
    const int64_t all = plan_.q.batch * plan_.q.heads * plan_.blocks;
    const auto parts = static_cast<int64_t>(threads.size());
    const int64_t part = (all + parts - 1) / parts;
    SetThreads(1);  // each product runs on the thread that asks for it
    ParallelFor(plan_.threads, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        RunBlocks(r, t, t * part, std::min(all, (t + 1) * part), *threads[static_cast<size_t>(t)]);
      }
    });
    for (const auto& thread : threads) {
      if (thread->status != dnnl_success) {
        return DnnlErrorStatus(implementation(), thread->status, "execution failed");
      }
    }
    return absl::OkStatus();
  }

  size_t scratch_bytes() const override {
    return plan_.thread_bytes() * static_cast<size_t>(plan_.threads);
  }
  const char* implementation() const override {
    return (plan_.whole ? plan_.whole : plan_.rest)->scores.implementation.c_str();
  }
  double flops() const override { return plan_.flops; }

 private:
  void RunBlocks(const RunContext& r, int64_t thread, int64_t begin, int64_t end,
                 ThreadState& state) const {
    const AttentionPlan& p = plan_;
    char* const scratch =
        static_cast<char*>(r.scratch) + static_cast<size_t>(thread) * p.thread_bytes();
    float* const scores = reinterpret_cast<float*>(scratch);
    float* const bias = reinterpret_cast<float*>(scratch + p.score_bytes());
    void* const scratchpad = scratch + p.score_bytes() + p.bias_bytes();
    state.status = dnnl_success;
    for (int64_t i = begin; i < end && state.status == dnnl_success; ++i) {
      const int64_t first = i % p.blocks * p.block;
      const int64_t head = i / p.blocks % p.q.heads, b = i / p.blocks / p.q.heads;
      const int64_t key_head = head / (p.q.heads / p.k.heads);
      const int64_t queries = std::min(p.block, p.q.rows - first);
      BlockCalls& calls = queries == p.block ? *state.whole : *state.rest;
      state.status = BlockCalls::Run(
          calls.scores, r.input<char>(0) + (p.q.At(b, head) + first * p.q.row_stride) * element_,
          r.input<char>(1) + p.k.At(b, key_head) * element_, scores, scratchpad,
          state.stream.get());
      for (int64_t query = 0; query < queries; ++query) {
        softmax_({scores + query * p.padded_keys, Bias(r, b, head, first + query, bias), p.k.rows,
                  p.options.scale, p.options.softcap});
      }
      if (state.status != dnnl_success) return;
      state.status =
          BlockCalls::Run(calls.values, scores, r.input<char>(2) + p.v.At(b, key_head) * element_,
                          r.output<char>(0) + (p.y.At(b, head) + first * p.y.row_stride) * element_,
                          scratchpad, state.stream.get());
    }
  }

  // What is added to the scores of a query: a row of the mask as it is, or written to `row`.
  const float* Bias(const RunContext& r, int64_t b, int64_t head, int64_t query, float* row) const {
    const Mask& mask = plan_.mask;
    if (!mask.given && !plan_.options.causal) return nullptr;
    const int64_t at = b * mask.strides[0] + head * mask.strides[1] + query * mask.strides[2];
    const int64_t stride = mask.strides[3], keys = plan_.k.rows;
    if (mask.given && !mask.boolean && stride == 1 && !plan_.options.causal) {
      return r.input<float>(3) + at;
    }
    for (int64_t j = 0; j < keys; ++j) {
      if (!mask.given) {
        row[j] = 0;
      } else if (mask.boolean) {
        row[j] = r.input<bool>(3)[at + j * stride] ? 0 : kMinusInfinity;
      } else {
        row[j] = r.input<float>(3)[at + j * stride];
      }
      if (plan_.options.causal && j > query) row[j] = kMinusInfinity;
    }
    return row;
  }

  const AttentionPlan plan_;
  void (*const softmax_)(const SoftmaxRow&);
  const int64_t element_;  // bytes
};

absl::StatusOr<Block> MakeBlock(const AttentionPlan& p, int64_t queries) {
  const auto layout = [&](DataType type, int64_t stride) {
    return Layout({queries, p.k.rows}, ToDnnlType(type), {stride, 1});
  };
  const auto score_product =
      MakeMatMul(p.q.Matrix(queries, p.type), p.k.Transposed(p.type), Layout(),
                 layout(DataType::kFloat, p.padded_keys), MakeAttr({}));
  // Scores become weights where they lie.
  const int64_t stride = p.padded_keys * static_cast<int64_t>(sizeof(float) / DataTypeSize(p.type));
  const auto value_product = MakeMatMul(layout(p.type, stride), p.v.Matrix(p.v.rows, p.type),
                                        Layout(), p.y.Matrix(queries, p.type), MakeAttr({}));
  if (!score_product || !value_product) {
    return absl::UnimplementedError("oneDNN has no product of this form");
  }
  return Block{*score_product, *value_product};
}

absl::StatusOr<std::unique_ptr<Step>> PrepareAttention(PrepareContext& c,
                                                       const AttentionOptions& options) {
  AttentionPlan p;
  p.options = options;
  ASSIGN_OR_RETURN(p.q, ReadHeads(c, 0, options.query_heads, options.heads_last));
  ASSIGN_OR_RETURN(p.k, ReadHeads(c, 1, options.key_heads, options.heads_last));
  ASSIGN_OR_RETURN(p.v, ReadHeads(c, 2, options.key_heads, options.heads_last));
  const bool fits = p.k.batch == p.q.batch && p.v.batch == p.q.batch && p.k.heads == p.v.heads &&
                    p.k.rows == p.v.rows && p.k.size == p.q.size && p.k.heads > 0 &&
                    p.q.heads % p.k.heads == 0;
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("Q ", ShapeToString(c.input(0).shape), ", K ", ShapeToString(c.input(1).shape),
                     " and V ", ShapeToString(c.input(2).shape), " do not fit each other"));
  }
  ASSIGN_OR_RETURN(p.mask, ReadMask(c, 3, p.q, p.k.rows));
  const bool flat = c.input(0).shape.size() == 3;
  Shape y = {p.q.batch, p.q.heads, p.q.rows, p.v.size};
  if (flat) {
    y = {p.q.batch, p.q.rows, p.q.heads * p.v.size};
  } else if (options.heads_last) {
    std::swap(y[1], y[2]);
  }
  p.y = flat || options.heads_last ? RowsOfHeads(p.q.batch, p.q.rows, p.q.heads, p.v.size)
                                   : HeadsOfRows(p.q.batch, p.q.heads, p.q.rows, p.v.size);
  p.type = c.input(0).type;
  c.SetOutput(0, p.type, y);
  if (c.shapes_only()) return nullptr;
  if (NumElements(y) == 0) return MakeStep([](const RunContext&) { return absl::OkStatus(); });
  if (p.q.size == 0 || p.k.rows == 0) {
    return absl::UnimplementedError("attention over 0 elements");
  }
  if (p.options.scale == 0) p.options.scale = 1.0f / std::sqrt(static_cast<float>(p.q.size));
  p.padded_keys = (p.k.rows + kLanes - 1) / kLanes * kLanes;
  p.block = std::clamp<int64_t>(kMostScores / p.padded_keys, 8, std::max<int64_t>(p.q.rows, 8));
  p.block = std::min(p.block, p.q.rows);
  p.blocks = (p.q.rows + p.block - 1) / p.block;
  const double rows = static_cast<double>(p.q.batch * p.q.heads * p.q.rows);
  p.flops = 2.0 * rows * static_cast<double>(p.k.rows * (p.q.size + p.v.size));
  p.threads = c.ThreadsFor(p.flops, 0);
  const ScopedThreads scope(1);
  ASSIGN_OR_RETURN(p.whole, MakeBlock(p, p.block));
  if (const int64_t rest = p.q.rows % p.block; rest != 0) {
    ASSIGN_OR_RETURN(p.rest, MakeBlock(p, rest));
  }
  return std::make_unique<AttentionStep>(std::move(p));
}

}  // namespace

// https://onnx.ai/onnx/operators/onnx__Attention.html, without a cache of past keys and values.
absl::StatusOr<std::unique_ptr<Kernel>> MakeAttention(const Node& node, const Graph&) {
  for (size_t i = 0; i < 3; ++i) {
    if (!node.has_input(i)) return absl::InvalidArgumentError("expected inputs Q, K and V");
  }
  if (node.has_input(4) || node.has_input(5) || node.has_output(1) || node.has_output(2)) {
    return absl::UnimplementedError("past and present keys and values are not supported");
  }
  if (node.has_input(6)) return absl::UnimplementedError("nonpad_kv_seqlen is not supported");
  if (node.has_output(3)) return absl::UnimplementedError("qk_matmul_output is not supported");
  AttentionOptions o;
  ASSIGN_OR_RETURN(o.query_heads, node.Int("q_num_heads", 0));
  ASSIGN_OR_RETURN(o.key_heads, node.Int("kv_num_heads", 0));
  ASSIGN_OR_RETURN(o.scale, node.Float("scale", 0));
  ASSIGN_OR_RETURN(o.softcap, node.Float("softcap", 0));
  ASSIGN_OR_RETURN(const int64_t causal, node.Int("is_causal", 0));
  o.causal = causal != 0;
  // Set by a rewrite only: ONNX has no such attribute.
  ASSIGN_OR_RETURN(const int64_t heads_last, node.Int("heads_last", 0));
  o.heads_last = heads_last != 0;
  return MakeKernel([o](PrepareContext& c) { return PrepareAttention(c, o); });
}

}  // namespace baton::engine

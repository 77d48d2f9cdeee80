#include "engine/kernels/winograd.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/vector_activation.h"

namespace baton::engine {
namespace {

constexpr int64_t kPanel = 4 * kLanes;  // outputs that are summed together
// Tiles that are transformed together: what lies between input and output stays in the second-level
// cache. More of them where the weights do not: they are read once for each block.
constexpr int64_t kBlock = 16, kLargeBlock = 32;
constexpr int64_t kCachedWeights = 512 << 10;  // floats
// With fewer tiles than this for each thread, threads share tiles and divide the weights.
constexpr int64_t kLeastTiles = 16;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t WholeBlocks(int64_t channels) { return DivideUp(channels, kLanes) * kLanes; }
int64_t PointsOf(int64_t tile) { return (tile + 2) * (tile + 2); }

// A post-op: an activation, or, where there is none, the residual that is added.
using Operation = std::optional<VectorActivation>;

// What is done to a column or row of a tile with M results: of weights, input and sums. For points
// 0, ±p… and infinity, by Lagrange's interpolation: product polynomials are known by their values
// there.
template <int M>
struct Transform;

template <>
struct Transform<2> {  // points 0, ±1
  BATON_INLINE static void Weights(const Vector (&g)[3], Vector (&to)[4]) {
    const Vector even = 0.5f * (g[0] + g[2]), odd = 0.5f * g[1];
    to[0] = -g[0];
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = g[2];
  }
  BATON_INLINE static void Input(const Vector (&d)[4], Vector (&to)[4]) {
    to[0] = d[2] - d[0];
    to[1] = d[2] + d[1];
    to[2] = d[2] - d[1];
    to[3] = d[3] - d[1];
  }
  BATON_INLINE static void Output(const Vector (&m)[4], Vector (&to)[2]) {
    to[0] = m[0] + m[1] + m[2];
    to[1] = m[1] - m[2] + m[3];
  }
};

template <>
struct Transform<4> {  // points 0, ±5/8, ±3/2: smaller errors than 0, ±1, ±2
  static constexpr float kA = 0.625f, kB = 1.5f;
  static constexpr float kA2 = kA * kA, kB2 = kB * kB;

  BATON_INLINE static void Weights(const Vector (&g)[3], Vector (&to)[6]) {
    constexpr float kScaleA = 1 / (2 * kA2 * (kA2 - kB2)), kScaleB = 1 / (2 * kB2 * (kB2 - kA2));
    const Vector even_a = kScaleA * g[0] + kScaleA * kA2 * g[2], odd_a = kScaleA * kA * g[1];
    const Vector even_b = kScaleB * g[0] + kScaleB * kB2 * g[2], odd_b = kScaleB * kB * g[1];
    to[0] = 1 / (kA2 * kB2) * g[0];
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = g[2];
  }
  BATON_INLINE static void Input(const Vector (&d)[6], Vector (&to)[6]) {
    const Vector even_a = d[4] - kB2 * d[2], odd_a = d[3] - kB2 * d[1];
    const Vector even_b = d[4] - kA2 * d[2], odd_b = d[3] - kA2 * d[1];
    to[0] = kA2 * kB2 * d[0] + (d[4] - (kA2 + kB2) * d[2]);
    to[1] = even_a + kA * odd_a;
    to[2] = even_a - kA * odd_a;
    to[3] = even_b + kB * odd_b;
    to[4] = even_b - kB * odd_b;
    to[5] = kA2 * kB2 * d[1] + (d[5] - (kA2 + kB2) * d[3]);
  }
  BATON_INLINE static void Output(const Vector (&m)[6], Vector (&to)[4]) {
    const Vector sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    const Vector sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    to[0] = m[0] + (sum_a + sum_b);
    to[1] = kA * difference_a + kB * difference_b;
    to[2] = kA2 * sum_a + kB2 * sum_b;
    to[3] = kA2 * kA * difference_a + (kB2 * kB * difference_b + m[5]);
  }
};

// float[outputs, channels, 3, 3] to [panel, point, channel, output of the panel], both in whole
// blocks.
template <int M>
struct WeightLoop {
  static constexpr int kSide = M + 2;
  BATON_INLINE static void Run(const float* weights, int64_t outputs, int64_t channels, float* to) {
    const int64_t all_channels = WholeBlocks(channels), all_outputs = WholeBlocks(outputs);
    for (int64_t first = 0; first < outputs; first += kPanel) {
      const int64_t width = std::min(kPanel, all_outputs - first);
      for (int64_t c = 0; c < all_channels; ++c) {
        for (int64_t o = 0; o < width; o += kLanes) {
          const float* const from = weights + ((first + o) * channels + c) * 9;
          const int64_t lanes = c < channels ? std::min<int64_t>(outputs - first - o, kLanes) : 0;
          Vector columns[3][kSide];
          for (int j = 0; j < 3; ++j) {
            float values[3][kLanes] = {};
            Vector g[3];
            for (int i = 0; i < 3; ++i) {
              for (int64_t lane = 0; lane < lanes; ++lane) {
                values[i][lane] = from[lane * channels * 9 + i * 3 + j];
              }
              Load(values[i], g[i]);
            }
            Transform<M>::Weights(g, columns[j]);
          }
          for (int i = 0; i < kSide; ++i) {
            const Vector row[3] = {columns[0][i], columns[1][i], columns[2][i]};
            Vector points[kSide];
            Transform<M>::Weights(row, points);
            for (int j = 0; j < kSide; ++j) {
              Store(points[j], to + ((i * kSide + j) * all_channels + c) * width + o);
            }
          }
        }
      }
      to += kSide * kSide * all_channels * width;
    }
  }
};

// y[R, V vectors] = x[R, k] · w[k, V vectors]
template <int V, int R>
struct ProductLoop {
  BATON_INLINE static void Run(const float* x, int64_t x_row, const float* w, int64_t w_row,
                               int64_t k, float* y, int64_t y_row) {
    Vector sums[R][V] = {};
    for (int64_t i = 0; i < k; ++i, w += w_row) {
      Vector weights[V];
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) Load(w + v * kLanes, weights[v]);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const float value = x[r * x_row + i];
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) sums[r][v] = sums[r][v] + value * weights[v];
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) Store(sums[r][v], y + r * y_row + v * kLanes);
    }
  }
};
using Product = void (*)(const float* x, int64_t x_row, const float* w, int64_t w_row, int64_t k,
                         float* y, int64_t y_row);

// Sums that fit into registers beside the weights.
constexpr int64_t MostVectors(Isa isa) { return isa == Isa::kAvx512 ? 4 : 1; }
constexpr int64_t MostRows(Isa isa, int64_t vectors) {
  if (isa != Isa::kAvx512) return 6;
  return vectors == 4 ? 6 : vectors == 3 ? 8 : 12;
}

#if defined(__x86_64__)
template <int V, int... R>
Product Avx512Product(int64_t rows, std::integer_sequence<int, R...>) {
  static constexpr Product kProducts[] = {&CompiledLoop<ProductLoop<V, R + 1>>::Avx512...};
  return kProducts[rows - 1];
}
#endif
template <int... R>
Product NarrowProduct(Isa isa, int64_t rows, std::integer_sequence<int, R...>) {
  const Product products[] = {CompiledFor<ProductLoop<1, R + 1>>(isa)...};
  return products[rows - 1];
}

Product ProductOf(Isa isa, int64_t vectors, int64_t rows) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) {
    constexpr auto kRows = [](auto v) {
      return std::make_integer_sequence<int, MostRows(Isa::kAvx512, v)>();
    };
    switch (vectors) {
      case 1:
        return Avx512Product<1>(rows, kRows(std::integral_constant<int, 1>()));
      case 2:
        return Avx512Product<2>(rows, kRows(std::integral_constant<int, 2>()));
      case 3:
        return Avx512Product<3>(rows, kRows(std::integral_constant<int, 3>()));
      default:
        return Avx512Product<4>(rows, kRows(std::integral_constant<int, 4>()));
    }
  }
#endif
  return NarrowProduct(isa, rows, std::make_integer_sequence<int, MostRows(Isa::kPlain, 1)>());
}

// Tiles one after the other, by number among those of all images.
struct Tiles {
  int64_t first, n;
};

}  // namespace

struct WinogradPlan {
  WinogradSpec spec;    // channels and outputs in whole blocks
  int64_t outputs = 0;  // without what fills the last block
  int64_t tile = 0;
  int64_t threads = 1;
  Isa isa = Isa::kPlain;
  std::vector<Operation> operations;
  int64_t tile_rows = 0, tile_columns = 0;  // of an image
  int64_t tiles = 0;                        // of all images
  int64_t panels = 0;
  // Work is given out in items: one of the blocks of tiles, and one of the groups of panels.
  int64_t blocks = 0, groups = 0;
  int64_t block = 0;  // tiles of a block, at most
  // By vectors and rows, less 1.
  std::vector<std::vector<Product>> products;
  void (*transform_input)(const WinogradPlan&, const float* x, Tiles tiles, float* to) = nullptr;
  // Of `vectors` · 16 outputs from `first` on.
  void (*transform_output)(const WinogradPlan&, const Winograd::Arrays& arrays, Tiles tiles,
                           int64_t first, int64_t vectors, const float* from) = nullptr;
  std::string implementation;

  int64_t points() const { return PointsOf(tile); }
  // Scratch memory of a thread: [block, point, channels + 16] of transformed input (so that points
  // do not share the sets of a cache), [block, point, panel] of sums.
  int64_t input_point() const { return spec.channels + kLanes; }
  int64_t input_tile() const { return points() * input_point(); }
  int64_t input_floats() const { return block * input_tile(); }
  int64_t thread_floats() const {
    return input_floats() + block * points() * std::min(kPanel, spec.outputs);
  }

  void RunItems(const Winograd::Arrays& arrays, int64_t begin, int64_t end, float* scratch) const;
  void Multiply(const float* x, const float* weights, int64_t rows, int64_t vectors,
                float* y) const;
};

namespace {

// Where tiles lie in their images.
struct Place {
  BATON_INLINE Place(const WinogradPlan& p, int64_t number)
      : rows(p.tile_rows),
        columns(p.tile_columns),
        image(number / (rows * columns)),
        row(number / columns % rows),
        column(number % columns) {}
  BATON_INLINE void Next() {
    if (++column < columns) return;
    column = 0;
    if (++row < rows) return;
    row = 0;
    ++image;
  }
  const int64_t rows, columns;
  int64_t image, row, column;
};

template <int M>
struct InputLoop {
  static constexpr int kSide = M + 2;

  // A column of a tile, transformed. `row`: floats from one to the next. What lies outside is 0.
  BATON_INLINE static void Inside(const float* from, int64_t row, Vector (&to)[kSide]) {
    Vector d[kSide];
#pragma GCC unroll 8
    for (int i = 0; i < kSide; ++i) Load(from + i * row, d[i]);
    Transform<M>::Input(d, to);
  }
  BATON_INLINE static void AtEdge(const float* channels, int64_t row, int64_t height, int64_t width,
                                  int64_t top, int64_t column, Vector (&to)[kSide]) {
    Vector d[kSide] = {};
    if (column >= 0 && column < width) {
      for (int i = 0; i < kSide; ++i) {
        if (top + i < 0 || top + i >= height) continue;
        Load(channels + (top + i) * row + column * kLanes, d[i]);
      }
    }
    Transform<M>::Input(d, to);
  }

  BATON_INLINE static void Run(const WinogradPlan& p, const float* x, Tiles tiles, float* to) {
    const WinogradSpec& s = p.spec;
    const int64_t row = s.width * kLanes, blocks = s.channels / kLanes;
    for (int64_t c = 0; c < blocks; ++c) {
      Place place(p, tiles.first);
      for (int64_t t = 0; t < tiles.n; ++t, place.Next()) {
        const float* const channels = x + (place.image * blocks + c) * s.height * row;
        const int64_t top = place.row * M - s.pad_top, left = place.column * M - s.pad_left;
        Vector columns[kSide][kSide];
        const bool inside =
            top >= 0 && left >= 0 && top + kSide <= s.height && left + kSide <= s.width;
        if (inside) [[likely]] {
          const float* const from = channels + top * row + left * kLanes;
#pragma GCC unroll 8
          for (int j = 0; j < kSide; ++j) Inside(from + j * kLanes, row, columns[j]);
        } else {
          for (int j = 0; j < kSide; ++j) {
            AtEdge(channels, row, s.height, s.width, top, left + j, columns[j]);
          }
        }
        float* const points = to + t * p.input_tile() + c * kLanes;
#pragma GCC unroll 8
        for (int i = 0; i < kSide; ++i) {
          Vector d[kSide], transformed[kSide];
#pragma GCC unroll 8
          for (int j = 0; j < kSide; ++j) d[j] = columns[j][i];
          Transform<M>::Input(d, transformed);
#pragma GCC unroll 8
          for (int j = 0; j < kSide; ++j) {
            Store(transformed[j], points + (i * kSide + j) * p.input_point());
          }
        }
      }
    }
  }
};

template <int M>
struct OutputLoop {
  static constexpr int kSide = M + 2;

  BATON_INLINE static void Sums(const float* from, int64_t point, const Vector& bias,
                                Vector (&to)[M][M]) {
    Vector columns[kSide][M];
#pragma GCC unroll 8
    for (int j = 0; j < kSide; ++j) {
      Vector m[kSide];
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) Load(from + (i * kSide + j) * point, m[i]);
      Transform<M>::Output(m, columns[j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) {
      Vector m[kSide];
#pragma GCC unroll 8
      for (int j = 0; j < kSide; ++j) m[j] = columns[j][i];
      Transform<M>::Output(m, to[i]);
#pragma GCC unroll 8
      for (int j = 0; j < M; ++j) to[i][j] = to[i][j] + bias;
    }
  }

  BATON_INLINE static void Run(const WinogradPlan& p, const Winograd::Arrays& arrays, Tiles tiles,
                               int64_t first, int64_t vectors, const float* from) {
    const WinogradSpec& s = p.spec;
    const int64_t row = s.out_width * kLanes, blocks = s.outputs / kLanes;
    const int64_t point = vectors * kLanes;
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t o = first / kLanes + v;
      float values[kLanes] = {};
      if (arrays.bias != nullptr) {
        const int64_t n = std::min<int64_t>(p.outputs - o * kLanes, kLanes);
        std::copy_n(arrays.bias + o * kLanes, n, values);
      }
      Vector bias;
      Load(values, bias);
      Place place(p, tiles.first);
      for (int64_t t = 0; t < tiles.n; ++t, place.Next()) {
        Vector sums[M][M];
        Sums(from + t * p.points() * point + v * kLanes, point, bias, sums);
        const int64_t top = place.row * M, left = place.column * M;
        const int64_t rows = std::min<int64_t>(M, s.out_height - top);
        const int64_t columns = std::min<int64_t>(M, s.out_width - left);
        const int64_t at =
            (place.image * blocks + o) * s.out_height * row + top * row + left * kLanes;
        for (const Operation& operation : p.operations) {
          if (!operation) {
            for (int64_t i = 0; i < rows; ++i) {
              for (int64_t j = 0; j < columns; ++j) {
                Vector other;
                Load(arrays.residual + at + i * row + j * kLanes, other);
                sums[i][j] = sums[i][j] + other;
              }
            }
          } else {
            for (auto& some : sums) {
              for (Vector& sum : some) operation->Run(sum);
            }
          }
        }
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j) {
            Store(sums[i][j], arrays.y + at + i * row + j * kLanes);
          }
        }
      }
    }
  }
};

template <int M>
void BindTransforms(WinogradPlan& p) {
  p.transform_input = CompiledFor<InputLoop<M>>(p.isa);
  p.transform_output = CompiledFor<OutputLoop<M>>(p.isa);
}

class WinogradStep final : public Step {
 public:
  WinogradStep(Winograd winograd, std::shared_ptr<const float> weights, int bias, int residual,
               double flops)
      : winograd_(std::move(winograd)),
        weights_(std::move(weights)),
        bias_(bias),
        residual_(residual),
        flops_(flops) {}

  absl::Status Run(const RunContext& r) const override {
    const auto input = [&](int i) {
      return i < 0 ? nullptr : r.input<float>(static_cast<size_t>(i));
    };
    winograd_.Run(
        {input(0), weights_.get(), input(bias_), input(residual_), r.output<float>(0), r.scratch});
    return absl::OkStatus();
  }
  size_t scratch_bytes() const override { return winograd_.scratch_bytes(); }
  const char* implementation() const override { return winograd_.implementation(); }
  double flops() const override { return flops_; }

 private:
  const Winograd winograd_;
  const std::shared_ptr<const float> weights_;
  const int bias_, residual_;
  const double flops_;
};

const char* NameOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "_avx512";
    case Isa::kAvx2:
      return "_avx2";
    case Isa::kPlain:
      break;
  }
  return "";
}

}  // namespace

// Each point of `rows` tiles times its weights.
void WinogradPlan::Multiply(const float* x, const float* weights, int64_t rows, int64_t vectors,
                            float* y) const {
  const int64_t width = vectors * kLanes, wide = std::min(vectors, MostVectors(isa));
  const int64_t parts = DivideUp(rows, MostRows(isa, wide));
  const std::vector<Product>& of_rows = products[static_cast<size_t>(wide - 1)];
  for (int64_t point = 0; point < points(); ++point) {
    for (int64_t v = 0; v < vectors; v += wide) {
      int64_t row = 0;
      for (int64_t part = parts; part > 0; --part) {  // of nearly the same size
        const int64_t n = DivideUp(rows - row, part);
        of_rows[static_cast<size_t>(n - 1)](
            x + row * input_tile() + point * input_point(), input_tile(), weights + v * kLanes,
            width, spec.channels, y + (row * points() + point) * width + v * kLanes,
            points() * width);
        row += n;
      }
    }
    weights += spec.channels * width;
  }
}

void WinogradPlan::RunItems(const Winograd::Arrays& arrays, int64_t begin, int64_t end,
                            float* scratch) const {
  float* const input = scratch;
  float* const sums = scratch + input_floats();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t number = item / groups, group = item % groups;
    const Tiles some = {number * tiles / blocks,
                        (number + 1) * tiles / blocks - number * tiles / blocks};
    if (item == begin || group == 0) transform_input(*this, arrays.x, some, input);
    for (int64_t panel = group * panels / groups; panel < (group + 1) * panels / groups; ++panel) {
      const int64_t first = panel * kPanel;
      const int64_t vectors = std::min(kPanel, spec.outputs - first) / kLanes;
      Multiply(input, arrays.weights + first * spec.channels * points(), some.n, vectors, sums);
      transform_output(*this, arrays, some, first, vectors, sums);
    }
  }
}

int WinogradTile(const WinogradSpec& s) {
  const auto area = [&](int64_t tile) {
    return s.batch * DivideUp(s.out_height, tile) * DivideUp(s.out_width, tile);
  };
  // Multiplications for each pair of channels, or reading its weights, whichever takes longer:
  // memory gives one in the time of 13 multiplications on some CPUs, of 40 on others.
  constexpr int64_t kReading = 24;
  int best = 0;
  int64_t least = 9 * std::max(area(1), kReading);
  for (const int tile : {2, 4}) {
    const int64_t cost = PointsOf(tile) * std::max(area(tile), kReading);
    if (cost >= least) continue;
    least = cost;
    best = tile;
  }
  return best;
}

std::shared_ptr<const float> WinogradWeights::Get(const Tensor& weights, int tile) const {
  BATON_CHECK(tile == 2 || tile == 4);
  MutexLock lock(mu_);
  for (const auto& [known, data] : transformed_) {
    if (known == tile) return data;
  }
  const int64_t outputs = weights.shape()[0], channels = weights.shape()[1];
  const size_t bytes =
      static_cast<size_t>(PointsOf(tile) * WholeBlocks(outputs) * WholeBlocks(channels)) *
      sizeof(float);
  const auto data = std::static_pointer_cast<float>(AllocateAligned(bytes));
  const auto transform =
      tile == 2 ? CompiledFor<WeightLoop<2>>(BestIsa()) : CompiledFor<WeightLoop<4>>(BestIsa());
  transform(weights.values<float>().data(), outputs, channels, data.get());
  transformed_.emplace_back(tile, data);
  bytes_ += bytes;
  return data;
}

size_t WinogradWeights::bytes() const {
  MutexLock lock(mu_);
  return bytes_;
}

size_t Winograd::PostOpsDone(absl::Span<const PostOp> post_ops, int64_t outputs) {
  const bool zeros_stay = outputs % kLanes != 0;
  const auto end = std::find_if_not(post_ops.begin(), post_ops.end(), [&](const PostOp& p) {
    if (p.kind == PostOp::Kind::kAddInput) return true;
    const Operation operation = ToVectorActivation(p);
    return operation && (!zeros_stay || operation->LeavesZeros());
  });
  return static_cast<size_t>(end - post_ops.begin());
}

Winograd::Winograd(const WinogradSpec& spec, int tile, absl::Span<const PostOp> post_ops,
                   int threads, Isa isa) {
  BATON_CHECK(PostOpsDone(post_ops, spec.outputs) == post_ops.size());
  auto plan = std::make_unique<WinogradPlan>();
  WinogradPlan& p = *plan;
  p.spec = spec;
  p.spec.channels = WholeBlocks(spec.channels);
  p.spec.outputs = WholeBlocks(spec.outputs);
  p.outputs = spec.outputs;
  p.tile = tile;
  p.threads = threads;
  p.isa = isa;
  for (const PostOp& post_op : post_ops) p.operations.push_back(ToVectorActivation(post_op));
  p.tile_rows = DivideUp(spec.out_height, tile);
  p.tile_columns = DivideUp(spec.out_width, tile);
  p.tiles = spec.batch * p.tile_rows * p.tile_columns;
  p.panels = DivideUp(p.spec.outputs, kPanel);
  const int64_t weights = p.points() * p.spec.channels * p.spec.outputs;
  const int64_t most = weights <= kCachedWeights ? kBlock : kLargeBlock;
  p.groups = std::min({p.panels, p.threads, DivideUp(kLeastTiles * p.threads, p.tiles)});
  if (p.threads == 1) p.groups = 1;
  // As many items for each thread.
  const int64_t step = p.threads / std::gcd(p.threads, p.groups);
  p.blocks = std::min(p.tiles, DivideUp(DivideUp(p.tiles, most), step) * step);
  p.block = DivideUp(p.tiles, p.blocks);
  for (int64_t vectors = 1; vectors <= MostVectors(isa); ++vectors) {
    std::vector<Product>& of_rows = p.products.emplace_back();
    for (int64_t rows = 1; rows <= MostRows(isa, vectors); ++rows) {
      of_rows.push_back(ProductOf(isa, vectors, rows));
    }
  }
  if (tile == 2) {
    BindTransforms<2>(p);
  } else {
    BATON_CHECK(tile == 4);
    BindTransforms<4>(p);
  }
  p.implementation = absl::StrCat("baton:winograd_", tile, "x", tile, NameOf(isa));
  plan_ = std::move(plan);
}

Winograd::Winograd(Winograd&&) noexcept = default;
Winograd::~Winograd() = default;

void Winograd::Run(const Arrays& arrays) const {
  const WinogradPlan& p = *plan_;
  const int64_t items = p.blocks * p.groups;
  ParallelFor(static_cast<int>(p.threads), p.threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      p.RunItems(arrays, t * items / p.threads, (t + 1) * items / p.threads,
                 static_cast<float*>(arrays.scratch) + t * p.thread_floats());
    }
  });
}

size_t Winograd::scratch_bytes() const {
  return static_cast<size_t>(plan_->threads * plan_->thread_floats()) * sizeof(float);
}

const char* Winograd::implementation() const { return plan_->implementation.c_str(); }

std::unique_ptr<Step> MakeWinogradStep(Winograd winograd, std::shared_ptr<const float> weights,
                                       int bias, int residual, double flops) {
  return std::make_unique<WinogradStep>(std::move(winograd), std::move(weights), bias, residual,
                                        flops);
}

}  // namespace baton::engine

// Operators that only move elements: Transpose, Slice, Expand, Tile, Concat, Split, Pad; any
// element type but strings.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/broadcast.h"
#include "engine/kernels/image_layout.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/strided.h"

namespace baton::engine {
namespace {

absl::Status CheckMovable(const Meta& x) {
  if (x.type != DataType::kString) return absl::OkStatus();
  return absl::UnimplementedError("element type string is not supported");
}

int CopyThreads(const PrepareContext& c, const Meta& meta) {
  return c.ThreadsFor(0, 2.0 * static_cast<double>(meta.bytes()));
}

absl::StatusOr<std::unique_ptr<Step>> PrepareSlice(PrepareContext& c) {
  RETURN_IF_ERROR(CheckMovable(c.input(0)));
  const Shape x = c.input(0).shape;
  std::vector<int64_t> parts[4];  // starts, ends, axes, steps
  for (size_t i = 0; i < 4; ++i) {
    if (!c.has_input(i + 1)) continue;
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(i + 1));
    ASSIGN_OR_RETURN(parts[i], ToInts(*data));
  }
  const size_t n = parts[0].size();
  if (parts[2].empty()) {
    parts[2].resize(n);
    std::iota(parts[2].begin(), parts[2].end(), 0);
  }
  if (parts[3].empty()) parts[3].assign(n, 1);
  if (parts[1].size() != n || parts[2].size() != n || parts[3].size() != n) {
    return absl::InvalidArgumentError("starts, ends, axes and steps have different lengths");
  }
  Shape shape = x;
  Shape strides = DenseStrides(x);
  int64_t offset = 0;
  std::vector<bool> seen(x.size(), false);
  for (size_t i = 0; i < n; ++i) {
    ASSIGN_OR_RETURN(const size_t axis, NormalizeAxis(parts[2][i], x.size()));
    if (seen[axis]) return absl::InvalidArgumentError(absl::StrCat("axis ", axis, " stands twice"));
    seen[axis] = true;
    const int64_t size = x[axis], step = parts[3][i];
    if (step == 0) return absl::InvalidArgumentError("a step is 0");
    if (step == INT64_MIN) return absl::InvalidArgumentError("a step is out of range");
    const auto from_front = [size](int64_t v) {
      return v < 0 ? std::max<int64_t>(v, -size - 1) + size : v;
    };
    int64_t start = from_front(parts[0][i]), end = from_front(parts[1][i]);
    int64_t count = 0;
    if (step > 0) {
      start = std::clamp<int64_t>(start, 0, size);
      end = std::clamp<int64_t>(end, 0, size);
      count = end > start ? (end - start - 1) / step + 1 : 0;
    } else {
      start = std::clamp<int64_t>(start, -1, size - 1);
      end = std::clamp<int64_t>(end, -1, size - 1);
      count = start > end ? (start - end - 1) / -step + 1 : 0;
    }
    shape[axis] = count;
    if (count > 0) {
      offset += start * strides[axis];
      // One element: its stride is never taken, and may be too large to multiply.
      strides[axis] = count == 1 ? 0 : strides[axis] * step;
    }
  }
  if (shape == x && offset == 0 && strides == DenseStrides(x)) {
    c.SetView(0, 0, shape);
    return nullptr;
  }
  c.SetOutput(0, c.input(0).type, shape);
  return MakeStridedCopy(c.input(0).type, shape, strides, offset, CopyThreads(c, c.input(0)));
}

absl::StatusOr<std::unique_ptr<Step>> PrepareExpand(PrepareContext& c) {
  RETURN_IF_ERROR(CheckMovable(c.input(0)));
  ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
  ASSIGN_OR_RETURN(const std::vector<int64_t> wanted, ToInts(*data));
  RETURN_IF_ERROR(CheckedNumElements(wanted).status());
  const Shape x = c.input(0).shape;
  ASSIGN_OR_RETURN(const Shape shape, BroadcastShape(x, wanted));
  RETURN_IF_ERROR(CheckedNumElements(shape).status());
  if (shape == x) {
    c.SetView(0, 0, shape);
    return nullptr;
  }
  const Shape own = DenseStrides(x);
  Shape strides(shape.size(), 0);
  const size_t lead = shape.size() - x.size();
  for (size_t d = 0; d < x.size(); ++d) {
    if (x[d] != 1) strides[d + lead] = own[d];
  }
  c.SetOutput(0, c.input(0).type, shape);
  return MakeStridedCopy(c.input(0).type, shape, strides, 0, CopyThreads(c, c.input(0)));
}

// Tile: each dimension d becomes (repeat, size), the repeat with stride 0.
absl::StatusOr<std::unique_ptr<Step>> PrepareTile(PrepareContext& c) {
  RETURN_IF_ERROR(CheckMovable(c.input(0)));
  ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
  ASSIGN_OR_RETURN(const std::vector<int64_t> repeats, ToInts(*data));
  const Shape x = c.input(0).shape;
  if (repeats.size() != x.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("repeats has ", repeats.size(), " values, the input has rank ", x.size()));
  }
  const Shape own = DenseStrides(x);
  Shape shape, walked, strides;
  for (size_t d = 0; d < x.size(); ++d) {
    if (repeats[d] < 0 || (x[d] > 0 && repeats[d] > (int64_t{1} << 40) / x[d])) {
      return absl::InvalidArgumentError(absl::StrCat("repeats[", d, "] is ", repeats[d]));
    }
    shape.push_back(x[d] * repeats[d]);
    walked.push_back(repeats[d]);
    walked.push_back(x[d]);
    strides.push_back(0);
    strides.push_back(own[d]);
  }
  RETURN_IF_ERROR(CheckedNumElements(shape).status());
  c.SetOutput(0, c.input(0).type, shape);
  return MakeStridedCopy(c.input(0).type, walked, strides, 0, CopyThreads(c, c.input(0)));
}

// Concat of row-major inputs: for each outer index, a run of bytes of each input.
absl::StatusOr<std::unique_ptr<Step>> PrepareConcat(PrepareContext& c, int64_t axis) {
  const Meta first = c.input(0);
  RETURN_IF_ERROR(CheckMovable(first));
  ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, first.shape.size()));
  Shape shape = first.shape;
  shape[at] = 0;
  std::vector<size_t> runs;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    const Meta& x = c.input(i);
    Shape fits = x.shape;
    if (fits.size() == shape.size()) fits[at] = shape[at];
    if (x.type != first.type || fits != shape) {
      return absl::InvalidArgumentError(
          absl::StrCat("input ", i, " is ", DataTypeName(x.type), ShapeToString(x.shape),
                       ", which does not join ", DataTypeName(first.type),
                       ShapeToString(first.shape), " along axis ", at));
    }
    shape[at] += x.shape[at];
    runs.push_back(static_cast<size_t>(NumElements(absl::MakeConstSpan(x.shape).subspan(at))) *
                   DataTypeSize(x.type));
  }
  const int64_t outer = NumElements(absl::MakeConstSpan(shape).first(at));
  if (outer == 1 && c.SetJoined(0, {first.type, shape, std::nullopt})) return nullptr;
  c.SetOutput(0, first.type, shape);
  return MakeStep([runs, outer](const RunContext& r) {
    char* to = r.output<char>(0);
    for (int64_t o = 0; o < outer; ++o) {
      for (size_t i = 0; i < runs.size(); ++i) {
        if (runs[i] == 0) continue;
        std::memcpy(to, r.input<char>(i) + static_cast<size_t>(o) * runs[i], runs[i]);
        to += runs[i];
      }
    }
    return absl::OkStatus();
  });
}

// Concat that keeps blocked inputs blocked: along channels that fill their blocks, oneDNN joins
// them without a reorder, others are copied in groups that lie together on both sides.
class ConcatKernel final : public Kernel {
 public:
  explicit ConcatKernel(int64_t axis) : axis_(axis) {}
  bool AcceptsLayouts() const override { return true; }
  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    if (const std::optional<DnnlPrimitive> made = Blocked(c)) {
      std::vector<DnnlArgument> arguments;
      double bytes = 0;
      for (size_t i = 0; i < c.num_inputs(); ++i) {
        arguments.push_back({DNNL_ARG_MULTIPLE_SRC + static_cast<int>(i), *c.input(i).layout,
                             DnnlArgument::From::kInput, static_cast<int>(i)});
        bytes += 2.0 * static_cast<double>(c.input(i).bytes());
      }
      arguments.push_back({DNNL_ARG_DST, made->dst, DnnlArgument::From::kOutput, 0});
      const Meta output{c.input(0).type, ShapeOf(made->dst), made->dst};
      if (JoinsInMemory(c, output.shape[0]) && c.SetJoined(0, output)) return nullptr;
      c.SetOutput(0, output);
      return MakeDnnlStep(*made, std::move(arguments), c.ThreadsFor(0, bytes), 0);
    }
    if (const std::optional<Shape> shape = JoinedChannels(c)) return JoinChannels(c, *shape);
    for (size_t i = 0; i < c.num_inputs(); ++i) {
      if (!c.input(i).layout) continue;
      RETURN_IF_ERROR(c.SetInputLayout(i, PlainLayout(c.input(i).type, c.input(i).shape)));
    }
    return PrepareConcat(c, axis_);
  }

 private:
  // The output's shape, where channels in blocks are joined along their axis.
  std::optional<Shape> JoinedChannels(const PrepareContext& c) const {
    Shape shape = c.input(0).shape;
    const auto rank = static_cast<int64_t>(shape.size());
    if (rank < 3 || rank > 5 || (axis_ != 1 && axis_ != 1 - rank)) return std::nullopt;
    shape[1] = 0;
    for (size_t i = 0; i < c.num_inputs(); ++i) {
      const Meta& x = c.input(i);
      if (!x.layout || x.type != c.input(0).type || x.shape.size() != shape.size()) {
        return std::nullopt;
      }
      Shape fits = x.shape;
      fits[1] = shape[1];
      if (fits != shape || *x.layout != ChannelBlockedLayout(x.type, x.shape)) return std::nullopt;
      shape[1] += x.shape[1];
    }
    if (NumElements(shape) == 0) return std::nullopt;
    return shape;
  }

  static std::unique_ptr<Step> JoinChannels(PrepareContext& c, const Shape& shape) {
    const DataType type = c.input(0).type;
    const int64_t block = HasAvx512() ? 16 : 8;
    const ImageLayout to = {shape[1], NumElements(absl::MakeConstSpan(shape).subspan(2)), block};
    struct Group {
      size_t input;
      int64_t image_stride, from, to;  // of the group's first channel
    };
    std::vector<Group> groups;
    int64_t size = block;
    for (size_t i = 0; i < c.num_inputs(); ++i) size = std::gcd(size, c.input(i).shape[1]);
    int64_t channel = 0;
    for (size_t i = 0; i < c.num_inputs(); ++i) {
      const ImageLayout from = {c.input(i).shape[1], to.pixels, block};
      for (int64_t k = 0; k < from.channels; k += size, channel += size) {
        groups.push_back({i, from.image_stride(), from.Offset(k), to.Offset(channel)});
      }
    }
    const Meta output{type, shape, ChannelBlockedLayout(type, shape)};
    const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(output.bytes()));
    c.SetOutput(0, output);
    return DispatchWidth(type, [&](auto unit) -> std::unique_ptr<Step> {
      using T = decltype(unit);
      return MakeStep([=, groups = std::move(groups), images = shape[0]](const RunContext& r) {
        const auto n = static_cast<int64_t>(groups.size());
        ParallelFor(threads, images * n, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const Group& group = groups[static_cast<size_t>(i % n)];
            T* const image = r.output<T>(0) + i / n * to.image_stride();
            CopyPixels(r.input<T>(group.input) + i / n * group.image_stride + group.from, block,
                       image + group.to, block, size, to.pixels);
            if (i % n + 1 == n && to.channels % block != 0) {  // zeros fill the last block
              const int64_t end_of = to.channels % block;
              T* const pixels = image + to.Offset(to.channels);
              for (int64_t p = 0; p < to.pixels; ++p) {
                std::fill_n(pixels + p * block, block - end_of, T{0});
              }
            }
          }
        });
        return absl::OkStatus();
      });
    });
  }

  // One image, whose channels fill their blocks: one input follows the other.
  bool JoinsInMemory(const PrepareContext& c, int64_t images) const {
    if (axis_ != 1 || images != 1) return false;
    const int64_t block = HasAvx512() ? 16 : 8;
    for (size_t i = 0; i < c.num_inputs(); ++i) {
      const Meta& x = c.input(i);
      if (*x.layout != ChannelBlockedLayout(x.type, x.shape) || x.shape[1] % block != 0)
        return false;
    }
    return true;
  }

  std::optional<DnnlPrimitive> Blocked(PrepareContext& c) const {
    std::vector<Layout> sources;
    double bytes = 0;
    for (size_t i = 0; i < c.num_inputs(); ++i) {
      const Meta& x = c.input(i);
      const bool joins = x.layout && x.type == c.input(0).type && IsDense(*x.layout) &&
                         x.shape.size() == c.input(0).shape.size() && NumElements(x.shape) > 0;
      if (!joins) return std::nullopt;
      sources.push_back(*x.layout);
      bytes += 2.0 * static_cast<double>(x.bytes());
    }
    const absl::StatusOr<size_t> axis = NormalizeAxis(axis_, c.input(0).shape.size());
    if (!axis.ok()) return std::nullopt;
    Shape shape = c.input(0).shape;
    if (shape.size() < 3 || shape.size() > 5) return std::nullopt;
    for (size_t i = 1; i < sources.size(); ++i) shape[*axis] += c.input(i).shape[*axis];
    const ScopedThreads scope(c.ThreadsFor(0, bytes));
    const DataType type = c.input(0).type;
    const bool last = sources[0] == ChannelsLastLayout(type, c.input(0).shape);
    return MakeConcat(static_cast<int>(*axis), sources,
                      last ? ChannelsLastLayout(type, shape) : ChannelBlockedLayout(type, shape),
                      MakeAttr({}));
  }

  const int64_t axis_;
};

// Along channels that fill their blocks, a blocked input is split as a row-major one is: the parts
// have the same bytes in the same order.
bool SplitsBlocked(const Meta& x, size_t axis, absl::Span<const int64_t> sizes) {
  if (!x.layout || axis != 1 || x.shape.size() < 3 || x.shape.size() > 5) return false;
  const int64_t block = HasAvx512() ? 16 : 8;
  return *x.layout == ChannelBlockedLayout(x.type, x.shape) &&
         std::all_of(sizes.begin(), sizes.end(), [block](int64_t s) { return s % block == 0; });
}

absl::StatusOr<std::unique_ptr<Step>> PrepareSplit(PrepareContext& c, int64_t axis,
                                                   int64_t num_outputs, size_t outputs) {
  RETURN_IF_ERROR(CheckMovable(c.input(0)));
  const Shape x = c.input(0).shape;
  ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.size()));
  std::vector<int64_t> sizes;
  if (c.has_input(1)) {
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
    ASSIGN_OR_RETURN(sizes, ToInts(*data));
  } else {
    // Equal parts; the last is smaller where they do not divide (opset 18).
    const int64_t n = num_outputs > 0 ? num_outputs : static_cast<int64_t>(outputs);
    const int64_t part = (x[at] + n - 1) / n;
    for (int64_t i = 0; i < n; ++i) {
      sizes.push_back(std::clamp<int64_t>(x[at] - i * part, 0, part));
    }
  }
  int64_t total = 0;
  for (const int64_t s : sizes) {
    if (s < 0) return absl::InvalidArgumentError("a part has a negative size");
    total += s;
  }
  if (total != x[at] || sizes.size() < outputs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the parts make ", total, " of ", x[at], " along axis ", at, " for ", outputs, " outputs"));
  }
  const bool blocked = SplitsBlocked(c.input(0), at, sizes);
  if (c.input(0).layout && !blocked) {
    RETURN_IF_ERROR(c.SetInputLayout(0, PlainLayout(c.input(0).type, x)));
  }
  const size_t element = DataTypeSize(c.input(0).type);
  const size_t inner =
      static_cast<size_t>(NumElements(absl::MakeConstSpan(x).subspan(at + 1))) * element;
  const int64_t outer = NumElements(absl::MakeConstSpan(x).first(at));
  std::vector<size_t> runs, starts;
  size_t start = 0;
  for (size_t i = 0; i < outputs; ++i) {
    runs.push_back(static_cast<size_t>(sizes[i]) * inner);
    starts.push_back(start);
    start += runs.back();
    if (!c.has_output(i)) continue;
    Shape shape = x;
    shape[at] = sizes[i];
    Meta part{c.input(0).type, shape, std::nullopt};
    if (blocked) part.layout = ChannelBlockedLayout(part.type, shape);
    c.SetOutput(i, std::move(part));
  }
  const size_t row = static_cast<size_t>(x[at]) * inner;
  return MakeStep([=](const RunContext& r) {
    const char* from = r.input<char>(0);
    for (size_t i = 0; i < runs.size(); ++i) {
      if (r.outputs[i] < 0 || runs[i] == 0) continue;
      char* to = r.output<char>(i);
      for (int64_t o = 0; o < outer; ++o) {
        std::memcpy(to + static_cast<size_t>(o) * runs[i],
                    from + static_cast<size_t>(o) * row + starts[i], runs[i]);
      }
    }
    return absl::OkStatus();
  });
}

class SplitKernel final : public Kernel {
 public:
  SplitKernel(int64_t axis, int64_t num_outputs, size_t outputs)
      : axis_(axis), num_outputs_(num_outputs), outputs_(outputs) {}
  bool AcceptsLayouts() const override { return true; }
  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    return PrepareSplit(c, axis_, num_outputs_, outputs_);
  }

 private:
  const int64_t axis_, num_outputs_;
  const size_t outputs_;
};

enum class PadMode { kConstant, kEdge, kReflect, kWrap };

// The input index of output index `i` (before the pad), or -1 for the constant.
int64_t PadSource(int64_t i, int64_t size, PadMode mode) {
  if (i >= 0 && i < size) return i;
  switch (mode) {
    case PadMode::kConstant:
      return -1;
    case PadMode::kEdge:
      return i < 0 ? 0 : size - 1;
    case PadMode::kWrap:
      return ((i % size) + size) % size;
    case PadMode::kReflect: {
      if (size == 1) return 0;
      const int64_t period = 2 * (size - 1);
      const int64_t at = ((i % period) + period) % period;
      return at < size ? at : period - at;
    }
  }
  return -1;
}

absl::StatusOr<std::unique_ptr<Step>> PreparePad(PrepareContext& c, PadMode mode) {
  RETURN_IF_ERROR(CheckMovable(c.input(0)));
  const Shape x = c.input(0).shape;
  const DataType type = c.input(0).type;
  ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
  ASSIGN_OR_RETURN(const std::vector<int64_t> pads, ToInts(*data));
  std::vector<int64_t> axes(x.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (c.has_input(3)) {
    ASSIGN_OR_RETURN(const Tensor* given, c.Data(3));
    ASSIGN_OR_RETURN(axes, ToInts(*given));
  }
  if (pads.size() != 2 * axes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("pads has ", pads.size(), " values, expected ", 2 * axes.size()));
  }
  if (c.has_input(2) && (c.input(2).type != type || NumElements(c.input(2).shape) != 1)) {
    return absl::InvalidArgumentError("constant_value is not one element of the input's type");
  }
  std::vector<int64_t> begin(x.size(), 0);
  Shape shape = x;
  for (size_t i = 0; i < axes.size(); ++i) {
    ASSIGN_OR_RETURN(const size_t axis, NormalizeAxis(axes[i], x.size()));
    constexpr int64_t kMost = int64_t{1} << 32;
    if (std::max(std::abs(pads[i]), std::abs(pads[i + axes.size()])) > kMost) {
      return absl::InvalidArgumentError("a pad is out of range");
    }
    begin[axis] = pads[i];
    shape[axis] += pads[i] + pads[i + axes.size()];
    if (shape[axis] < 0 || (mode != PadMode::kConstant && x[axis] == 0 && shape[axis] > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("pads do not fit ", ShapeToString(x), " along axis ", axis));
    }
  }
  RETURN_IF_ERROR(CheckedNumElements(shape).status());
  c.SetOutput(0, type, shape);
  // For each dimension and output index, the offset in the input, or -1.
  std::vector<std::vector<int64_t>> sources;
  const Shape strides = DenseStrides(x);
  for (size_t d = 0; d < x.size(); ++d) {
    std::vector<int64_t> source;
    for (int64_t i = 0; i < shape[d]; ++i) {
      const int64_t at = PadSource(i - begin[d], x[d], mode);
      source.push_back(at < 0 ? -1 : at * strides[d]);
    }
    sources.push_back(std::move(source));
  }
  const bool has_value = c.has_input(2);
  const int64_t n = NumElements(shape);
  return DispatchWidth(type, [&](auto unit) -> std::unique_ptr<Step> {
    using T = decltype(unit);
    return MakeStep([=, sources = std::move(sources)](const RunContext& r) {
      const T value = has_value ? *r.input<T>(2) : T{0};
      const T* from = r.input<T>(0);
      T* to = r.output<T>(0);
      if (n == 0) return absl::OkStatus();
      if (sources.empty()) {
        *to = *from;
        return absl::OkStatus();
      }
      const std::vector<int64_t>& inner = sources.back();
      const int64_t length = static_cast<int64_t>(inner.size());
      for (int64_t row = 0; row < n / length; ++row) {
        int64_t base = 0, rest = row;
        bool inside = true;
        for (size_t d = sources.size() - 1; d-- > 0;) {
          const int64_t size = static_cast<int64_t>(sources[d].size());
          const int64_t at = sources[d][static_cast<size_t>(rest % size)];
          rest /= size;
          inside = inside && at >= 0;
          base += at;
        }
        T* out = to + row * length;
        for (int64_t i = 0; i < length; ++i) {
          const int64_t at = inner[static_cast<size_t>(i)];
          out[i] = inside && at >= 0 ? from[base + at] : value;
        }
      }
      return absl::OkStatus();
    });
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeTranspose(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> given, node.Ints("perm", {}));
  return MakeKernel([given](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    RETURN_IF_ERROR(CheckMovable(c.input(0)));
    const Shape x = c.input(0).shape;
    std::vector<int64_t> perm = given;
    if (perm.empty()) {
      perm.resize(x.size());
      std::iota(perm.rbegin(), perm.rend(), 0);
    }
    std::vector<bool> seen(x.size(), false);
    Shape shape, strides;
    const Shape own = DenseStrides(x);
    bool moves = false;  // anything but dimensions of size 1
    int64_t last = -1;
    for (const int64_t p : perm) {
      if (p < 0 || p >= static_cast<int64_t>(x.size()) || seen[static_cast<size_t>(p)] ||
          perm.size() != x.size()) {
        return absl::InvalidArgumentError(absl::StrCat("perm ", ShapeToString(perm),
                                                       " is not a permutation of the axes of ",
                                                       ShapeToString(x)));
      }
      const size_t d = static_cast<size_t>(p);
      seen[d] = true;
      shape.push_back(x[d]);
      strides.push_back(own[d]);
      if (x[d] == 1) continue;
      moves = moves || p < last;
      last = p;
    }
    if (!moves) {
      c.SetView(0, 0, shape);
      return nullptr;
    }
    c.SetOutput(0, c.input(0).type, shape);
    return MakeStridedCopy(c.input(0).type, shape, strides, 0, CopyThreads(c, c.input(0)));
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeSlice(const Node&, const Graph&) {
  return MakeKernel(&PrepareSlice);
}
absl::StatusOr<std::unique_ptr<Kernel>> MakeExpand(const Node&, const Graph&) {
  return MakeKernel(&PrepareExpand);
}
absl::StatusOr<std::unique_ptr<Kernel>> MakeTile(const Node& node, const Graph&) {
  if (node.opset < 6) return absl::UnimplementedError("Tile before opset 6 is not supported");
  return MakeKernel(&PrepareTile);
}
absl::StatusOr<std::unique_ptr<Kernel>> MakeConcat(const Node& node, const Graph&) {
  if (node.inputs.empty()) return absl::InvalidArgumentError("expected at least one input");
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", 1));
  return std::make_unique<ConcatKernel>(axis);
}
absl::StatusOr<std::unique_ptr<Kernel>> MakeSplit(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", 0));
  ASSIGN_OR_RETURN(const int64_t num_outputs, node.Int("num_outputs", 0));
  return std::make_unique<SplitKernel>(axis, num_outputs, node.outputs.size());
}
absl::StatusOr<std::unique_ptr<Kernel>> MakePad(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const std::string name, node.String("mode", "constant"));
  PadMode mode = PadMode::kConstant;
  if (name == "edge") {
    mode = PadMode::kEdge;
  } else if (name == "reflect") {
    mode = PadMode::kReflect;
  } else if (name == "wrap") {
    mode = PadMode::kWrap;
  } else if (name != "constant") {
    return absl::InvalidArgumentError(absl::StrCat("attribute \"mode\" is \"", name,
                                                   "\"; expected constant, edge, reflect or wrap"));
  }
  return MakeKernel([mode](PrepareContext& c) { return PreparePad(c, mode); });
}

}  // namespace baton::engine

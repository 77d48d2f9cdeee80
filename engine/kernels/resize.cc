// Resize and Upsample: each axis by itself, as every output coordinate is a weighted sum of some
// input coordinates along it. Nearest for every type, linear and cubic for float; row-major, or
// with channels in blocks where only spatial axes are resized.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/strided.h"

namespace baton::engine {
namespace {

struct ResizeOptions {
  std::string mode = "nearest", transformation = "half_pixel";
  std::string nearest = "round_prefer_floor", aspect_ratio = "stretch";
  float cubic_a = -0.75f, extrapolation = 0;
  bool exclude_outside = false;
  std::vector<int64_t> axes;              // that roi, scales and sizes speak of; empty: all
  size_t roi = 1, scales = 2, sizes = 3;  // numbers of the inputs
};

// How one axis is resized.
struct AxisResize {
  int64_t in = 0, out = 0;
  float scale = 1;
  float roi_begin = 0, roi_end = 1;
  bool changes() const { return in != out || scale != 1 || roi_begin != 0 || roi_end != 1; }
};

// What makes up each output coordinate of an axis: `taps` input coordinates with their weights.
struct AxisTable {
  size_t axis = 0;
  int64_t in = 0, out = 0, taps = 1;
  std::vector<int64_t> indexes;  // out × taps
  std::vector<float> weights;
  std::vector<int64_t> outside;  // output coordinates that get the extrapolation value
};

// https://github.com/onnx/onnx/blob/main/docs/Operators.md#Resize; in float, as ONNX Runtime does,
// so that the same neighbour is the nearest.
float OriginalCoordinate(const ResizeOptions& o, const AxisResize& axis, int64_t i) {
  const float x = static_cast<float>(i), scale = axis.scale;
  const float in = static_cast<float>(axis.in), out = static_cast<float>(axis.out);
  const float half_pixel = (x + 0.5f) / scale - 0.5f;
  if (o.transformation == "half_pixel") return half_pixel;
  if (o.transformation == "half_pixel_symmetric") {
    return in / 2 * (1 - out / (scale * in)) + half_pixel;
  }
  if (o.transformation == "pytorch_half_pixel") return axis.out > 1 ? half_pixel : 0;
  if (o.transformation == "align_corners") {
    const float length = scale * in;  // what the scale means, before it is rounded to `out`
    return axis.out == 1 || length == 1 ? 0 : x * (in - 1) / (length - 1);
  }
  if (o.transformation == "tf_half_pixel_for_nn") return (x + 0.5f) / scale;
  if (o.transformation == "tf_crop_and_resize") {
    return axis.out > 1 ? axis.roi_begin * (in - 1) +
                              x * (axis.roi_end - axis.roi_begin) * (in - 1) / (out - 1)
                        : 0.5f * (axis.roi_begin + axis.roi_end) * (in - 1);
  }
  return x / scale;  // asymmetric
}

int64_t Nearest(const ResizeOptions& o, const AxisResize& axis, float x) {
  if (o.nearest == "round_prefer_ceil") return static_cast<int64_t>(std::floor(x + 0.5f));
  if (o.nearest == "floor") return static_cast<int64_t>(std::floor(x));
  if (o.nearest == "ceil") return static_cast<int64_t>(std::ceil(x));
  if (o.nearest == "simple") {  // before opset 11
    return static_cast<int64_t>(axis.scale < 1 ? std::ceil(x) : std::floor(x));
  }
  return static_cast<int64_t>(std::ceil(x - 0.5f));
}

// Keys, "Cubic convolution interpolation for digital image processing", 1981; weights of the
// neighbours -1, 0, 1, 2 of a point `t` after number 0.
void CubicWeights(float a, float t, float* w) {
  const auto far = [a](float d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  const auto near = [a](float d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  w[0] = far(t + 1);
  w[1] = near(t);
  w[2] = near(1 - t);
  w[3] = far(2 - t);
}

AxisTable MakeTable(const ResizeOptions& o, const AxisResize& axis, size_t number) {
  AxisTable table;
  table.axis = number;
  table.in = axis.in;
  table.out = axis.out;
  table.taps = o.mode == "nearest" ? 1 : o.mode == "linear" ? 2 : 4;
  const int64_t last = axis.in - 1;
  for (int64_t i = 0; i < axis.out; ++i) {
    float x = OriginalCoordinate(o, axis, i);
    if (o.transformation == "tf_crop_and_resize" && (x < 0 || x > static_cast<float>(last))) {
      table.outside.push_back(i);
    }
    if (o.mode == "nearest") {
      table.indexes.push_back(std::clamp<int64_t>(Nearest(o, axis, x), 0, last));
      table.weights.push_back(1);
      continue;
    }
    if (o.mode == "linear") x = std::clamp(x, 0.0f, static_cast<float>(last));
    const auto first = static_cast<int64_t>(std::floor(x));
    const float t = x - static_cast<float>(first);
    float w[4] = {1 - t, t};
    const int64_t start = o.mode == "linear" ? first : first - 1;
    if (o.mode == "cubic") CubicWeights(o.cubic_a, t, w);
    float sum = 0;
    for (int64_t k = 0; k < table.taps; ++k) {
      const bool inside = start + k >= 0 && start + k <= last;
      if (o.exclude_outside && !inside) w[k] = 0;
      sum += w[k];
      table.indexes.push_back(std::clamp<int64_t>(start + k, 0, last));
    }
    for (int64_t k = 0; k < table.taps; ++k) {
      table.weights.push_back(o.exclude_outside && sum != 0 ? w[k] / sum : w[k]);
    }
  }
  return table;
}

// [outer, in, inner] to [outer, out, inner].
struct Pass {
  AxisTable table;
  int64_t outer = 1, inner = 1;
};

template <typename T>
void RunNearest(const Pass& pass, int threads, const void* from, void* to) {
  const AxisTable& t = pass.table;
  const T* in = static_cast<const T*>(from);
  T* out = static_cast<T*>(to);
  const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(t.out * pass.inner, 1));
  ParallelFor(threads, pass.outer, grain, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const T* const source = in + o * t.in * pass.inner;
      T* target = out + o * t.out * pass.inner;
      for (int64_t i = 0; i < t.out; ++i, target += pass.inner) {
        const T* const row = source + t.indexes[static_cast<size_t>(i)] * pass.inner;
        if (pass.inner == 1) {
          *target = *row;
        } else {
          std::memcpy(target, row, static_cast<size_t>(pass.inner) * sizeof(T));
        }
      }
    }
  });
}

void RunWeighted(const Pass& pass, int threads, const float* from, float* to) {
  const AxisTable& t = pass.table;
  const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(pass.inner, 1));
  ParallelFor(threads, pass.outer * t.out, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const source = from + row / t.out * t.in * pass.inner;
      float* const target = to + row * pass.inner;
      const int64_t* const indexes = t.indexes.data() + row % t.out * t.taps;
      const float* const weights = t.weights.data() + row % t.out * t.taps;
      for (int64_t i = 0; i < pass.inner; ++i) {
        float sum = 0;
        for (int64_t k = 0; k < t.taps; ++k)
          sum += weights[k] * source[indexes[k] * pass.inner + i];
        target[i] = sum;
      }
    }
  });
}

// What lies outside the region of interest along `table`'s axis of the whole output.
void Extrapolate(const AxisTable& table, int64_t outer, int64_t inner, float value, float* to) {
  for (int64_t o = 0; o < outer; ++o) {
    for (const int64_t i : table.outside) {
      std::fill_n(to + (o * table.out + i) * inner, inner, value);
    }
  }
}

class ResizeKernel final : public Kernel {
 public:
  explicit ResizeKernel(ResizeOptions options) : o_(std::move(options)) {}
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const Meta x = c.input(0);
    if (o_.mode != "nearest" && x.type != DataType::kFloat) {
      return absl::UnimplementedError(absl::StrCat("mode \"", o_.mode, "\" for ",
                                                   DataTypeName(x.type),
                                                   " is not supported; cast to float before"));
    }
    const bool crops = o_.transformation == "tf_crop_and_resize";
    if (crops && x.type != DataType::kFloat) {
      return absl::UnimplementedError(absl::StrCat("tf_crop_and_resize for ", DataTypeName(x.type),
                                                   " is not supported; expected float"));
    }
    if (x.type == DataType::kString) return absl::UnimplementedError("strings are not supported");
    ASSIGN_OR_RETURN(const std::vector<AxisResize> axes, Fit(c, x.shape));
    Shape y;
    for (const AxisResize& axis : axes) y.push_back(axis.out);
    RETURN_IF_ERROR(CheckedNumElements(y).status());
    if (NumElements(x.shape) == 0 && NumElements(y) > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("an input of shape ", ShapeToString(x.shape), " has nothing to resize"));
    }
    Shape dims = x.shape;
    Meta output{x.type, y, std::nullopt};
    const bool blocked = x.layout && !crops && x.shape.size() >= 3 && x.shape.size() <= 5 &&
                         !axes[0].changes() && !axes[1].changes() &&
                         *x.layout == ChannelBlockedLayout(x.type, x.shape);
    if (blocked) {
      const int64_t block = HasAvx512() ? 16 : 8;
      dims[1] = (dims[1] + block - 1) / block;
      dims.push_back(block);
      output.layout = ChannelBlockedLayout(x.type, y);
    } else if (x.layout) {
      RETURN_IF_ERROR(c.SetInputLayout(0, PlainLayout(x.type, x.shape)));
    }
    std::vector<Pass> passes = Passes(axes, dims);
    if (passes.empty()) {
      c.SetMaybeInPlace(0, 0, output);
    } else {
      c.SetOutput(0, output);
    }
    if (c.shapes_only()) return nullptr;
    return MakeSteps(c, std::move(passes), x.type, dims);
  }

 private:
  absl::StatusOr<std::vector<AxisResize>> Fit(PrepareContext& c, const Shape& x) const {
    const size_t rank = x.size();
    std::vector<size_t> named;
    if (o_.axes.empty()) {
      for (size_t i = 0; i < rank; ++i) named.push_back(i);
    }
    for (const int64_t axis : o_.axes) {
      ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, rank));
      named.push_back(at);
    }
    std::vector<AxisResize> axes(rank);
    for (size_t i = 0; i < rank; ++i) axes[i].in = axes[i].out = x[i];
    if (IsGiven(c, o_.scales)) {
      ASSIGN_OR_RETURN(const auto scales, Floats(c, o_.scales, "scales", named.size()));
      for (size_t i = 0; i < named.size(); ++i) {
        AxisResize& axis = axes[named[i]];
        axis.scale = scales[i];
        const float out = std::floor(static_cast<float>(axis.in) * axis.scale);
        if (!(axis.scale > 0) || !(out < 1e9f)) {
          return absl::InvalidArgumentError(
              absl::StrCat("scale ", axis.scale, " of axis ", named[i], " is out of range"));
        }
        axis.out = static_cast<int64_t>(out);
      }
    } else if (IsGiven(c, o_.sizes)) {
      RETURN_IF_ERROR(FitSizes(c, named, axes));
    } else {
      return absl::InvalidArgumentError("neither scales nor sizes are given");
    }
    if (o_.transformation == "tf_crop_and_resize") {
      ASSIGN_OR_RETURN(const auto roi, Floats(c, o_.roi, "roi", 2 * named.size()));
      for (size_t i = 0; i < named.size(); ++i) {
        axes[named[i]].roi_begin = roi[i];
        axes[named[i]].roi_end = roi[i + named.size()];
      }
    }
    return axes;
  }

  absl::Status FitSizes(PrepareContext& c, const std::vector<size_t>& named,
                        std::vector<AxisResize>& axes) const {
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(o_.sizes));
    ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ToInts(*data));
    if (sizes.size() != named.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("sizes has ", sizes.size(), " values, expected ", named.size()));
    }
    float common = 0;  // the scale of all axes, where they keep their proportion
    for (size_t i = 0; i < named.size(); ++i) {
      AxisResize& axis = axes[named[i]];
      if (sizes[i] < 0) {
        return absl::InvalidArgumentError(absl::StrCat("size ", sizes[i], " is negative"));
      }
      axis.out = sizes[i];
      axis.scale = axis.in == 0 ? 1 : static_cast<float>(sizes[i]) / static_cast<float>(axis.in);
      const bool takes =
          o_.aspect_ratio == "not_larger" ? axis.scale < common : axis.scale > common;
      if (i == 0 || takes) common = axis.scale;
    }
    if (o_.aspect_ratio == "stretch") return absl::OkStatus();
    for (const size_t i : named) {
      axes[i].scale = common;
      axes[i].out =
          static_cast<int64_t>(std::floor(common * static_cast<float>(axes[i].in) + 0.5f));
    }
    return absl::OkStatus();
  }

  static bool IsGiven(PrepareContext& c, size_t i) {
    return c.has_input(i) && NumElements(c.input(i).shape) > 0;
  }

  static absl::StatusOr<std::vector<float>> Floats(PrepareContext& c, size_t input,
                                                   const char* name, size_t wanted) {
    if (!c.has_input(input)) return absl::InvalidArgumentError(absl::StrCat(name, " is missing"));
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(input));
    if (data->type() != DataType::kFloat || static_cast<size_t>(data->size()) != wanted) {
      return absl::InvalidArgumentError(absl::StrCat(name, " is ", DataTypeName(data->type()),
                                                     ShapeToString(data->shape()),
                                                     ", expected float[", wanted, "]"));
    }
    const auto values = data->values<float>();
    return std::vector<float>(values.begin(), values.end());
  }

  // Axes that shrink first, so that the others have less to do. `dims` become the output's.
  std::vector<Pass> Passes(const std::vector<AxisResize>& axes, Shape& dims) const {
    std::vector<Pass> passes;
    for (size_t i = 0; i < axes.size(); ++i) {
      if (!axes[i].changes() || axes[i].in == 0) continue;
      Pass pass;
      pass.table = MakeTable(o_, axes[i], i);
      passes.push_back(std::move(pass));
    }
    std::stable_sort(passes.begin(), passes.end(), [](const Pass& a, const Pass& b) {
      return a.table.out * b.table.in < b.table.out * a.table.in;
    });
    for (Pass& pass : passes) {
      const auto span = absl::MakeConstSpan(dims);
      pass.outer = NumElements(span.first(pass.table.axis));
      pass.inner = NumElements(span.subspan(pass.table.axis + 1));
      dims[pass.table.axis] = pass.table.out;
    }
    return passes;
  }

  absl::StatusOr<std::unique_ptr<Step>> MakeSteps(PrepareContext& c, std::vector<Pass> passes,
                                                  DataType type, const Shape& dims) const {
    const size_t element = DataTypeSize(type);
    size_t most = 0;  // bytes between two passes
    for (size_t i = 0; i + 1 < passes.size(); ++i) {
      const Pass& pass = passes[i];
      most =
          std::max(most, static_cast<size_t>(pass.outer * pass.table.out * pass.inner) * element);
    }
    most = (most + 63) / 64 * 64;
    const int64_t n = NumElements(dims);
    const int threads =
        c.ThreadsFor(0, 2.0 * static_cast<double>(n) * static_cast<double>(element));
    const bool weighted = o_.mode != "nearest";
    const float extrapolation = o_.extrapolation;
    return DispatchWidth(type, [&](auto unit) -> std::unique_ptr<Step> {
      using T = decltype(unit);
      return MakeStep(
          [=, passes = std::move(passes)](const RunContext& r) {
            if (n == 0) return absl::OkStatus();
            const char* from = r.input<char>(0);
            char* const result = r.output<char>(0);
            if (passes.empty()) {
              if (from != result) std::memcpy(result, from, static_cast<size_t>(n) * sizeof(T));
              return absl::OkStatus();
            }
            for (size_t i = 0; i < passes.size(); ++i) {
              char* const to =
                  i + 1 == passes.size() ? result : static_cast<char*>(r.scratch) + (i % 2) * most;
              if (weighted) {
                RunWeighted(passes[i], threads, reinterpret_cast<const float*>(from),
                            reinterpret_cast<float*>(to));
              } else {
                RunNearest<T>(passes[i], threads, from, to);
              }
              from = to;
            }
            for (const Pass& pass : passes) {
              if (pass.table.outside.empty()) continue;
              const auto span = absl::MakeConstSpan(dims);
              Extrapolate(pass.table, NumElements(span.first(pass.table.axis)),
                          NumElements(span.subspan(pass.table.axis + 1)), extrapolation,
                          reinterpret_cast<float*>(result));
            }
            return absl::OkStatus();
          },
          2 * most);
    });
  }

  const ResizeOptions o_;
};

absl::Status CheckOneOf(const char* attribute, const std::string& value,
                        absl::Span<const absl::string_view> known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return absl::OkStatus();
  std::string names;
  for (const absl::string_view name : known) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", name);
  }
  return absl::UnimplementedError(absl::StrCat("attribute \"", attribute, "\" is \"", value,
                                               "\", which is not supported; expected one of ",
                                               names));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeResize(const Node& node, const Graph&) {
  if (!node.has_input(0)) return absl::InvalidArgumentError("expected an input");
  ResizeOptions o;
  ASSIGN_OR_RETURN(o.mode, node.String("mode", o.mode));
  if (node.op == "Upsample" || node.opset < 11) {
    o.transformation = "asymmetric";
    o.nearest = "simple";
    o.scales = 1;
    o.roi = o.sizes = 4;  // there are none
    RETURN_IF_ERROR(CheckOneOf("mode", o.mode, {"nearest", "linear"}));
    return std::make_unique<ResizeKernel>(std::move(o));
  }
  ASSIGN_OR_RETURN(o.transformation,
                   node.String("coordinate_transformation_mode", o.transformation));
  ASSIGN_OR_RETURN(o.nearest, node.String("nearest_mode", o.nearest));
  ASSIGN_OR_RETURN(o.aspect_ratio, node.String("keep_aspect_ratio_policy", o.aspect_ratio));
  ASSIGN_OR_RETURN(o.cubic_a, node.Float("cubic_coeff_a", o.cubic_a));
  ASSIGN_OR_RETURN(o.extrapolation, node.Float("extrapolation_value", o.extrapolation));
  ASSIGN_OR_RETURN(const int64_t exclude_outside, node.Int("exclude_outside", 0));
  o.exclude_outside = exclude_outside != 0;
  ASSIGN_OR_RETURN(o.axes, node.Ints("axes", {}));
  ASSIGN_OR_RETURN(const int64_t antialias, node.Int("antialias", 0));
  if (antialias != 0) {
    return absl::UnimplementedError(absl::StrCat(
        "mode \"", o.mode, "\" with antialias is not supported; export with antialias=0"));
  }
  RETURN_IF_ERROR(CheckOneOf("mode", o.mode, {"nearest", "linear", "cubic"}));
  RETURN_IF_ERROR(
      CheckOneOf("coordinate_transformation_mode", o.transformation,
                 {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                  "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"}));
  RETURN_IF_ERROR(CheckOneOf("nearest_mode", o.nearest,
                             {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}));
  RETURN_IF_ERROR(CheckOneOf("keep_aspect_ratio_policy", o.aspect_ratio,
                             {"stretch", "not_larger", "not_smaller"}));
  return std::make_unique<ResizeKernel>(std::move(o));
}

}  // namespace baton::engine

// Gather, GatherElements, GatherND, and Where: elements picked by other tensors.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/broadcast.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/strided.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

using Indexes = TypeList<int32_t, int64_t>;

absl::Status CheckMovable(const Meta& x) {
  if (x.type != DataType::kString) return absl::OkStatus();
  return absl::UnimplementedError("element type string is not supported");
}

// `index` counted from the front; false if it is out of range.
inline bool Normalize(int64_t& index, int64_t size) {
  if (index < 0) index += size;
  return index >= 0 && index < size;
}

absl::Status OutOfRange(int64_t index, int64_t size) {
  return absl::InvalidArgumentError(
      absl::StrCat("index ", index, " is out of range for a dimension of ", size));
}

absl::StatusOr<std::unique_ptr<Step>> PrepareGather(PrepareContext& c, int64_t axis) {
  const Meta x = c.input(0), indexes = c.input(1);
  RETURN_IF_ERROR(CheckMovable(x));
  ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.shape.size()));
  const auto dims = absl::MakeConstSpan(x.shape);
  Shape shape(dims.begin(), dims.begin() + static_cast<int64_t>(at));
  shape.insert(shape.end(), indexes.shape.begin(), indexes.shape.end());
  shape.insert(shape.end(), dims.begin() + static_cast<int64_t>(at) + 1, dims.end());
  c.SetOutput(0, x.type, shape);
  const int64_t outer = NumElements(dims.first(at)), size = x.shape[at];
  const int64_t count = NumElements(indexes.shape);
  const size_t run = static_cast<size_t>(NumElements(dims.subspan(at + 1))) * DataTypeSize(x.type);
  return DispatchType(
      indexes.type, Indexes(), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
        using I = typename decltype(tag)::type;
        return MakeStep([=](const RunContext& r) {
          const char* from = r.input<char>(0);
          const I* index = r.input<I>(1);
          char* to = r.output<char>(0);
          for (int64_t o = 0; o < outer; ++o) {
            for (int64_t i = 0; i < count; ++i) {
              int64_t k = index[i];
              if (!Normalize(k, size)) return OutOfRange(index[i], size);
              if (run > 0) std::memcpy(to, from + static_cast<size_t>(o * size + k) * run, run);
              to += run;
            }
          }
          return absl::OkStatus();
        });
      });
}

absl::StatusOr<std::unique_ptr<Step>> PrepareGatherElements(PrepareContext& c, int64_t axis) {
  const Meta x = c.input(0), indexes = c.input(1);
  RETURN_IF_ERROR(CheckMovable(x));
  ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.shape.size()));
  bool fits = indexes.shape.size() == x.shape.size();
  for (size_t d = 0; fits && d < x.shape.size(); ++d) {
    fits = d == at || indexes.shape[d] <= x.shape[d];
  }
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat("indices ", ShapeToString(indexes.shape),
                                                   " do not fit data ", ShapeToString(x.shape)));
  }
  c.SetOutput(0, x.type, indexes.shape);
  const Shape strides = DenseStrides(x.shape), shape = indexes.shape;
  const int64_t size = x.shape[at], n = NumElements(shape);
  return DispatchType(indexes.type, Indexes(),
                      [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
                        using I = typename decltype(tag)::type;
                        return DispatchWidth(x.type, [&](auto unit) -> std::unique_ptr<Step> {
                          using T = decltype(unit);
                          return MakeStep([=](const RunContext& r) {
                            const T* from = r.input<T>(0);
                            const I* index = r.input<I>(1);
                            T* to = r.output<T>(0);
                            for (int64_t i = 0; i < n; ++i) {
                              int64_t rest = i, offset = 0;
                              for (size_t d = shape.size(); d-- > 0;) {
                                int64_t k = rest % shape[d];
                                rest /= shape[d];
                                if (d == at) {
                                  k = index[i];
                                  if (!Normalize(k, size)) return OutOfRange(index[i], size);
                                }
                                offset += k * strides[d];
                              }
                              to[i] = from[offset];
                            }
                            return absl::OkStatus();
                          });
                        });
                      });
}

absl::StatusOr<std::unique_ptr<Step>> PrepareGatherNd(PrepareContext& c, int64_t batch_dims) {
  const Meta x = c.input(0), indexes = c.input(1);
  RETURN_IF_ERROR(CheckMovable(x));
  if (indexes.type != DataType::kInt64) return UnsupportedType(indexes.type);
  const auto data = absl::MakeConstSpan(x.shape), index = absl::MakeConstSpan(indexes.shape);
  const auto wrong = [&] {
    return absl::InvalidArgumentError(absl::StrCat("indices ", ShapeToString(index),
                                                   " do not fit data ", ShapeToString(data),
                                                   " with batch_dims=", batch_dims));
  };
  if (index.empty() || batch_dims < 0 || batch_dims >= static_cast<int64_t>(index.size()) ||
      batch_dims > static_cast<int64_t>(data.size())) {
    return wrong();
  }
  const size_t b = static_cast<size_t>(batch_dims);
  const int64_t depth = index.back();
  if (depth < 1 || depth > static_cast<int64_t>(data.size() - b) ||
      data.first(b) != index.first(b)) {
    return wrong();
  }
  const size_t tail = b + static_cast<size_t>(depth);
  Shape shape(index.begin(), index.end() - 1);
  shape.insert(shape.end(), data.begin() + static_cast<int64_t>(tail), data.end());
  c.SetOutput(0, x.type, shape);
  const int64_t batches = NumElements(data.first(b));
  const int64_t per_batch = NumElements(index.subspan(b, index.size() - 1 - b));
  const size_t run = static_cast<size_t>(NumElements(data.subspan(tail))) * DataTypeSize(x.type);
  const std::vector<int64_t> dims(data.begin() + static_cast<int64_t>(b),
                                  data.begin() + static_cast<int64_t>(tail));
  int64_t block = 1;
  for (const int64_t d : dims) block *= d;
  return MakeStep([=](const RunContext& r) {
    const char* from = r.input<char>(0);
    const int64_t* at = r.input<int64_t>(1);
    char* to = r.output<char>(0);
    for (int64_t i = 0; i < batches * per_batch; ++i) {
      int64_t offset = 0;
      for (const int64_t d : dims) {
        int64_t k = *at;
        if (!Normalize(k, d)) return OutOfRange(*at, d);
        ++at;
        offset = offset * d + k;
      }
      const int64_t row = i / per_batch * block + offset;
      if (run > 0) std::memcpy(to, from + static_cast<size_t>(row) * run, run);
      to += run;
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::unique_ptr<Step>> PrepareWhere(PrepareContext& c) {
  const Meta condition = c.input(0), a = c.input(1), b = c.input(2);
  RETURN_IF_ERROR(CheckMovable(a));
  if (condition.type != DataType::kBool || a.type != b.type) {
    return absl::InvalidArgumentError(absl::StrCat("got ", DataTypeName(condition.type), ", ",
                                                   DataTypeName(a.type), ", ", DataTypeName(b.type),
                                                   "; expected bool and two of one type"));
  }
  ASSIGN_OR_RETURN(const Shape ab, BroadcastShape(a.shape, b.shape));
  ASSIGN_OR_RETURN(const Shape shape, BroadcastShape(condition.shape, ab));
  c.SetOutput(0, a.type, shape);
  if (NumElements(shape) == 0) return MakeStep([](const RunContext&) { return absl::OkStatus(); });
  const auto loop = MakeBroadcastLoop<3>(shape, {condition.shape, a.shape, b.shape});
  return DispatchWidth(a.type, [&](auto unit) -> std::unique_ptr<Step> {
    using T = decltype(unit);
    return MakeStep([loop](const RunContext& r) {
      const bool* choose = r.input<bool>(0);
      const T *x = r.input<T>(1), *y = r.input<T>(2);
      T* to = r.output<T>(0);
      const int64_t s0 = loop.strides[0].back(), s1 = loop.strides[1].back(),
                    s2 = loop.strides[2].back();
      ForEachRow(loop, 0, Rows(loop),
                 [&](int64_t at, const std::array<int64_t, 3>& index, int64_t length) {
                   for (int64_t i = 0; i < length; ++i) {
                     to[at + i] =
                         choose[index[0] + i * s0] ? x[index[1] + i * s1] : y[index[2] + i * s2];
                   }
                 });
      return absl::OkStatus();
    });
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeGather(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", 0));
  return MakeKernel([axis](PrepareContext& c) { return PrepareGather(c, axis); });
}
absl::StatusOr<std::unique_ptr<Kernel>> MakeGatherElements(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", 0));
  return MakeKernel([axis](PrepareContext& c) { return PrepareGatherElements(c, axis); });
}
absl::StatusOr<std::unique_ptr<Kernel>> MakeGatherNd(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t batch_dims, node.Int("batch_dims", 0));
  return MakeKernel([batch_dims](PrepareContext& c) { return PrepareGatherNd(c, batch_dims); });
}
absl::StatusOr<std::unique_ptr<Kernel>> MakeWhere(const Node& node, const Graph&) {
  if (node.inputs.size() != 3) return absl::InvalidArgumentError("expected three inputs");
  return MakeKernel(&PrepareWhere);
}

}  // namespace baton::engine

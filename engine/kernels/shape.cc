// Views, and shapes as values: nothing of this runs, it is all done while planning.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/kernels.h"

namespace baton::engine {
namespace {

// ONNX Reshape: 0 copies a dimension (unless allowzero), one -1 is what remains.
absl::StatusOr<Shape> ReshapeTo(const Shape& from, absl::Span<const int64_t> wanted,
                                bool allow_zero) {
  const auto wrong = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("cannot reshape ", ShapeToString(from), " to ",
                                                   ShapeToString(wanted), ": ", why));
  };
  Shape shape;
  int infer = -1;
  for (size_t i = 0; i < wanted.size(); ++i) {
    int64_t d = wanted[i];
    if (d == 0 && !allow_zero) {
      if (i >= from.size()) return wrong("0 stands for a dimension that the input does not have");
      d = from[i];
    } else if (d == -1) {
      if (infer >= 0) return wrong("-1 stands twice");
      infer = static_cast<int>(i);
      d = 1;
    } else if (d < 0) {
      return wrong("a dimension is negative");
    }
    shape.push_back(d);
  }
  ASSIGN_OR_RETURN(const int64_t elements, CheckedNumElements(shape));
  const int64_t total = NumElements(from);
  if (infer >= 0) {
    if (elements == 0 || total % elements != 0) return wrong("the numbers of elements do not fit");
    shape[static_cast<size_t>(infer)] = total / elements;
  } else if (elements != total) {
    return wrong("the numbers of elements differ");
  }
  return shape;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeShape(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t start, node.Int("start", 0));
  ASSIGN_OR_RETURN(const int64_t end, node.Int("end", INT64_MAX));
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape& x = c.input(0).shape;
    const int64_t rank = static_cast<int64_t>(x.size());
    const auto clamp = [rank](int64_t v) {
      return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank);
    };
    const int64_t from = clamp(start), to = std::max(from, clamp(end));
    c.SetKnown(0, Tensor::From<int64_t>(
                      {to - from}, absl::MakeConstSpan(x).subspan(static_cast<size_t>(from),
                                                                  static_cast<size_t>(to - from))));
    return nullptr;
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeReshape(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t allow_zero, node.Int("allowzero", 0));
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    ASSIGN_OR_RETURN(const Tensor* wanted, c.Data(1));
    if (wanted->type() != DataType::kInt64 || wanted->shape().size() != 1) {
      return absl::InvalidArgumentError(absl::StrCat("shape is ", DataTypeName(wanted->type()),
                                                     ShapeToString(wanted->shape()),
                                                     ", expected int64[n]"));
    }
    ASSIGN_OR_RETURN(Shape shape,
                     ReshapeTo(c.input(0).shape, wanted->values<int64_t>(), allow_zero != 0));
    c.SetView(0, 0, std::move(shape));
    return nullptr;
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeSqueeze(const Node&, const Graph&) {
  return MakeKernel([](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape& x = c.input(0).shape;
    std::vector<bool> drop(x.size(), false);
    if (c.has_input(1)) {
      ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
      ASSIGN_OR_RETURN(const std::vector<int64_t> axes, ToInts(*data));
      for (const int64_t axis : axes) {
        ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.size()));
        if (x[at] != 1) {
          return absl::InvalidArgumentError(
              absl::StrCat("axis ", axis, " of ", ShapeToString(x), " is not 1"));
        }
        drop[at] = true;
      }
    } else {
      for (size_t d = 0; d < x.size(); ++d) drop[d] = x[d] == 1;
    }
    Shape shape;
    for (size_t d = 0; d < x.size(); ++d) {
      if (!drop[d]) shape.push_back(x[d]);
    }
    c.SetView(0, 0, std::move(shape));
    return nullptr;
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeUnsqueeze(const Node& node, const Graph&) {
  if (!node.has_input(1)) return absl::InvalidArgumentError("axes are missing");
  return MakeKernel([](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape& x = c.input(0).shape;
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
    ASSIGN_OR_RETURN(const std::vector<int64_t> axes, ToInts(*data));
    const size_t rank = x.size() + axes.size();
    std::vector<bool> added(rank, false);
    for (const int64_t axis : axes) {
      ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, rank));
      if (added[at])
        return absl::InvalidArgumentError(absl::StrCat("axis ", axis, " stands twice"));
      added[at] = true;
    }
    Shape shape;
    size_t next = 0;
    for (size_t d = 0; d < rank; ++d) shape.push_back(added[d] ? 1 : x[next++]);
    c.SetView(0, 0, std::move(shape));
    return nullptr;
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeSize(const Node&, const Graph&) {
  return MakeKernel([](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape scalar;
    c.SetKnown(0, Tensor::From<int64_t>(scalar, {NumElements(c.input(0).shape)}));
    return nullptr;
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeFlatten(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", 1));
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape& x = c.input(0).shape;
    const int64_t rank = static_cast<int64_t>(x.size());
    if (axis < -rank || axis > rank) {
      return absl::InvalidArgumentError(
          absl::StrCat("axis ", axis, " is out of range for ", ShapeToString(x)));
    }
    const size_t split = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    const auto dims = absl::MakeConstSpan(x);
    c.SetView(0, 0, {NumElements(dims.subspan(0, split)), NumElements(dims.subspan(split))});
    return nullptr;
  });
}

}  // namespace baton::engine

// Softmax and LogSoftmax on oneDNN, row-major.
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"

namespace baton::engine {

absl::StatusOr<std::unique_ptr<Kernel>> MakeSoftmax(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", -1));
  // Set by the importer for opsets before 13: all dimensions from `axis` on are taken as one.
  ASSIGN_OR_RETURN(const int64_t flatten, node.Int("flatten", 0));
  const bool log = node.op == "LogSoftmax";
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape x = c.input(0).shape;
    if (c.input(0).type != DataType::kFloat) {
      return absl::UnimplementedError(absl::StrCat("element type ", DataTypeName(c.input(0).type),
                                                   " is not supported; expected float"));
    }
    const int64_t rank = static_cast<int64_t>(x.size());
    if (axis < -rank || axis >= rank + (flatten != 0 ? 1 : 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("axis ", axis, " is out of range for ", ShapeToString(x)));
    }
    c.SetMaybeInPlace(0, 0, {DataType::kFloat, x, std::nullopt});
    if (c.shapes_only()) return nullptr;
    if (NumElements(x) == 0) {
      return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    }
    const size_t at = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    const auto dims = absl::MakeConstSpan(x);
    const int64_t before = NumElements(dims.first(at));
    const Shape view = flatten != 0 ? Shape{before, NumElements(dims.subspan(at)), 1}
                                    : Shape{before, x[at], NumElements(dims.subspan(at + 1))};
    const Shape shape = view[2] == 1 ? Shape{view[0], view[1]} : view;
    const int threads = c.ThreadsFor(0, 4.0 * static_cast<double>(c.input(0).bytes()));
    const ScopedThreads scope(threads);
    const std::optional<DnnlPrimitive> made =
        MakeSoftmax(PlainLayout(DataType::kFloat, shape), 1, log, MakeAttr({}));
    if (!made) return absl::UnimplementedError("oneDNN has no softmax of this form");
    return MakeDnnlStep(*made,
                        {{DNNL_ARG_SRC, made->src, DnnlArgument::From::kInput, 0},
                         {DNNL_ARG_DST, made->dst, DnnlArgument::From::kOutput, 0}},
                        threads, 0);
  });
}

}  // namespace baton::engine

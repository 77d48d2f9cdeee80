// Cast between numbers, and ConstantOfShape.
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

template <typename From, typename To>
void ConvertAll(const void* from, void* to, int64_t n) {
  const From* in = static_cast<const From*>(from);
  To* out = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) out[i] = ConvertElement<To>(in[i]);
}

using Conversion = void (*)(const void* from, void* to, int64_t n);

absl::StatusOr<Conversion> FindConversion(DataType from, DataType to) {
  using Result = absl::StatusOr<Conversion>;
  return DispatchType(from, AllFixed(), [&](auto from_tag) -> Result {
    return DispatchType(to, AllFixed(), [&](auto to_tag) -> Result {
      return &ConvertAll<typename decltype(from_tag)::type, typename decltype(to_tag)::type>;
    });
  });
}

absl::StatusOr<std::unique_ptr<Step>> PrepareCast(PrepareContext& c, DataType to) {
  const Meta x = c.input(0);
  if (x.type == to) {
    c.SetView(0, 0, x.shape);
    return nullptr;
  }
  ASSIGN_OR_RETURN(const Conversion convert, FindConversion(x.type, to));
  c.SetOutput(0, to, x.shape);
  const int64_t n = NumElements(x.shape);
  const auto size_from = static_cast<int64_t>(DataTypeSize(x.type));
  const auto size_to = static_cast<int64_t>(DataTypeSize(to));
  const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
  return MakeStep([=](const RunContext& r) {
    const char* in = r.input<char>(0);
    char* out = r.output<char>(0);
    ParallelFor(threads, n, 4096, [&](int64_t begin, int64_t end) {
      convert(in + begin * size_from, out + begin * size_to, end - begin);
    });
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeCast(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t to, node.Int("to", 0));
  const DataType type = static_cast<DataType>(to);
  if (DataTypeSize(type) == 0 || type == DataType::kString) {
    return absl::UnimplementedError(
        absl::StrCat("a cast to ", DataTypeName(type), " is not supported"));
  }
  return MakeKernel([type](PrepareContext& c) { return PrepareCast(c, type); });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeCastLike(const Node&, const Graph&) {
  return MakeKernel([](PrepareContext& c) { return PrepareCast(c, c.input(1).type); });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeConstantOfShape(const Node& node, const Graph&) {
  Tensor value = Tensor::From<float>({1}, {0.0f});
  if (const auto it = node.attributes.find("value"); it != node.attributes.end()) {
    const Tensor* given = std::get_if<Tensor>(&it->second);
    if (given == nullptr || given->size() != 1 || given->type() == DataType::kString) {
      return absl::InvalidArgumentError("attribute \"value\" is not a tensor of one number");
    }
    value = *given;
  }
  return MakeKernel([value](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(0));
    ASSIGN_OR_RETURN(const std::vector<int64_t> dims, ToInts(*data));
    ASSIGN_OR_RETURN(const int64_t n, CheckedNumElements(dims));
    c.SetOutput(0, value.type(), Shape(dims.begin(), dims.end()));
    const size_t width = DataTypeSize(value.type());
    return MakeStep([value, n, width](const RunContext& r) {
      char* to = r.output<char>(0);
      for (int64_t i = 0; i < n; ++i, to += width) std::memcpy(to, value.data(), width);
      return absl::OkStatus();
    });
  });
}

}  // namespace baton::engine

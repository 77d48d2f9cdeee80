#include "server/api/oip_classification.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/tensor_types.h"
#include "server/api/input_check.h"
#include "server/api/oip_codec.h"

namespace baton::api {
namespace {

using Ordered = TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                         int64_t, uint64_t, Float16, Bfloat16>;

// In a type that has an order and is printed as a number.
template <typename T>
auto Comparable(T value) {
  if constexpr (kIsHalf<T>) {
    return value.ToFloat();
  } else if constexpr (std::is_integral_v<T> && sizeof(T) < sizeof(int32_t)) {
    return static_cast<int32_t>(value);
  } else {
    return value;
  }
}

template <typename T>
bool Higher(T a, T b) {
  const auto x = Comparable(a);
  const auto y = Comparable(b);
  if constexpr (std::is_floating_point_v<decltype(x)>) {
    if (std::isnan(x) || std::isnan(y)) return std::isnan(y) && !std::isnan(x);
  }
  return x > y;
}

// Appends the classes of one row, as `count` BYTES elements.
template <typename T>
void AppendRow(absl::Span<const T> row, int64_t count, const std::vector<std::string>* labels,
               std::string& raw) {
  std::vector<size_t> order(row.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](size_t a, size_t b) {
    if (Higher(row[a], row[b])) return true;
    return !Higher(row[b], row[a]) && a < b;
  });
  for (int64_t i = 0; i < count; ++i) {
    const size_t index = order[static_cast<size_t>(i)];
    // Digits as Triton's: six after the point.
    std::string text = absl::StrCat(std::to_string(Comparable(row[index])), ":", index);
    if (labels != nullptr && index < labels->size()) {
      absl::StrAppend(&text, ":", (*labels)[index]);
    }
    AppendBytesElement(text, raw);
  }
}

}  // namespace

absl::Status AddClasses(const serving::Servable& servable, size_t index, const TensorView& tensor,
                        int64_t count, inference::ModelInferResponse& response) {
  const std::string& name = servable.signature().outputs[index].name;
  const bool batched = servable.max_batch_size() > 0 && !tensor.shape.empty();
  const int64_t rows = batched ? tensor.shape[0] : 1;
  const int64_t row_size = rows > 0 ? tensor.size() / rows : 0;
  const int64_t classes = std::min(count, row_size);
  const auto& all_labels = servable.config().class_labels;
  const auto labels = all_labels.find(name);
  std::string raw;
  const absl::Status status = DispatchType(tensor.type, Ordered(), [&](auto tag) -> absl::Status {
    using T = typename decltype(tag)::type;
    for (int64_t row = 0; row < rows; ++row) {
      AppendRow<T>(tensor.values<T>().subspan(static_cast<size_t>(row * row_size),
                                              static_cast<size_t>(row_size)),
                   classes, labels == all_labels.end() ? nullptr : &labels->second, raw);
    }
    return absl::OkStatus();
  });
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Describe(servable), ": output \"", name, "\" (", OipTypeName(tensor.type),
                     "): parameter \"classification\" needs numbers; leave it out"));
  }
  auto& output = *response.add_outputs();
  output.set_name(name);
  output.set_datatype(OipTypeName(DataType::kString));
  if (batched) output.add_shape(rows);
  output.add_shape(classes);
  response.add_raw_output_contents(std::move(raw));
  return absl::OkStatus();
}

}  // namespace baton::api

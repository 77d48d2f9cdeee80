#include "tests/bench/measuring.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/support/nets.h"

namespace baton::bench {

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string Duration(double seconds) {
  return seconds < 1e-3 ? absl::StrFormat("%.2f µs", seconds * 1e6)
                        : absl::StrFormat("%.2f ms", seconds * 1e3);
}

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (absl::StartsWith(line, "model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

bool IsOfTexts(absl::string_view net) {
  return absl::StartsWith(net, "bert") || absl::StartsWith(net, "minilm");
}

std::vector<int64_t> OpenSizes(absl::string_view net, int64_t words) {
  if (IsOfTexts(net)) return {words};
  if (net == "ppocr_det") return {640, 640};
  if (net == "ppocr_cls") return {48, 192};
  if (net == "ppocr_rec") return {320};  // 48 high
  return {};
}

absl::StatusOr<Tensor> MakeInput(const engine::ValueInfo& info, int64_t batch,
                                 const std::vector<int64_t>& sizes) {
  Shape shape;
  size_t open = 0;
  for (const engine::Dim& dim : info.dims) {
    const bool is_batch = shape.empty();
    if (dim.value < 0 && !is_batch && open == sizes.size()) {
      return absl::UnimplementedError(absl::StrCat("input \"", info.name, "\" is ", ToString(info),
                                                   "; its size is not known here"));
    }
    shape.push_back(dim.value >= 0 ? dim.value : is_batch ? batch : sizes[open++]);
  }
  if (info.type == DataType::kFloat) return testing::RandomTensor(shape, 0, 1, 1);
  if (info.type != DataType::kInt64) {
    return absl::UnimplementedError(
        absl::StrCat("input \"", info.name, "\" is ", ToString(info), "; expected float or int64"));
  }
  Tensor words(DataType::kInt64, shape);
  const bool mask = absl::StrContains(info.name, "mask");
  int64_t i = 0;
  for (int64_t& word : words.mutable_values<int64_t>()) word = mask ? 1 : i++ % 2;
  return words;
}

}  // namespace baton::bench

#include "client/scores.h"

#include <algorithm>
#include <cmath>

namespace baton {
namespace {

bool LooksLikeScores(const Tensor& tensor) {
  const bool real = tensor.type() == DataType::kFloat || tensor.type() == DataType::kDouble;
  const size_t rank = tensor.shape().size();
  return real && (rank == 1 || rank == 2) && tensor.shape().back() >= 2;
}

template <typename T>
std::vector<std::vector<Score>> TopOf(const Tensor& tensor, size_t count) {
  const absl::Span<const T> values = tensor.values<T>();
  const auto n = static_cast<size_t>(tensor.shape().back());
  count = std::min(count, n);
  std::vector<std::vector<Score>> rows;
  for (size_t begin = 0; begin < values.size(); begin += n) {
    std::vector<Score> row;
    for (size_t i = 0; i < n; ++i) {
      row.push_back({static_cast<int64_t>(i), static_cast<double>(values[begin + i])});
    }
    std::partial_sort(row.begin(), row.begin() + static_cast<int64_t>(count), row.end(),
                      [](const Score& a, const Score& b) {
                        if (std::isnan(a.score) || std::isnan(b.score)) {
                          if (std::isnan(a.score) != std::isnan(b.score)) {
                            return std::isnan(b.score);
                          }
                          return a.label < b.label;
                        }
                        return a.score != b.score ? a.score > b.score : a.label < b.label;
                      });
    row.resize(count);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::vector<std::vector<Score>> TopScores(absl::Span<const NamedTensor> outputs, size_t count) {
  const Tensor* scores = nullptr;
  for (const NamedTensor& output : outputs) {
    if (!LooksLikeScores(output.tensor)) continue;
    if (scores != nullptr) return {};
    scores = &output.tensor;
  }
  if (scores == nullptr) return {};
  return scores->type() == DataType::kFloat ? TopOf<float>(*scores, count)
                                            : TopOf<double>(*scores, count);
}

}  // namespace baton

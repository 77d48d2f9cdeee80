// Attention against a naive reference in double, over layouts, masks, block and head counts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetFloat;
using testing::SetInt;

enum class MaskKind { kNone, kFloatFull, kFloatKeys, kBool };

struct AttentionCase {
  int64_t batch, heads, key_heads, queries, keys, size, value_size;
  bool flat;  // inputs of rank 3
  MaskKind mask;
  bool causal;
  float scale, softcap;
};

void PrintTo(const AttentionCase& c, std::ostream* out) {
  *out << c.batch << " x " << c.heads << "/" << c.key_heads << " heads, " << c.queries << " x "
       << c.keys << ", sizes " << c.size << " and " << c.value_size << (c.flat ? ", flat" : "")
       << ", mask " << static_cast<int>(c.mask) << (c.causal ? ", causal" : "");
}

// Element [b, head, row, i] of an input of either form.
float At(const Tensor& t, bool flat, int64_t heads, int64_t b, int64_t head, int64_t row,
         int64_t i) {
  const Shape& s = t.shape();
  const int64_t rows = flat ? s[1] : s[2], size = flat ? s[2] / heads : s[3];
  const int64_t at = flat ? (b * rows + row) * heads * size + head * size + i
                          : ((b * heads + head) * rows + row) * size + i;
  return t.values<float>()[static_cast<size_t>(at)];
}

Tensor MakeMask(const AttentionCase& c) {
  if (c.mask == MaskKind::kFloatFull) {
    return RandomTensor({c.batch, c.heads, c.queries, c.keys}, 4);
  }
  if (c.mask == MaskKind::kFloatKeys) return RandomTensor({c.batch, 1, 1, c.keys}, 4);
  Tensor mask(DataType::kBool, {c.queries, c.keys});
  size_t i = 0;
  for (bool& v : mask.mutable_values<bool>()) v = ++i % 3 != 0;
  return mask;
}

double MaskAt(const AttentionCase& c, const Tensor& mask, int64_t b, int64_t head, int64_t query,
              int64_t key) {
  switch (c.mask) {
    case MaskKind::kNone:
      return 0;
    case MaskKind::kFloatFull:
      return mask.values<float>()[static_cast<size_t>(
          ((b * c.heads + head) * c.queries + query) * c.keys + key)];
    case MaskKind::kFloatKeys:
      return mask.values<float>()[static_cast<size_t>(b * c.keys + key)];
    case MaskKind::kBool:
      return mask.values<bool>()[static_cast<size_t>(query * c.keys + key)]
                 ? 0
                 : -std::numeric_limits<double>::infinity();
  }
  return 0;
}

// The answer for one query of one head.
std::vector<double> Reference(const AttentionCase& c, const std::vector<Tensor>& in, int64_t b,
                              int64_t head, int64_t query) {
  const int64_t key_head = head / (c.heads / c.key_heads);
  const double scale = c.scale != 0 ? c.scale : 1 / std::sqrt(static_cast<double>(c.size));
  std::vector<double> weights;
  double sum = 0;
  for (int64_t k = 0; k < c.keys; ++k) {
    double score = 0;
    for (int64_t i = 0; i < c.size; ++i) {
      score += static_cast<double>(At(in[0], c.flat, c.heads, b, head, query, i)) *
               At(in[1], c.flat, c.key_heads, b, key_head, k, i);
    }
    score *= scale;
    if (c.softcap != 0) score = c.softcap * std::tanh(score / c.softcap);
    if (c.mask != MaskKind::kNone) score += MaskAt(c, in[3], b, head, query, k);
    if (c.causal && k > query) score = -std::numeric_limits<double>::infinity();
    weights.push_back(std::exp(score));
    sum += weights.back();
  }
  std::vector<double> y(static_cast<size_t>(c.value_size), 0);
  for (int64_t k = 0; k < c.keys; ++k) {
    for (int64_t i = 0; i < c.value_size; ++i) {
      y[static_cast<size_t>(i)] +=
          weights[static_cast<size_t>(k)] / sum * At(in[2], c.flat, c.key_heads, b, key_head, k, i);
    }
  }
  return y;
}

std::string AttentionModel(const AttentionCase& c, const std::vector<Tensor>& in) {
  ModelBuilder m(23);
  const char* const names[] = {"q", "k", "v", "mask"};
  std::vector<std::string> inputs;
  for (size_t i = 0; i < in.size(); ++i) {
    m.Input(names[i], in[i].type(), {in[i].shape().begin(), in[i].shape().end()});
    inputs.push_back(names[i]);
  }
  auto& node = m.Node("Attention", inputs, {"y"});
  if (c.flat) {
    SetInt(node, "q_num_heads", c.heads);
    SetInt(node, "kv_num_heads", c.key_heads);
  }
  if (c.scale != 0) SetFloat(node, "scale", c.scale);
  if (c.softcap != 0) SetFloat(node, "softcap", c.softcap);
  if (c.causal) SetInt(node, "is_causal", 1);
  m.Output("y", DataType::kFloat,
           c.flat ? std::vector<int64_t>{c.batch, c.queries, c.heads * c.value_size}
                  : std::vector<int64_t>{c.batch, c.heads, c.queries, c.value_size});
  return m.Build();
}

class AttentionTest : public ::testing::TestWithParam<std::tuple<AttentionCase, int>> {};

TEST_P(AttentionTest, EqualsTheReference) {
  const auto& [c, threads] = GetParam();
  const auto shape = [&c = c](int64_t heads, int64_t rows, int64_t size) {
    return c.flat ? Shape{c.batch, rows, heads * size} : Shape{c.batch, heads, rows, size};
  };
  std::vector<Tensor> in = {RandomTensor(shape(c.heads, c.queries, c.size), 1),
                            RandomTensor(shape(c.key_heads, c.keys, c.size), 2),
                            RandomTensor(shape(c.key_heads, c.keys, c.value_size), 3)};
  if (c.mask != MaskKind::kNone) in.push_back(MakeMask(c));
  const auto y = RunModel(AttentionModel(c, in), in, threads);
  ASSERT_TRUE(y.ok()) << y.status();
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t head = 0; head < c.heads; ++head) {
      for (int64_t query = 0; query < c.queries; ++query) {
        const std::vector<double> expected = Reference(c, in, b, head, query);
        for (int64_t i = 0; i < c.value_size; ++i) {
          ASSERT_NEAR(At((*y)[0], c.flat, c.heads, b, head, query, i),
                      expected[static_cast<size_t>(i)], 1e-5)
              << "batch " << b << ", head " << head << ", query " << query << ", element " << i;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, AttentionTest,
    ::testing::Combine(
        ::testing::Values(
            AttentionCase{2, 4, 4, 16, 16, 64, 64, true, MaskKind::kNone, false, 0, 0},
            AttentionCase{1, 3, 3, 33, 17, 20, 12, false, MaskKind::kNone, false, 0.3f, 0},
            AttentionCase{3, 2, 2, 5, 21, 8, 8, true, MaskKind::kFloatKeys, false, 0, 0},
            AttentionCase{2, 2, 2, 7, 9, 8, 8, false, MaskKind::kFloatFull, false, 0, 0},
            AttentionCase{2, 2, 2, 7, 31, 8, 8, false, MaskKind::kBool, false, 0, 0},
            AttentionCase{1, 6, 2, 40, 40, 16, 16, true, MaskKind::kNone, true, 0, 2.5f},
            AttentionCase{1, 2, 2, 19, 19, 16, 16, true, MaskKind::kFloatKeys, true, 0, 0},
            AttentionCase{1, 1, 1, 1, 1, 1, 1, false, MaskKind::kNone, false, 0, 0},
            // Several blocks of queries, the last one smaller.
            AttentionCase{1, 2, 2, 300, 384, 32, 32, true, MaskKind::kNone, false, 0, 0}),
        ::testing::Values(1, 2)));

// Were its weight not 0 but next to it, such a value would count.
TEST(AttentionMaskTest, WhatIsMaskedIsWorthNothing) {
  const AttentionCase c = {1, 1, 1, 3, 20, 8, 8, false, MaskKind::kBool, false, 0, 0};
  std::vector<Tensor> in = {
      RandomTensor({1, 1, c.queries, c.size}, 1), RandomTensor({1, 1, c.keys, c.size}, 2),
      RandomTensor({1, 1, c.keys, c.size}, 3), Tensor(DataType::kBool, {c.queries, c.keys})};
  for (int64_t i = 0; i < c.queries * c.keys; ++i) {
    in[3].mutable_values<bool>()[static_cast<size_t>(i)] = i % c.keys != 7;
  }
  const auto small = RunModel(AttentionModel(c, in), in);
  ASSERT_TRUE(small.ok()) << small.status();
  for (int64_t i = 0; i < c.size; ++i) {
    in[2].mutable_values<float>()[static_cast<size_t>(7 * c.size + i)] = 3e38f;
  }
  const auto large = RunModel(AttentionModel(c, in), in);
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_THAT((*large)[0].values<float>(), ElementsAreArray((*small)[0].values<float>()));
}

std::string ErrorOf(const AttentionCase& c, const std::vector<Tensor>& in) {
  const auto y = RunModel(AttentionModel(c, in), in);
  return y.ok() ? "" : std::string(y.status().message());
}

TEST(AttentionErrorTest, SaysWhatDoesNotFit) {
  AttentionCase c{1, 2, 2, 4, 4, 8, 8, true, MaskKind::kNone, false, 0, 0};
  const Tensor x = RandomTensor({1, 4, 16}, 1);
  EXPECT_EQ(ErrorOf(c, {x, x, x}), "");
  EXPECT_THAT(ErrorOf(c, {x, RandomTensor({1, 4, 24}, 1), x}),
              HasSubstr("K [1,4,24] and V [1,4,16] do not fit each other"));
  EXPECT_THAT(ErrorOf(c, {x, RandomTensor({1, 4, 15}, 1), x}),
              HasSubstr("K is [1,4,15] for 2 heads"));
  EXPECT_THAT(ErrorOf(c, {x, x, x, RandomTensor({4, 3}, 1)}),
              HasSubstr("the mask [4,3] does not broadcast to [1,2,4,4]"));
  c.heads = 0;
  EXPECT_THAT(ErrorOf(c, {x, x, x}), HasSubstr("for 0 heads"));
}

}  // namespace
}  // namespace baton::engine

// Matcher: reads a graph backwards from a value, for rewrites that look for what exporters spell
// out in small operators. It sees the graph as it was made with.
#pragma once

#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/graph.h"
#include "engine/kernel.h"

namespace baton::engine {

class Matcher {
 public:
  // `metas`: of each value, from InferMetas. Both outlive the matcher.
  Matcher(const Graph& graph, const std::vector<std::optional<Meta>>& metas);

  // The node of ONNX's own operator `op` whose first output `id` is; else null.
  const Node* Maker(ValueId id, absl::string_view op) const;
  // The same, if nobody else reads `id`.
  const Node* OnlyMaker(ValueId id, absl::string_view op) const;
  const Meta* meta(ValueId id) const;
  // The value's rank, if it is float; else -1.
  int FloatRank(ValueId id) const;

  // The number that a float constant of rank 0 or 1 holds.
  std::optional<double> Number(ValueId id) const;
  bool IsNumber(ValueId id, double value) const;

  // What a value is the product of: numbers go into `scale`. Products that others read, too, are
  // factors.
  struct Product {
    double scale = 1;
    std::vector<ValueId> factors;
  };
  Product Factors(ValueId id) const;
  // `scale`, where `id` is just scale · x.
  std::optional<double> ScaleOf(ValueId id, ValueId x) const;

  // What a value is the sum of: numbers go into `shift`.
  struct Sum {
    double shift = 0;
    std::vector<ValueId> terms;
  };
  Sum Terms(ValueId id) const;
  // `shift`, where `id` is just x + shift.
  std::optional<double> ShiftOf(ValueId id, ValueId x) const;

  // Whether `id` is x to the power of `degree`, written with Pow or with products.
  bool IsPower(ValueId id, ValueId x, int degree) const;

 private:
  const Node* Producer(ValueId id) const;
  void AddFactors(ValueId id, bool root, Product& product) const;
  void AddTerms(ValueId id, bool root, Sum& sum) const;

  const Graph& graph_;
  const std::vector<std::optional<Meta>>& metas_;
  const std::vector<int> uses_, producers_;
};

// As exact as exporters write constants.
bool IsClose(double a, double b);

}  // namespace baton::engine

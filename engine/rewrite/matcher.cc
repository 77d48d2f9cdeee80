#include "engine/rewrite/matcher.h"

#include <algorithm>
#include <cmath>

#include "engine/rewrite/rewrite.h"

namespace baton::engine {

bool IsClose(double a, double b) { return std::abs(a - b) <= 1e-4 * std::abs(b); }

Matcher::Matcher(const Graph& graph, const std::vector<std::optional<Meta>>& metas)
    : graph_(graph), metas_(metas), uses_(CountUses(graph)), producers_(Producers(graph)) {}

const Node* Matcher::Producer(ValueId id) const {
  const int producer = id == kNoValue ? -1 : producers_[static_cast<size_t>(id)];
  return producer < 0 ? nullptr : &graph_.nodes[static_cast<size_t>(producer)];
}

const Node* Matcher::Maker(ValueId id, absl::string_view op) const {
  const Node* node = Producer(id);
  const bool is = node != nullptr && node->domain.empty() && node->op == op &&
                  node->outputs[0] == id && node->has_input(0);
  return is ? node : nullptr;
}

const Node* Matcher::OnlyMaker(ValueId id, absl::string_view op) const {
  const Node* node = Maker(id, op);
  return node != nullptr && uses_[static_cast<size_t>(id)] == 1 ? node : nullptr;
}

const Meta* Matcher::meta(ValueId id) const {
  const auto i = static_cast<size_t>(id);
  return id != kNoValue && i < metas_.size() && metas_[i] ? &*metas_[i] : nullptr;
}

int Matcher::FloatRank(ValueId id) const {
  const Meta* m = meta(id);
  return m != nullptr && m->type == DataType::kFloat ? static_cast<int>(m->shape.size()) : -1;
}

std::optional<double> Matcher::Number(ValueId id) const {
  if (!graph_.is_constant(id)) return std::nullopt;
  const Tensor& constant = graph_.constant(id);
  if (constant.type() != DataType::kFloat || constant.size() != 1 || constant.shape().size() > 1) {
    return std::nullopt;
  }
  return constant.values<float>()[0];
}

bool Matcher::IsNumber(ValueId id, double value) const {
  const std::optional<double> number = Number(id);
  return number && IsClose(*number, value);
}

void Matcher::AddFactors(ValueId id, bool root, Product& product) const {
  const bool opens = root || (id != kNoValue && uses_[static_cast<size_t>(id)] == 1);
  if (const std::optional<double> number = Number(id)) {
    product.scale *= *number;
    return;
  }
  if (const Node* mul = opens ? Maker(id, "Mul") : nullptr; mul != nullptr) {
    for (const ValueId input : mul->inputs) AddFactors(input, false, product);
    return;
  }
  if (const Node* div = opens ? Maker(id, "Div") : nullptr; div != nullptr) {
    const std::optional<double> by = Number(div->inputs[1]);
    if (by && *by != 0) {
      product.scale /= *by;
      AddFactors(div->inputs[0], false, product);
      return;
    }
  }
  product.factors.push_back(id);
}

Matcher::Product Matcher::Factors(ValueId id) const {
  Product product;
  AddFactors(id, true, product);
  return product;
}

std::optional<double> Matcher::ScaleOf(ValueId id, ValueId x) const {
  if (id == x) return 1;
  const Product product = Factors(id);
  if (product.factors != std::vector<ValueId>{x}) return std::nullopt;
  return product.scale;
}

void Matcher::AddTerms(ValueId id, bool root, Sum& sum) const {
  const bool opens = root || (id != kNoValue && uses_[static_cast<size_t>(id)] == 1);
  if (const std::optional<double> number = Number(id)) {
    sum.shift += *number;
    return;
  }
  if (const Node* add = opens ? Maker(id, "Add") : nullptr; add != nullptr) {
    for (const ValueId input : add->inputs) AddTerms(input, false, sum);
    return;
  }
  sum.terms.push_back(id);
}

Matcher::Sum Matcher::Terms(ValueId id) const {
  Sum sum;
  AddTerms(id, true, sum);
  return sum;
}

std::optional<double> Matcher::ShiftOf(ValueId id, ValueId x) const {
  if (id == x) return 0;
  const Sum sum = Terms(id);
  if (sum.terms != std::vector<ValueId>{x}) return std::nullopt;
  return sum.shift;
}

bool Matcher::IsPower(ValueId id, ValueId x, int degree) const {
  if (const Node* pow = Maker(id, "Pow")) {
    return pow->inputs[0] == x && IsNumber(pow->inputs[1], degree);
  }
  const Product product = Factors(id);
  int found = 0;
  for (const ValueId factor : product.factors) {
    const Node* pow = Maker(factor, "Pow");
    if (factor == x) {
      ++found;
    } else if (pow != nullptr && pow->inputs[0] == x && IsNumber(pow->inputs[1], 2)) {
      found += 2;
    } else {
      return false;
    }
  }
  return product.scale == 1 && found == degree;
}

}  // namespace baton::engine

#include "tests/trainer/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/random.h"

namespace baton::trainer::testing {
namespace {

// Element [n, c, y, x] of a batch of [channels, height, width] items.
size_t At(const Shape& item, int64_t n, int64_t c, int64_t y, int64_t x) {
  return static_cast<size_t>(((n * item[0] + c) * item[1] + y) * item[2] + x);
}

struct Forward {
  const Layer& layer;
  int64_t batch;
  const Values& source;
  const Values& weights;
  const Values& bias;

  Values operator()(const Dense& dense) const {
    const int64_t n = layer.input_shape[0];
    Values result;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t o = 0; o < dense.units; ++o) {
        double sum = bias[static_cast<size_t>(o)];
        for (int64_t i = 0; i < n; ++i) {
          sum += weights[static_cast<size_t>(o * n + i)] * source[static_cast<size_t>(b * n + i)];
        }
        result.push_back(sum);
      }
    }
    return result;
  }

  Values operator()(const Conv2D& conv) const {
    const Shape& in = layer.input_shape;
    const int64_t k = conv.kernel, padding = (k - 1) / 2;
    Values result;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t o = 0; o < conv.channels; ++o) {
        for (int64_t y = 0; y < in[1]; ++y) {
          for (int64_t x = 0; x < in[2]; ++x) {
            double sum = bias[static_cast<size_t>(o)];
            for (int64_t c = 0; c < in[0]; ++c) {
              for (int64_t i = 0; i < k; ++i) {
                const int64_t sy = y + i - padding;
                if (sy < 0 || sy >= in[1]) continue;
                const double* const from = &source[At(in, b, c, sy, 0)];
                const double* const weight =
                    &weights[static_cast<size_t>(((o * in[0] + c) * k + i) * k)];
                for (int64_t j = 0; j < k; ++j) {
                  const int64_t sx = x + j - padding;
                  if (sx >= 0 && sx < in[2]) sum += weight[j] * from[sx];
                }
              }
            }
            result.push_back(sum);
          }
        }
      }
    }
    return result;
  }

  Values operator()(const MaxPool& pool) const {
    const Shape& out = layer.output_shape;
    Values result;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t c = 0; c < out[0]; ++c) {
        for (int64_t y = 0; y < out[1]; ++y) {
          for (int64_t x = 0; x < out[2]; ++x) {
            double max = -std::numeric_limits<double>::infinity();
            for (int64_t i = 0; i < pool.size; ++i) {
              for (int64_t j = 0; j < pool.size; ++j) {
                max = std::max(
                    max, source[At(layer.input_shape, b, c, y * pool.size + i, x * pool.size + j)]);
              }
            }
            result.push_back(max);
          }
        }
      }
    }
    return result;
  }

  Values operator()(const Activation& activation) const {
    Values result;
    for (const double x : source) {
      switch (activation.kind) {
        case Activation::Kind::kSigmoid:
          result.push_back(1 / (1 + std::exp(-x)));
          break;
        case Activation::Kind::kTanh:
          result.push_back(std::tanh(x));
          break;
        case Activation::Kind::kRelu:
          result.push_back(std::max(x, 0.0));
          break;
      }
    }
    return result;
  }

  Values operator()(const Flatten&) const { return source; }
};

}  // namespace

Values ReferenceForward(const Layer& layer, int64_t batch, const Values& source,
                        const Values& weights, const Values& bias) {
  return std::visit(Forward{layer, batch, source, weights, bias}, layer.spec);
}

Values NumericGradient(const std::function<double(const Values&)>& f, Values at) {
  constexpr double kStep = 1e-6;
  Values gradient;
  for (double& x : at) {
    const double before = x;
    x = before + kStep;
    const double above = f(at);
    x = before - kStep;
    gradient.push_back((above - f(at)) / (2 * kStep));
    x = before;
  }
  return gradient;
}

double ReferenceCrossEntropy(const Values& logits, int64_t classes,
                             const std::vector<uint8_t>& labels) {
  const size_t n = static_cast<size_t>(classes);
  double loss = 0;
  for (size_t r = 0; r < labels.size(); ++r) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::exp(logits[r * n + i]);
    loss -= std::log(std::exp(logits[r * n + labels[r]]) / sum);
  }
  return loss / static_cast<double>(labels.size());
}

Values RandomValues(int64_t count, uint64_t seed) {
  Random random(seed);
  Values values;
  for (int64_t i = 0; i < count; ++i) values.push_back(random.Symmetric(1));
  return values;
}

}  // namespace baton::trainer::testing

// BatchNormalization (inference; those after a convolution are folded into it),
// InstanceNormalization and LRN; float, row-major.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"

namespace baton::engine {
namespace {

absl::Status CheckNormalization(const PrepareContext& c, size_t vectors) {
  const Meta& x = c.input(0);
  if (x.shape.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("input ", ShapeToString(x.shape), ": expected rank 2 or more"));
  }
  for (size_t i = 0; i <= vectors; ++i) {
    if (!c.has_input(i))
      return absl::InvalidArgumentError(absl::StrCat("input ", i, " is missing"));
    if (c.input(i).type != DataType::kFloat) {
      return absl::UnimplementedError(absl::StrCat("element type ", DataTypeName(c.input(i).type),
                                                   " is not supported; expected float"));
    }
    if (i > 0 && c.input(i).shape != Shape{x.shape[1]}) {
      return absl::InvalidArgumentError(absl::StrCat(
          "input ", i, " is ", ShapeToString(c.input(i).shape), ", expected [", x.shape[1], "]"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Step>> PrepareBatchNormalization(PrepareContext& c, float epsilon) {
  RETURN_IF_ERROR(CheckNormalization(c, 4));
  for (size_t i = 1; i < 5; ++i) {
    if (c.has_output(i)) return absl::UnimplementedError("training outputs are not supported");
  }
  const Meta x = c.input(0);
  c.SetMaybeInPlace(0, 0, x);
  const int64_t channels = x.shape[1];
  const int64_t inner = NumElements(absl::MakeConstSpan(x.shape).subspan(2));
  const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
  const int64_t rows = x.shape[0] * channels;
  return MakeStep([=](const RunContext& r) {
    const float *from = r.input<float>(0), *scale = r.input<float>(1), *bias = r.input<float>(2),
                *mean = r.input<float>(3), *variance = r.input<float>(4);
    float* to = r.output<float>(0);
    ParallelFor(threads, rows, std::max<int64_t>(1, 4096 / std::max<int64_t>(inner, 1)),
                [&](int64_t begin, int64_t end) {
                  for (int64_t row = begin; row < end; ++row) {
                    const int64_t ch = row % channels;
                    const float s = scale[ch] / std::sqrt(variance[ch] + epsilon);
                    const float b = bias[ch] - mean[ch] * s;
                    for (int64_t i = row * inner; i < (row + 1) * inner; ++i)
                      to[i] = from[i] * s + b;
                  }
                });
    return absl::OkStatus();
  });
}

absl::StatusOr<std::unique_ptr<Step>> PrepareInstanceNormalization(PrepareContext& c,
                                                                   float epsilon) {
  RETURN_IF_ERROR(CheckNormalization(c, 2));
  const Meta x = c.input(0);
  c.SetMaybeInPlace(0, 0, x);
  const int64_t channels = x.shape[1];
  const int64_t inner = NumElements(absl::MakeConstSpan(x.shape).subspan(2));
  const int threads = c.ThreadsFor(0, 3.0 * static_cast<double>(x.bytes()));
  const int64_t rows = inner == 0 ? 0 : x.shape[0] * channels;
  return MakeStep([=](const RunContext& r) {
    const float *from = r.input<float>(0), *scale = r.input<float>(1), *bias = r.input<float>(2);
    float* to = r.output<float>(0);
    ParallelFor(threads, rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* in = from + row * inner;
        float* out = to + row * inner;
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < inner; ++i) sum += in[i];
        const double mean = sum / static_cast<double>(inner);
        for (int64_t i = 0; i < inner; ++i) squares += (in[i] - mean) * (in[i] - mean);
        const double variance = squares / static_cast<double>(inner);
        const float s = static_cast<float>(scale[row % channels] / std::sqrt(variance + epsilon));
        const float b = bias[row % channels] - static_cast<float>(mean) * s;
        for (int64_t i = 0; i < inner; ++i) out[i] = in[i] * s + b;
      }
    });
    return absl::OkStatus();
  });
}

struct LrnOptions {
  int64_t size = 1;
  float alpha = 1e-4f, beta = 0.75f, bias = 1.0f;
};

absl::StatusOr<std::unique_ptr<Step>> PrepareLrn(PrepareContext& c, const LrnOptions& o) {
  const Meta x = c.input(0);
  if (x.type != DataType::kFloat) {
    return absl::UnimplementedError(
        absl::StrCat("element type ", DataTypeName(x.type), " is not supported; expected float"));
  }
  if (x.shape.size() < 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("input ", ShapeToString(x.shape), ": expected rank 3 or more"));
  }
  c.SetOutput(0, x);
  const int64_t batch = x.shape[0], channels = x.shape[1];
  const int64_t inner = NumElements(absl::MakeConstSpan(x.shape).subspan(2));
  const int threads = c.ThreadsFor(40.0 * static_cast<double>(NumElements(x.shape)), 0);
  // ONNX: the window goes from floor((size-1)/2) before to ceil((size-1)/2) after.
  const int64_t before = (o.size - 1) / 2, after = o.size - 1 - before;
  return MakeStep([=](const RunContext& r) {
    const float* from = r.input<float>(0);
    float* to = r.output<float>(0);
    ParallelFor(threads, batch * channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / channels, ch = row % channels;
        const int64_t first = std::max<int64_t>(0, ch - before);
        const int64_t last = std::min(channels - 1, ch + after);
        float* out = to + row * inner;
        for (int64_t i = 0; i < inner; ++i) {
          float squares = 0;
          for (int64_t k = first; k <= last; ++k) {
            const float v = from[(n * channels + k) * inner + i];
            squares += v * v;
          }
          out[i] = from[row * inner + i] *
                   std::pow(o.bias + o.alpha / static_cast<float>(o.size) * squares, -o.beta);
        }
      }
    });
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeBatchNormalization(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5f));
  ASSIGN_OR_RETURN(const int64_t training, node.Int("training_mode", 0));
  ASSIGN_OR_RETURN(const int64_t spatial, node.Int("spatial", 1));
  // Before opset 7 a model says with is_test whether it is trained.
  ASSIGN_OR_RETURN(const int64_t is_test, node.Int("is_test", node.opset < 7 ? 0 : 1));
  if (training != 0 || is_test == 0) return absl::UnimplementedError("training is not supported");
  if (spatial == 0) return absl::UnimplementedError("spatial=0 is not supported");
  return MakeKernel([epsilon](PrepareContext& c) { return PrepareBatchNormalization(c, epsilon); });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeInstanceNormalization(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5f));
  return MakeKernel(
      [epsilon](PrepareContext& c) { return PrepareInstanceNormalization(c, epsilon); });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeLrn(const Node& node, const Graph&) {
  LrnOptions o;
  ASSIGN_OR_RETURN(o.size, node.Int("size", 0));
  ASSIGN_OR_RETURN(o.alpha, node.Float("alpha", o.alpha));
  ASSIGN_OR_RETURN(o.beta, node.Float("beta", o.beta));
  ASSIGN_OR_RETURN(o.bias, node.Float("bias", o.bias));
  if (o.size < 1) return absl::InvalidArgumentError("attribute \"size\" must be 1 or more");
  return MakeKernel([o](PrepareContext& c) { return PrepareLrn(c, o); });
}

}  // namespace baton::engine

#include "trainer/preset.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/nearest_word.h"

namespace baton::trainer {
namespace {

constexpr int64_t kDigits = 10;
constexpr Activation kSigmoid = {Activation::Kind::kSigmoid};
constexpr Activation kTanh = {Activation::Kind::kTanh};
constexpr Activation kRelu = {Activation::Kind::kRelu};

std::vector<Preset> MakePresets() {
  return {
      {.name = "mnist-mlp",
       .description = "784-64-16-10, sigmoid and tanh, softmax; handwritten digits (MNIST)",
       .model = "mnist",
       .classes = kDigits,
       .input_shape = {784},
       .layers = {Dense{64}, kSigmoid, Dense{16}, kTanh, Dense{kDigits}},
       .training = {.epochs = 20,
                    .batch_size = 64,
                    .learning_rate = 5e-3,
                    .optimizer = {.weight_decay = 0.1}}},
      {.name = "mnist-cnn",
       .description = "two convolutions (16 and 32 channels), relu, max-pooling, 64-10, softmax; "
                      "handwritten digits (MNIST)",
       .model = "mnist",
       .classes = kDigits,
       .input_shape = {1, 28, 28},
       .layers = {Conv2D{16, 3}, kRelu, MaxPool{2}, Conv2D{32, 3}, kRelu, MaxPool{2}, Flatten{},
                  Dense{64}, kRelu, Dense{kDigits}},
       .training = {.epochs = 4,
                    .batch_size = 64,
                    .learning_rate = 2e-3,
                    .optimizer = {.weight_decay = 0.05}}},
  };
}

}  // namespace

const std::vector<Preset>& Presets() {
  static const std::vector<Preset>& presets = *new std::vector<Preset>(MakePresets());
  return presets;
}

absl::StatusOr<Preset> FindPreset(const std::string& name) {
  std::vector<std::string> known;
  for (const Preset& preset : Presets()) {
    if (preset.name == name) return preset;
    known.push_back(preset.name);
  }
  const std::string nearest = NearestWord(name, known);
  return absl::NotFoundError(
      absl::StrCat("unknown preset \"", name, "\"",
                   nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?"),
                   " (there are ", absl::StrJoin(known, ", "), ")"));
}

}  // namespace baton::trainer

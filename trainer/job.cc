#include "trainer/job.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "server/repository/publisher.h"
#include "trainer/network.h"
#include "trainer/onnx_export.h"
#include "trainer/pass.h"

namespace baton::trainer {
namespace {

namespace fs = std::filesystem;

// Items of the golden samples, from the start of the test set: single ones, and a batch, so that
// a server checks (and warms) more than one batch size.
constexpr int64_t kSampleBatches[] = {1, 1, 1, 1, 3};

absl::Status CheckModelName(const std::string& name) {
  if (!name.empty() && name.front() != '.' && name.find('/') == std::string::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model is \"", name,
                   "\", expected the name of a directory: no \"/\", no \".\" at its start"));
}

// Hours of training must not end at a directory that cannot be written.
absl::Status CheckWritable(const std::string& directory) {
  std::error_code error;
  fs::path existing = fs::absolute(directory, error);
  while (!fs::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  if (!fs::is_directory(existing, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("repository ", directory, ": ", existing.string(), " is not a directory"));
  }
  std::string probe = existing / ".tmp-XXXXXX";  // access(2) says yes to root on any file system
  if (mkdtemp(probe.data()) == nullptr) {
    return Annotate(ErrnoStatus("write into", existing.string()),
                    absl::StrCat("repository ", directory));
  }
  rmdir(probe.c_str());
  return absl::OkStatus();
}

Tensor RawImages(const Network& network, const Dataset& data, absl::Span<const int64_t> items) {
  Shape shape = {static_cast<int64_t>(items.size())};
  shape.insert(shape.end(), network.input_shape().begin(), network.input_shape().end());
  Tensor images(DataType::kFloat, shape);
  float* next = images.mutable_values<float>().data();
  for (const int64_t item : items) {
    for (const uint8_t pixel : data.image(item)) *next++ = pixel;
  }
  return images;
}

absl::StatusOr<Tensor> Probabilities(Network& network, const Tensor& images) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Pass> pass,
                   Pass::Create(network, images.shape()[0], Purpose::kInference));
  const absl::Span<const float> pixels = images.values<float>();
  for (size_t i = 0; i < pixels.size(); ++i) pass->input()[i] = pixels[i] * kPixelScale;
  RETURN_IF_ERROR(pass->Forward());
  Tensor probabilities(DataType::kFloat, {images.shape()[0], network.classes()});
  Softmax(pass->logits(), network.classes(), probabilities.mutable_values<float>());
  return probabilities;
}

absl::StatusOr<std::vector<repository::PublishSample>> GoldenSamples(Network& network,
                                                                     const Dataset& test) {
  std::vector<repository::PublishSample> samples;
  int64_t next = 0;
  for (const int64_t batch : kSampleBatches) {
    std::vector<int64_t> items;
    for (int64_t i = 0; i < batch; ++i) items.push_back(next++ % test.size());
    const Tensor images = RawImages(network, test, items);
    ASSIGN_OR_RETURN(Tensor probabilities, Probabilities(network, images));
    samples.push_back({{{kInputName, images}}, {{kOutputName, std::move(probabilities)}}});
  }
  return samples;
}

OnnxText Describe(const JobOptions& options, const Score& test) {
  const TrainingOptions& training = options.preset.training;
  return {.graph_name = options.preset.name,
          .description = absl::StrFormat("%s. Test accuracy %.2f %% on %d images after %d epochs.",
                                         options.preset.description, 100 * test.accuracy(),
                                         test.items, training.epochs),
          .properties = {{"preset", options.preset.name},
                         {"accuracy", absl::StrCat(test.accuracy())},
                         {"loss", absl::StrCat(test.mean_loss())},
                         {"epochs", absl::StrCat(training.epochs)},
                         {"seed", absl::StrCat(training.seed)},
                         {"batch_size", absl::StrCat(training.batch_size)},
                         {"learning_rate", absl::StrCat(training.learning_rate)},
                         {"weight_decay", absl::StrCat(training.optimizer.weight_decay)},
                         {"optimizer", OptimizerName(training.optimizer.kind)}}};
}

std::map<std::string, double> Metrics(const JobOptions& options, const Network& network,
                                      const Score& test) {
  return {{"accuracy", test.accuracy()},
          {"loss", test.mean_loss()},
          {"test_images", static_cast<double>(test.items)},
          {"epochs", options.preset.training.epochs},
          {"seed", static_cast<double>(options.preset.training.seed)},
          {"parameters", static_cast<double>(network.parameter_count())}};
}

}  // namespace

absl::Status JobOptions::Validate() const {
  if (repository.empty() && export_path.empty()) {
    return absl::InvalidArgumentError("neither a repository nor a file to export to is given");
  }
  if (!(min_accuracy >= 0 && min_accuracy <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("min accuracy is ", min_accuracy,
                                                   ", expected a fraction from 0 to 1, as 0.97"));
  }
  if (keep_last < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("keep last is ", keep_last, ", expected 0 (all) or more"));
  }
  if (!repository.empty()) RETURN_IF_ERROR(CheckModelName(model));
  return preset.training.Validate();
}

absl::StatusOr<JobResult> RunJob(const JobOptions& options, TrainingObserver& observer,
                                 const std::atomic<bool>& stop) {
  RETURN_IF_ERROR(options.Validate());
  const Preset& preset = options.preset;
  const std::string model_directory = absl::StrCat(options.repository, "/", options.model);
  if (!options.repository.empty()) RETURN_IF_ERROR(CheckWritable(model_directory));
  ASSIGN_OR_RETURN(const Mnist data, ReadMnist(options.data_directory, preset.classes));
  ASSIGN_OR_RETURN(Network network,
                   Network::Create(preset.input_shape, preset.layers, preset.training.seed));

  RETURN_IF_ERROR(Train(network, data.train, preset.training, observer, stop));
  JobResult result;
  ASSIGN_OR_RETURN(result.test, Evaluate(network, data.test, stop));
  if (result.test.accuracy() < options.min_accuracy) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "test accuracy %.2f %% is under the %.2f %% asked for; train longer, or lower the bar",
        100 * result.test.accuracy(), 100 * options.min_accuracy));
  }

  repository::PublishRequest request{.model_directory = model_directory,
                                     .onnx = ExportOnnx(network, Describe(options, result.test)),
                                     .external_data_directory = "",
                                     .samples = {},
                                     .metrics = Metrics(options, network, result.test),
                                     .version = {},
                                     .keep_last = options.keep_last};
  ASSIGN_OR_RETURN(request.samples, GoldenSamples(network, data.test));
  if (stop) return absl::CancelledError("interrupted");
  if (!options.export_path.empty()) {
    RETURN_IF_ERROR(WriteFileDurably(options.export_path, request.onnx));
  }
  if (!options.repository.empty()) {
    ASSIGN_OR_RETURN(result.version, repository::Publish(request));
    result.version_directory = absl::StrCat(model_directory, "/", result.version);
  }
  return result;
}

}  // namespace baton::trainer

// baton-train: trains a preset's network on MNIST and publishes it as a new version of a model.

#include <omp.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <iostream>
#include <optional>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/base/command_line.h"
#include "engine/base/interrupt.h"
#include "engine/base/status.h"
#include "trainer/job.h"
#include "trainer/progress_line.h"

namespace baton::trainer {
namespace {

constexpr char kProgram[] = "baton-train";

// Where there is no value, the preset's counts.
struct Flags {
  std::string preset;
  bool list_presets = false;
  std::string repository;
  std::optional<std::string> model;
  std::string data = "build/mnist";
  std::string export_path;
  std::optional<int> epochs;
  uint64_t seed = 1;
  std::optional<double> learning_rate;
  std::optional<double> weight_decay;
  std::optional<int64_t> batch_size;
  std::optional<std::string> optimizer;
  double min_accuracy = 0;
  int keep_last = 0;
  int threads = 1;
};

void Declare(CommandLine& app, Flags& flags) {
  app.Add("--preset", flags.preset, "network and options to train it with");
  app.AddSwitch("--list-presets", flags.list_presets, "list the presets and exit");
  app.Add("--repository", flags.repository, "model repository to publish into");
  app.Add("--model", flags.model, "name to publish under (default: the preset's)");
  app.Add("--data", flags.data, "directory of MNIST's idx files (deploy/fetch-mnist.sh)");
  app.Add("--epochs", flags.epochs, "times to go through the data (default: the preset's)");
  app.Add("--seed", flags.seed, "of weights and order: the same seed, the same model");
  app.Add("--learning-rate", flags.learning_rate,
          "at the start; it falls to 0 along a half cosine (default: the preset's)");
  app.Add("--weight-decay", flags.weight_decay,
          "share of each weight taken off a step, times the rate (default: the preset's)");
  app.Add("--batch-size", flags.batch_size, "images for each step (default: the preset's)");
  app.Add("--optimizer", flags.optimizer, "sgd or adam (default: the preset's)");
  app.Add("--min-accuracy", flags.min_accuracy,
          "publish nothing under this test accuracy, from 0 to 1");
  app.Add("--keep-last", flags.keep_last,
          "afterwards remove all but the newest N versions; 0 keeps all");
  app.Add("--threads", flags.threads,
          "more than 1 pays for large networks on idle cores only; part of the result");
  app.Add("--export", flags.export_path, "also write the ONNX model to this file");
}

// The job that the flags ask for. kInvalidArgument or kNotFound where they make no sense.
absl::StatusOr<JobOptions> MakeJob(const Flags& flags) {
  if (flags.preset.empty()) {
    return absl::InvalidArgumentError("--preset is missing (--list-presets shows them)");
  }
  if (flags.repository.empty() && flags.export_path.empty()) {
    return absl::InvalidArgumentError("--repository is missing: where to publish the model");
  }
  if (flags.threads < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", flags.threads, ", expected at least 1"));
  }
  JobOptions job;
  ASSIGN_OR_RETURN(job.preset, FindPreset(flags.preset));
  job.repository = flags.repository;
  job.model = flags.model.value_or(job.preset.model);
  job.data_directory = flags.data;
  job.export_path = flags.export_path;
  job.min_accuracy = flags.min_accuracy;
  job.keep_last = flags.keep_last;

  TrainingOptions& training = job.preset.training;
  training.seed = flags.seed;
  training.epochs = flags.epochs.value_or(training.epochs);
  training.learning_rate = flags.learning_rate.value_or(training.learning_rate);
  training.batch_size = flags.batch_size.value_or(training.batch_size);
  OptimizerOptions& optimizer = training.optimizer;
  optimizer.weight_decay = flags.weight_decay.value_or(optimizer.weight_decay);
  if (flags.optimizer.has_value()) {
    ASSIGN_OR_RETURN(optimizer.kind, ParseOptimizer(*flags.optimizer));
  }
  RETURN_IF_ERROR(job.Validate());
  return job;
}

void ListPresets() {
  for (const Preset& preset : Presets()) {
    std::cout << absl::StreamFormat(
        "%s: %s; model \"%s\", %d epochs of batches of %d, %s with rate %g and weight decay %g\n",
        preset.name, preset.description, preset.model, preset.training.epochs,
        preset.training.batch_size, OptimizerName(preset.training.optimizer.kind),
        preset.training.learning_rate, preset.training.optimizer.weight_decay);
  }
}

int Fail(int exit_code, const absl::Status& status, absl::string_view consequence) {
  std::cerr << kProgram << ": " << status.message() << consequence << '\n';
  return exit_code;
}

int Main(int argc, char** argv) {
  CommandLine app("Trains a network and publishes it as a new version of a model.", kProgram);
  Flags flags;
  Declare(app, flags);
  if (const std::optional<int> exit_code = app.Parse(argc, argv)) return *exit_code;
  if (flags.list_presets) {
    ListPresets();
    return 0;
  }
  const absl::StatusOr<JobOptions> job = MakeJob(flags);
  if (!job.ok()) return Fail(2, job.status(), " (--help lists all flags)");

  std::atomic<bool> interrupted = false;
  Interrupt interrupt;
  interrupt.Start([&interrupted] { interrupted = true; });
  omp_set_num_threads(flags.threads);
  absl::StatusOr<JobResult> result;
  {
    ProgressLine progress(std::cerr, isatty(STDERR_FILENO) == 1, RealClock::Get());
    result = RunJob(*job, progress, interrupted);
  }
  if (!result.ok()) return Fail(1, result.status(), "; nothing was published");
  std::cout << absl::StreamFormat("test accuracy %.2f %% on %d images, loss %.4f\n",
                                  100 * result->test.accuracy(), result->test.items,
                                  result->test.mean_loss());
  if (!job->export_path.empty()) std::cout << "exported " << job->export_path << '\n';
  if (result->version > 0) {
    std::cout << "published " << job->model << " version " << result->version << " in "
              << result->version_directory << '\n';
  }
  return 0;
}

}  // namespace
}  // namespace baton::trainer

int main(int argc, char** argv) { return baton::trainer::Main(argc, argv); }

// load_vs_ort: how long the engine and ONNX Runtime take from a file to its first answer, and the
// most memory that they need. Each load is a process of its own, in turns; figures are medians.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/clock.h"
#include "engine/base/command_line.h"
#include "engine/base/cpu.h"
#include "engine/base/peak_memory.h"
#include "engine/base/status.h"
#include "engine/base/version.h"
#include "engine/model.h"
#include "engine/session.h"
#include "engine/tensor_io.h"
#include "oneapi/dnnl/dnnl.h"
#include "tests/bench/measuring.h"
#include "tests/support/onnxruntime.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace baton::bench {
namespace {

constexpr const char* kBaton = "baton";
constexpr const char* kOnnxRuntime = "onnxruntime";

struct Options {
  std::vector<std::string> files;
  std::vector<int64_t> batches = {1, 8};
  std::vector<int> threads = {1, 2};
  int64_t length = 128;
  int rounds = 5;
  int runs = 3;
  // Of a process that measures; the one that starts the others has none.
  std::string side;
  std::vector<std::string> inputs;
};

struct Figures {
  double seconds = 0;  // from the file to the first answer
  double bytes = 0;    // at the peak, after `runs` more
};

// Loads by `load`, which returns what runs the network, and runs it.
using Run = std::function<absl::Status()>;
absl::StatusOr<Figures> MeasureLoad(int runs, const std::function<absl::StatusOr<Run>()>& load) {
  Figures figures;
  const SteadyTime start = RealClock::Get().Now();
  ASSIGN_OR_RETURN(const Run run, load());
  RETURN_IF_ERROR(run());
  figures.seconds = Seconds(RealClock::Get().Now() - start);
  for (int i = 0; i < runs; ++i) RETURN_IF_ERROR(run());
  figures.bytes = static_cast<double>(PeakMemoryBytes());
  return figures;
}

// The process that measures: prints seconds and bytes.
absl::Status MeasureHere(const Options& options) {
  std::vector<Tensor> inputs;
  std::vector<TensorView> views;
  std::vector<Shape> shapes;
  for (const std::string& file : options.inputs) {
    ASSIGN_OR_RETURN(inputs.emplace_back(), ReadNpyFile(file));
  }
  for (const Tensor& input : inputs) {
    views.push_back(input.view());
    shapes.push_back(input.shape());
  }
  const std::string& file = options.files.front();
  const int threads = options.threads.front();
  absl::StatusOr<Figures> figures;
  if (options.side == kBaton) {
    std::shared_ptr<const engine::Model> model;
    std::shared_ptr<const engine::Plan> plan;
    engine::Session session;
    figures = MeasureLoad(options.runs, [&]() -> absl::StatusOr<Run> {
      ASSIGN_OR_RETURN(model, engine::Model::Load(file, {}));
      ASSIGN_OR_RETURN(plan, model->GetPlan(shapes, threads));
      return [&] { return session.Run(*plan, views).status(); };
    });
  } else {
    ASSIGN_OR_RETURN(const std::unique_ptr<testing::OnnxRuntime> runtime,
                     testing::OnnxRuntime::Load());
    std::unique_ptr<testing::OrtSession> session;
    figures = MeasureLoad(options.runs, [&]() -> absl::StatusOr<Run> {
      ASSIGN_OR_RETURN(session, runtime->NewSessionOfFile(file, threads));
      return [&] { return session->Run(views).status(); };
    });
  }
  RETURN_IF_ERROR(figures.status());
  std::printf("%.9f %.0f\n", figures->seconds, figures->bytes);
  return absl::OkStatus();
}

absl::StatusOr<Figures> MeasureInProcess(const std::string& side, const std::string& file,
                                         const std::vector<std::string>& inputs, int threads,
                                         int runs) {
  std::vector<std::string> arguments = {
      "--side=" + side, "--files=" + file, absl::StrCat("--threads=", threads),
      absl::StrCat("--runs=", runs), "--input=" + absl::StrJoin(inputs, ",")};
  const testing::ProgramResult result = testing::RunProgram("load_vs_ort", arguments);
  const std::vector<std::string> words =
      absl::StrSplit(result.output, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  Figures figures;
  if (result.exit_code != 0 || words.size() != 2 || !absl::SimpleAtod(words[0], &figures.seconds) ||
      !absl::SimpleAtod(words[1], &figures.bytes)) {
    return absl::InternalError(absl::StrCat(side, ": exit code ", result.exit_code, ", \"",
                                            result.output, "\", ", result.errors));
  }
  return figures;
}

// Writes the inputs that the model takes; returns the files.
absl::StatusOr<std::vector<std::string>> WriteInputs(const std::string& file, int64_t batch,
                                                     int64_t length, const std::string& directory) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const engine::Model> model, engine::Model::Load(file, {}));
  const std::string net = std::filesystem::path(file).stem();
  std::vector<std::string> files;
  for (const engine::ValueInfo& info : model->signature().inputs) {
    ASSIGN_OR_RETURN(const Tensor input, MakeInput(info, batch, OpenSizes(net, length)));
    files.push_back(absl::StrCat(directory, "/", files.size(), ".npy"));
    RETURN_IF_ERROR(WriteNpyFile(files.back(), input.view()));
  }
  return files;
}

absl::Status MeasureRow(const std::string& file, int64_t batch, int threads,
                        const Options& options) {
  const testing::TempDir directory;
  ASSIGN_OR_RETURN(const std::vector<std::string> inputs,
                   WriteInputs(file, batch, options.length, directory.path()));
  std::vector<double> seconds[2], bytes[2], ratios;
  for (int round = 0; round < options.rounds; ++round) {
    for (const int i : {round % 2, (round + 1) % 2}) {
      ASSIGN_OR_RETURN(const Figures figures, MeasureInProcess(i == 0 ? kBaton : kOnnxRuntime, file,
                                                               inputs, threads, options.runs));
      seconds[i].push_back(figures.seconds);
      bytes[i].push_back(figures.bytes);
    }
    ratios.push_back(seconds[1].back() / seconds[0].back());
  }
  const double megabytes[] = {Median(bytes[0]) / 1e6, Median(bytes[1]) / 1e6};
  std::printf("| %s | %d | %d | %s | %s | **%.2f** | %.0f MB | %.0f MB | **%.2f** |\n",
              std::filesystem::path(file).stem().c_str(), static_cast<int>(batch), threads,
              Duration(Median(seconds[0])).c_str(), Duration(Median(seconds[1])).c_str(),
              Median(ratios), megabytes[0], megabytes[1], megabytes[0] / megabytes[1]);
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Main(const Options& options) {
  if (!options.side.empty()) return MeasureHere(options);
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::OnnxRuntime> runtime,
                   testing::OnnxRuntime::Load());
  const dnnl_version_t* dnnl = dnnl_version();
  std::printf(
      "%s, %d cores; Baton %s, oneDNN %d.%d.%d, ONNX Runtime %s. Each load in a process of its "
      "own; medians of %d. Memory is the process's peak after %d runs, libraries included.\n\n",
      CpuModel().c_str(), AvailableCores(), kBatonVersion, dnnl->major, dnnl->minor, dnnl->patch,
      runtime->version().c_str(), options.rounds, options.runs + 1);
  std::printf(
      "| network | batch | threads | Baton's first answer | ONNX Runtime's | speed × | Baton's "
      "memory | ONNX Runtime's | of it |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
  for (const std::string& file : options.files) {
    for (const int threads : options.threads) {
      for (const int64_t batch : options.batches) {
        RETURN_IF_ERROR(MeasureRow(file, batch, threads, options));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace baton::bench

int main(int argc, char** argv) {
  baton::bench::Options options;
  baton::CommandLine app(
      "Compares loading and memory with ONNX Runtime's; prints a Markdown table.", "load_vs_ort");
  app.Add("--files", options.files, "networks, as ONNX files").Delimiter(',').Required();
  app.Add("--batch", options.batches, "batch sizes").Delimiter(',').Positive();
  app.Add("--threads", options.threads, "thread counts, of both sides").Delimiter(',').Positive();
  app.Add("--length", options.length, "words of a text").Positive();
  app.Add("--rounds", options.rounds, "rounds").Positive();
  app.Add("--runs", options.runs, "runs after the first answer").NonNegative();
  app.Add("--side", options.side, "measure one side here, and print its seconds and bytes")
      .OneOf({baton::bench::kBaton, baton::bench::kOnnxRuntime});
  app.Add("--input", options.inputs, "inputs for --side, as .npy files").Delimiter(',');
  if (const auto exit_code = app.Parse(argc, argv)) return *exit_code;
  const absl::Status status = baton::bench::Main(options);
  if (!status.ok()) {
    std::fprintf(stderr, "load_vs_ort: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

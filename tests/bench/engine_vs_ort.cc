// engine_vs_ort: the engine against ONNX Runtime on the same networks, inputs and thread counts,
// interleaved in one process: in every round both run for the same time, one after the other, and
// the figure is the median over the rounds of the ratio of their times. What disturbs the machine
// disturbs both.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/clock.h"
#include "engine/base/command_line.h"
#include "engine/base/cpu.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/base/version.h"
#include "engine/model.h"
#include "engine/session.h"
#include "oneapi/dnnl/dnnl.h"
#include "tests/support/nets.h"
#include "tests/support/onnxruntime.h"

namespace baton::bench {
namespace {

struct Net {
  std::string name;
  std::function<absl::StatusOr<std::string>()> onnx;
  int64_t length = 0;  // of texts; 0: there are none
};

const std::vector<Net>& OwnNets() {
  static const auto& nets = *new std::vector<Net>{
      {"mlp", [] { return testing::MlpModel(); }},
      {"resnet50", [] { return testing::ResNet50Model(); }},
      {"mobilenetv2", [] { return testing::MobileNetV2Model(); }},
      {"squeezenet", [] { return testing::SqueezeNetModel(); }},
  };
  return nets;
}

struct Options {
  std::vector<std::string> nets = {"mlp", "resnet50", "mobilenetv2", "squeezenet"};
  std::vector<std::string> files;
  std::vector<int64_t> lengths = {128};
  std::vector<int64_t> batches = {1, 8, 32};
  std::vector<int> threads = {1, 2};
  int rounds = 9;
  double round_seconds = 0.3;
  bool json = false;
};

struct Row {
  std::string net;
  int64_t batch = 0;
  int threads = 0;
  double baton_seconds = 0;  // for one run; medians over the rounds
  double ort_seconds = 0;
  double ratio = 0;  // ONNX Runtime's time / Baton's: median, lowest and highest of the rounds
  double lowest = 0;
  double highest = 0;
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Returns when the threads that the side before has left behind spin no more.
void WaitUntilIdle() {
  for (std::clock_t before = std::clock();;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const std::clock_t now = std::clock();  // the process's CPU time
    if (now - before < CLOCKS_PER_SEC / 1000) return;
    before = now;
  }
}

// Seconds of one run, over as many runs as fit into `budget` seconds (at least one).
template <typename Run>
absl::StatusOr<double> Time(double budget, const Run& run) {
  WaitUntilIdle();
  RETURN_IF_ERROR(run());
  const SteadyTime start = RealClock::Get().Now();
  int64_t runs = 0;
  double elapsed = 0;
  for (int64_t next_look = 1; elapsed < budget;) {
    for (; runs < next_look; ++runs) RETURN_IF_ERROR(run());
    elapsed = Seconds(RealClock::Get().Now() - start);
    // Reading the clock costs as much as a small network's layer: look seldom.
    const double rate = static_cast<double>(runs) / elapsed;
    next_look = runs + std::max<int64_t>(1, static_cast<int64_t>((budget - elapsed) * rate * 0.5));
  }
  return elapsed / static_cast<double>(runs);
}

// kInternal if the two do not agree: the time of a wrong result is worth nothing.
absl::Status CheckEqual(const TensorView& actual, const Tensor& expected) {
  float scale = 0;
  for (const float value : expected.values<float>()) scale = std::max(scale, std::abs(value));
  ASSIGN_OR_RETURN(const TensorDifference difference,
                   Compare(actual, expected.view(), /*rtol=*/0, /*atol=*/1e-4 * scale));
  if (difference.within) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("results differ by ", difference.max_abs,
                                          ", ONNX Runtime's largest is ", scale));
}

// An input of the model: pixels at random, words 0 and 1, all of which count. Its first dimension
// is the batch, another that is open is the texts' length.
absl::StatusOr<Tensor> MakeInput(const engine::ValueInfo& info, int64_t batch, int64_t length) {
  Shape shape;
  for (const engine::Dim& dim : info.dims) {
    shape.push_back(dim.value >= 0 ? dim.value : shape.empty() ? batch : length);
  }
  if (info.type == DataType::kFloat) return testing::RandomTensor(shape, 0, 1, 1);
  if (info.type != DataType::kInt64) {
    return absl::UnimplementedError(
        absl::StrCat("input \"", info.name, "\" is ", ToString(info), "; expected float or int64"));
  }
  Tensor words(DataType::kInt64, shape);
  const bool mask = absl::StrContains(info.name, "mask");
  int64_t i = 0;
  for (int64_t& word : words.mutable_values<int64_t>()) word = mask ? 1 : i++ % 2;
  return words;
}

absl::StatusOr<Row> Measure(const Net& net, const engine::Model& model,
                            testing::OrtSession& ort_session, int64_t batch, int threads,
                            const Options& options) {
  std::vector<Tensor> inputs;
  std::vector<Shape> shapes;
  std::vector<TensorView> views;
  for (const engine::ValueInfo& info : model.signature().inputs) {
    ASSIGN_OR_RETURN(Tensor input, MakeInput(info, batch, net.length));
    inputs.push_back(std::move(input));
    shapes.push_back(inputs.back().shape());
    views.push_back(inputs.back().view());
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const engine::Plan> plan, model.GetPlan(shapes, threads));
  engine::Session session;
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::OrtRun> ort, ort_session.Prepare(views));
  const auto run_baton = [&] { return session.Run(*plan, views).status(); };
  const auto run_ort = [&] { return ort->Run(); };

  ASSIGN_OR_RETURN(const std::vector<Tensor> expected, ort->Outputs());
  ASSIGN_OR_RETURN(const absl::Span<const TensorView> actual, session.Run(*plan, views));
  RETURN_IF_ERROR(CheckEqual(actual[0], expected[0]));

  std::vector<double> baton_times, ort_times, ratios;
  for (int round = 0; round < options.rounds; ++round) {
    const bool baton_first = round % 2 == 0;
    double baton_time = 0;
    if (baton_first) {
      ASSIGN_OR_RETURN(baton_time, Time(options.round_seconds, run_baton));
    }
    ASSIGN_OR_RETURN(const double ort_time, Time(options.round_seconds, run_ort));
    if (!baton_first) {
      ASSIGN_OR_RETURN(baton_time, Time(options.round_seconds, run_baton));
    }
    baton_times.push_back(baton_time);
    ort_times.push_back(ort_time);
    ratios.push_back(ort_time / baton_time);
  }
  return Row{.net = net.name,
             .batch = batch,
             .threads = threads,
             .baton_seconds = Median(baton_times),
             .ort_seconds = Median(ort_times),
             .ratio = Median(ratios),
             .lowest = *std::min_element(ratios.begin(), ratios.end()),
             .highest = *std::max_element(ratios.begin(), ratios.end())};
}

std::string Duration(double seconds) {
  return seconds < 1e-3 ? absl::StrFormat("%.2f µs", seconds * 1e6)
                        : absl::StrFormat("%.2f ms", seconds * 1e3);
}

void Print(const Row& row, bool json) {
  if (json) {
    std::printf("%s\n", nlohmann::json{{"net", row.net},
                                       {"batch", row.batch},
                                       {"threads", row.threads},
                                       {"baton_ms", row.baton_seconds * 1e3},
                                       {"onnxruntime_ms", row.ort_seconds * 1e3},
                                       {"ratio", row.ratio},
                                       {"ratio_lowest", row.lowest},
                                       {"ratio_highest", row.highest}}
                            .dump()
                            .c_str());
  } else {
    std::printf("| %s | %d | %d | %s | %.1f | %s | **%.2f** | %.2f–%.2f |\n", row.net.c_str(),
                static_cast<int>(row.batch), row.threads, Duration(row.baton_seconds).c_str(),
                static_cast<double>(row.batch) / row.baton_seconds,
                Duration(row.ort_seconds).c_str(), row.ratio, row.lowest, row.highest);
  }
  std::fflush(stdout);
}

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (absl::StartsWith(line, "model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

void PrintHeader(const std::string& ort_version, const Options& options) {
  const dnnl_version_t* dnnl = dnnl_version();
  std::printf(
      "%s, %d cores; Baton %s, oneDNN %d.%d.%d, ONNX Runtime %s, g++ %s. Random input, float32, "
      "one session, no requests. %d rounds of %.1f s for each side.\n\n",
      CpuModel().c_str(), AvailableCores(), kBatonVersion, dnnl->major, dnnl->minor, dnnl->patch,
      ort_version.c_str(), __VERSION__, options.rounds, options.round_seconds);
  std::printf(
      "| network | batch | threads | Baton | items/s | ONNX Runtime | speed × | rounds |\n"
      "|---|--:|--:|--:|--:|--:|--:|--:|\n");
}

// A text network of a file comes once for each length.
std::vector<Net> WantedNets(const Options& options) {
  std::vector<Net> nets;
  for (const Net& net : OwnNets()) {
    const auto& names = options.nets;
    if (std::find(names.begin(), names.end(), net.name) != names.end()) nets.push_back(net);
  }
  for (const std::string& file : options.files) {
    const std::string name = std::filesystem::path(file).stem();
    const auto read = [file] { return ReadFile(file); };
    const bool text = absl::StartsWith(name, "bert") || absl::StartsWith(name, "minilm");
    if (!text) nets.push_back({name, read});
    for (const int64_t length : options.lengths) {
      if (text) nets.push_back({absl::StrCat(name, ", ", length, " words"), read, length});
    }
  }
  return nets;
}

absl::Status Main(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::OnnxRuntime> runtime,
                   testing::OnnxRuntime::Load());
  if (!options.json) PrintHeader(runtime->version(), options);
  for (const Net& net : WantedNets(options)) {
    ASSIGN_OR_RETURN(const std::string onnx, net.onnx());
    ASSIGN_OR_RETURN(const std::shared_ptr<const engine::Model> model,
                     engine::Model::Parse(onnx, "", {}));
    for (const int threads : options.threads) {
      ASSIGN_OR_RETURN(const std::unique_ptr<testing::OrtSession> session,
                       runtime->NewSession(onnx, threads));
      for (const int64_t batch : options.batches) {
        absl::StatusOr<Row> row = Measure(net, *model, *session, batch, threads, options);
        if (!row.ok()) {
          return Annotate(row.status(),
                          absl::StrCat(net.name, ", batch ", batch, ", ", threads, " threads"));
        }
        Print(*row, options.json);
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
      "Compares the engine's speed with ONNX Runtime's; prints a Markdown table.", "engine_vs_ort");
  std::vector<std::string> names;
  for (const auto& net : baton::bench::OwnNets()) names.push_back(net.name);
  const baton::Flag nets =
      app.Add("--nets", options.nets, "networks with random weights; none where --files is given")
          .Delimiter(',')
          .OneOf(names);
  app.Add("--files", options.files, "networks of tests/nets/nets.sh, as ONNX files").Delimiter(',');
  app.Add("--length", options.lengths, "words of a text").Delimiter(',').Positive();
  app.Add("--batch", options.batches, "batch sizes").Delimiter(',').Positive();
  app.Add("--threads", options.threads, "thread counts, of both sides").Delimiter(',').Positive();
  app.Add("--rounds", options.rounds, "rounds").Positive();
  app.Add("--seconds", options.round_seconds, "seconds for each side in a round").Positive();
  app.AddSwitch("--json", options.json, "one JSON object a line instead of the table");
  if (const auto exit_code = app.Parse(argc, argv)) return *exit_code;
  if (!options.files.empty() && nets.count() == 0) options.nets.clear();
  const absl::Status status = baton::bench::Main(options);
  if (!status.ok()) {
    std::fprintf(stderr, "engine_vs_ort: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

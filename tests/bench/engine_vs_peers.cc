// engine_vs_peers: the engine against ONNX Runtime and OpenVINO on the same networks, inputs and
// thread counts, interleaved in one process: in every round each runs for the same time, one after
// the other, and a figure is the median over the rounds of the ratio of their times. What disturbs
// the machine disturbs all.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
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
#include "tests/bench/measuring.h"
#include "tests/support/nets.h"
#include "tests/support/onnxruntime.h"
#include "tests/support/openvino.h"
#include "tests/support/temp_dir.h"

namespace baton::bench {
namespace {

struct Net {
  std::string name;
  std::function<absl::StatusOr<std::string>()> onnx;
  std::vector<int64_t> sizes = {};  // that it leaves open beside the batch
  std::string float_file = {};      // what a quantized network was made of, where it lies beside it
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
  engine::Precision precision = engine::Precision::kF32;
  bool openvino = true;
  std::vector<int64_t> batches = {1, 8, 32};
  std::vector<int> threads = {1, 2};
  int rounds = 9;
  double round_seconds = 0.3;
  bool json = false;
};

// What runs the network: Baton, or a peer.
struct Side {
  std::string name;
  std::function<absl::Status()> run;
};

// Baton's time beside a peer's.
struct Comparison {
  std::string peer;
  double seconds = 0;  // of the peer, for one run; median over the rounds
  // The peer's time / Baton's: median, lowest and highest of the rounds.
  double ratio = 0, lowest = 0, highest = 0;
};

struct Row {
  std::string net;
  int64_t batch = 0;
  int threads = 0;
  double seconds = 0;  // of Baton, for one run; median over the rounds
  std::vector<Comparison> comparisons;
};

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

// How far results may be from ONNX Runtime's.
struct Bound {
  double of_scale = 1e-4;  // of the largest; 0: not asked for
  double of_rms = 0;       // root of the mean square, of that of the expected; 0: not asked for
};

// kInternal if the two do not agree: the time of a wrong result is worth nothing.
absl::Status CheckNear(const std::string& side, const TensorView& actual, const Tensor& expected,
                       const Bound& bound) {
  if (actual.shape != expected.shape()) {
    return absl::InternalError(absl::StrCat(side, " makes ", ShapeToString(actual.shape),
                                            ", ONNX Runtime ", ShapeToString(expected.shape())));
  }
  double scale = 0.01;  // at least: the probability of text in noise is next to 0
  double most = 0, squares = 0, errors = 0;
  const auto want = expected.values<float>(), got = actual.values<float>();
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    scale = std::max<double>(scale, std::abs(want[i]));
    most = std::max(most, error);
    squares += static_cast<double>(want[i]) * want[i];
    errors += error * error;
  }
  const bool near = (bound.of_scale == 0 || most <= bound.of_scale * scale) &&
                    (bound.of_rms == 0 || errors <= bound.of_rms * bound.of_rms * squares);
  if (near) return absl::OkStatus();  // not of NaN
  return absl::InternalError(absl::StrCat(side, "'s results differ by ", most, " of ", scale, ", ",
                                          std::sqrt(errors / squares), " in the mean square"));
}

// Everything that one network runs on.
struct Contenders {
  std::shared_ptr<const engine::Model> model;
  std::unique_ptr<testing::OrtSession> ort, float_ort;  // the latter may be null
  std::unique_ptr<testing::OpenVinoModel> openvino;     // may be null
  Bound bound;
};

// The rounds: sides take turns, another one begins each round. Times by side, then round.
absl::StatusOr<std::vector<std::vector<double>>> RunRounds(const std::vector<Side>& sides,
                                                           const Options& options) {
  std::vector<std::vector<double>> times(sides.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < sides.size(); ++i) {
      const size_t at = (i + static_cast<size_t>(round)) % sides.size();
      ASSIGN_OR_RETURN(const double time, Time(options.round_seconds, sides[at].run));
      times[at].push_back(time);
    }
  }
  return times;
}

absl::StatusOr<Row> Measure(const Net& net, const Contenders& contenders, int64_t batch,
                            int threads, const Options& options) {
  std::vector<Tensor> inputs;
  std::vector<Shape> shapes;
  std::vector<TensorView> views;
  for (const engine::ValueInfo& info : contenders.model->signature().inputs) {
    ASSIGN_OR_RETURN(Tensor input, MakeInput(info, batch, net.sizes));
    inputs.push_back(std::move(input));
    shapes.push_back(inputs.back().shape());
    views.push_back(inputs.back().view());
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const engine::Plan> plan,
                   contenders.model->GetPlan(shapes, threads));
  engine::Session session;
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::OrtRun> ort, contenders.ort->Prepare(views));
  std::unique_ptr<testing::OrtRun> float_ort;
  std::vector<Side> sides = {{"Baton", [&] { return session.Run(*plan, views).status(); }},
                             {"ONNX Runtime", [&] { return ort->Run(); }}};
  if (contenders.float_ort != nullptr) {
    ASSIGN_OR_RETURN(float_ort, contenders.float_ort->Prepare(views));
    sides.push_back({"ONNX Runtime f32", [&] { return float_ort->Run(); }});
  }
  ASSIGN_OR_RETURN(const std::vector<Tensor> expected, ort->Outputs());
  ASSIGN_OR_RETURN(const absl::Span<const TensorView> actual, session.Run(*plan, views));
  RETURN_IF_ERROR(CheckNear("Baton", actual[0], expected[0], contenders.bound));
  if (contenders.openvino != nullptr) {
    RETURN_IF_ERROR(contenders.openvino->SetInputs(views));
    RETURN_IF_ERROR(contenders.openvino->Run());
    ASSIGN_OR_RETURN(const Tensor output, contenders.openvino->Output());
    Bound bound = contenders.bound;
    bound.of_scale *= 10;  // its f32 is less exact
    RETURN_IF_ERROR(CheckNear("OpenVINO", output.view(), expected[0], bound));
    sides.push_back({"OpenVINO", [&] { return contenders.openvino->Run(); }});
  }

  ASSIGN_OR_RETURN(const std::vector<std::vector<double>> times, RunRounds(sides, options));
  Row row{.net = net.name,
          .batch = batch,
          .threads = threads,
          .seconds = Median(times[0]),
          .comparisons = {}};
  for (size_t side = 1; side < sides.size(); ++side) {
    std::vector<double> ratios;
    for (size_t i = 0; i < times[side].size(); ++i) ratios.push_back(times[side][i] / times[0][i]);
    row.comparisons.push_back({.peer = sides[side].name,
                               .seconds = Median(times[side]),
                               .ratio = Median(ratios),
                               .lowest = *std::min_element(ratios.begin(), ratios.end()),
                               .highest = *std::max_element(ratios.begin(), ratios.end())});
  }
  return row;
}

void PrintJson(const Row& row) {
  nlohmann::json line = {{"net", row.net},
                         {"batch", row.batch},
                         {"threads", row.threads},
                         {"baton_ms", row.seconds * 1e3},
                         {"peers", nlohmann::json::array()}};
  for (const Comparison& c : row.comparisons) {
    line["peers"].push_back({{"peer", c.peer},
                             {"ms", c.seconds * 1e3},
                             {"ratio", c.ratio},
                             {"ratio_lowest", c.lowest},
                             {"ratio_highest", c.highest}});
  }
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

// `peers`: the columns; a peer that a row has not is left empty.
void PrintRow(const Row& row, const std::vector<std::string>& peers) {
  std::printf("| %s | %d | %d | %s | %.1f |", row.net.c_str(), static_cast<int>(row.batch),
              row.threads, Duration(row.seconds).c_str(),
              static_cast<double>(row.batch) / row.seconds);
  for (const std::string& peer : peers) {
    const auto found = std::find_if(row.comparisons.begin(), row.comparisons.end(),
                                    [&peer](const Comparison& c) { return c.peer == peer; });
    if (found == row.comparisons.end()) {
      std::printf(" | |");
    } else {
      std::printf(" %s | **%.2f** (%.2f–%.2f) |", Duration(found->seconds).c_str(), found->ratio,
                  found->lowest, found->highest);
    }
  }
  std::printf("\n");
  std::fflush(stdout);
}

// Over all rows: how the ratios multiply up, and the lowest.
void PrintSummary(const std::vector<Row>& rows, const std::vector<std::string>& peers) {
  std::printf("\n");
  for (const std::string& peer : peers) {
    double logarithms = 0, lowest = std::numeric_limits<double>::infinity();
    int count = 0;
    std::string where;
    for (const Row& row : rows) {
      for (const Comparison& c : row.comparisons) {
        if (c.peer != peer) continue;
        logarithms += std::log(c.ratio);
        ++count;
        if (c.ratio >= lowest) continue;
        lowest = c.ratio;
        where = absl::StrCat(row.net, ", batch ", row.batch, ", threads ", row.threads);
      }
    }
    if (count == 0) continue;
    std::printf("Against %s: geometric mean **%.2f** of %d rows, lowest %.2f (%s).\n", peer.c_str(),
                std::exp(logarithms / count), count, lowest, where.c_str());
  }
}

void PrintHeader(const std::string& versions, const std::vector<std::string>& peers,
                 const Options& options) {
  const dnnl_version_t* dnnl = dnnl_version();
  std::printf(
      "%s, %d cores; Baton %s, oneDNN %d.%d.%d, %s, g++ %s. Random input, one session, no "
      "requests; "
      "Baton's products in %s. %d rounds of %.1f s for each side.\n\n",
      CpuModel().c_str(), AvailableCores(), kBatonVersion, dnnl->major, dnnl->minor, dnnl->patch,
      versions.c_str(), __VERSION__, engine::PrecisionName(options.precision), options.rounds,
      options.round_seconds);
  std::printf("| network | batch | threads | Baton | items/s |");
  for (const std::string& peer : peers) std::printf(" %s | speed × (rounds) |", peer.c_str());
  std::printf("\n|---|--:|--:|--:|--:|");
  for (size_t i = 0; i < peers.size(); ++i) std::printf("--:|--:|");
  std::printf("\n");
}

// A text network of a file comes once for each length.
std::vector<Net> WantedNets(const Options& options) {
  std::vector<Net> nets;
  for (const Net& net : OwnNets()) {
    const auto& names = options.nets;
    if (std::find(names.begin(), names.end(), net.name) != names.end()) nets.push_back(net);
  }
  for (const std::string& file : options.files) {
    const std::filesystem::path path(file);
    Net net{path.stem(), [file] { return ReadFile(file); }};
    for (const char* suffix : {"_qdq", "_qop", "_dynamic"}) {
      if (!absl::EndsWith(net.name, suffix)) continue;
      const std::string base = net.name.substr(0, net.name.size() - std::strlen(suffix));
      net.float_file = path.parent_path() / (base + ".onnx");
    }
    if (!IsOfTexts(net.name)) {
      net.sizes = OpenSizes(net.name, 0);
      if (!net.sizes.empty()) {
        absl::StrAppend(&net.name, ", ", absl::StrJoin(net.sizes, "×"));
      }
      nets.push_back(net);
      continue;
    }
    for (const int64_t length : options.lengths) {
      nets.push_back(net);
      nets.back().name += absl::StrCat(", ", length, " words");
      nets.back().sizes = OpenSizes(net.name, length);
    }
  }
  return nets;
}

// Sessions and models of one network for a number of threads.
absl::StatusOr<Contenders> MakeContenders(const Net& net, const std::string& onnx,
                                          const std::string& file, int threads,
                                          const testing::OnnxRuntime& runtime,
                                          const testing::OpenVino* openvino,
                                          const Options& options) {
  Contenders contenders;
  ASSIGN_OR_RETURN(contenders.model,
                   engine::Model::Parse(onnx, "", {.precision = options.precision}));
  ASSIGN_OR_RETURN(contenders.ort, runtime.NewSession(onnx, threads));
  const absl::StatusOr<std::string> float_onnx = ReadFile(net.float_file);
  if (!net.float_file.empty() && float_onnx.ok()) {
    ASSIGN_OR_RETURN(contenders.float_ort, runtime.NewSession(*float_onnx, threads));
  }
  const bool half = options.precision == engine::Precision::kBf16;
  if (half || !net.float_file.empty()) contenders.bound = {.of_scale = 0, .of_rms = 0.2};
  if (openvino != nullptr) {
    ASSIGN_OR_RETURN(contenders.openvino, openvino->Compile(file, threads, half ? "bf16" : "f32"));
  }
  return contenders;
}

absl::Status Main(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::OnnxRuntime> runtime,
                   testing::OnnxRuntime::Load());
  std::string versions = absl::StrCat("ONNX Runtime ", runtime->version());
  std::vector<std::string> peers = {"ONNX Runtime"};
  const std::vector<Net> nets = WantedNets(options);
  if (std::any_of(nets.begin(), nets.end(), [](const Net& n) { return !n.float_file.empty(); })) {
    peers.push_back("ONNX Runtime f32");
  }
  std::unique_ptr<testing::OpenVino> openvino;
  if (options.openvino) {
    ASSIGN_OR_RETURN(openvino, testing::OpenVino::Load());
    absl::StrAppend(&versions, ", OpenVINO ", openvino->version());
    peers.push_back("OpenVINO");
  }
  if (!options.json) PrintHeader(versions, peers, options);
  const testing::TempDir directory;
  std::vector<Row> rows;
  for (const Net& net : nets) {
    ASSIGN_OR_RETURN(const std::string onnx, net.onnx());
    const std::string file = directory / "net.onnx";  // OpenVINO reads files
    RETURN_IF_ERROR(WriteFileDurably(file, onnx));
    for (const int threads : options.threads) {
      for (const int64_t batch : options.batches) {
        const std::string where =
            absl::StrCat(net.name, ", batch ", batch, ", ", threads, " threads");
        absl::StatusOr<Contenders> contenders =
            MakeContenders(net, onnx, file, threads, *runtime, openvino.get(), options);
        if (!contenders.ok()) return Annotate(contenders.status(), where);
        absl::StatusOr<Row> row = Measure(net, *contenders, batch, threads, options);
        if (!row.ok()) return Annotate(row.status(), where);
        if (options.json) {
          PrintJson(*row);
        } else {
          PrintRow(*row, peers);
        }
        rows.push_back(*std::move(row));
      }
    }
  }
  if (!options.json) PrintSummary(rows, peers);
  return absl::OkStatus();
}

}  // namespace
}  // namespace baton::bench

int main(int argc, char** argv) {
  baton::bench::Options options;
  baton::CommandLine app(
      "Compares the engine's speed with ONNX Runtime's and OpenVINO's; prints a Markdown table.",
      "engine_vs_peers");
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
  std::string precision = "f32";
  app.Add("--precision", precision, "of Baton's products and OpenVINO's").OneOf({"f32", "bf16"});
  bool no_openvino = false;
  app.AddSwitch("--no-openvino", no_openvino, "compare with ONNX Runtime alone");
  app.AddSwitch("--json", options.json, "one JSON object a line instead of the table");
  if (const auto exit_code = app.Parse(argc, argv)) return *exit_code;
  options.precision = *baton::engine::PrecisionNamed(precision);
  options.openvino = !no_openvino;
  if (!options.files.empty() && nets.count() == 0) options.nets.clear();
  const absl::Status status = baton::bench::Main(options);
  if (!status.ok()) {
    std::fprintf(stderr, "engine_vs_peers: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

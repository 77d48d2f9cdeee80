// baton-model bench: how fast a model runs on this machine, without a server.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <latch>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/latency_histogram.h"
#include "client/model_commands.h"
#include "client/model_inputs.h"
#include "client/model_profile.h"
#include "engine/base/clock.h"
#include "engine/base/cpu.h"
#include "engine/base/peak_memory.h"
#include "engine/base/status.h"
#include "engine/session.h"

namespace baton::model_tool {
namespace {

constexpr uint32_t kSeed = 1;
constexpr int kWarmUpRuns = 3;
constexpr double kWarmUpShare = 0.1;  // of the time to measure

struct Options {
  std::string model;
  std::vector<int64_t> batches;
  std::map<std::string, int64_t> dims;
  std::optional<int> threads;  // not given: the cores there are, divided among the workers
  int workers = 1;
  engine::Precision precision = engine::Precision::kF32;
  double seconds = 3;
  bool profile = false;
  bool json = false;

  int ThreadsOfEach() const { return threads.value_or(std::max(1, AvailableCores() / workers)); }
};

struct Result {
  int64_t batch = 0;
  double load_ms = 0;
  double wall_seconds = 0;
  double peak_rss_mb = 0;
  LatencyHistogram latency;
};

double SecondsSince(SteadyTime start) { return Seconds(RealClock::Get().Now() - start); }

// One thread with a session of its own. All workers start to measure together.
class Worker {
 public:
  Worker(const engine::Plan& plan, const std::vector<TensorView>& inputs, double seconds)
      : plan_(plan), inputs_(inputs), seconds_(seconds) {}

  void Run(std::latch& start) {
    status_ = WarmUp();
    start.arrive_and_wait();
    const SteadyTime begin = RealClock::Get().Now();
    SteadyTime now = begin;
    while (status_.ok() && Seconds(now - begin) < seconds_) {
      status_ = session_.Run(plan_, inputs_).status();
      const SteadyTime end = RealClock::Get().Now();
      latency_.Record(std::chrono::nanoseconds(end - now).count());
      now = end;
    }
    wall_seconds_ = Seconds(now - begin);
  }

  const absl::Status& status() const { return status_; }
  const LatencyHistogram& latency() const { return latency_; }
  double wall_seconds() const { return wall_seconds_; }

 private:
  absl::Status WarmUp() {
    const SteadyTime begin = RealClock::Get().Now();
    for (int i = 0; i < kWarmUpRuns || SecondsSince(begin) < kWarmUpShare * seconds_; ++i) {
      RETURN_IF_ERROR(session_.Run(plan_, inputs_).status());
    }
    return absl::OkStatus();
  }

  const engine::Plan& plan_;
  const std::vector<TensorView>& inputs_;
  const double seconds_;
  engine::Session session_;
  absl::Status status_;
  LatencyHistogram latency_;
  double wall_seconds_ = 0;
};

absl::Status Measure(const engine::Plan& plan, const std::vector<TensorView>& inputs,
                     const Options& options, Result& result) {
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;
  std::latch start(options.workers);
  for (int i = 0; i < options.workers; ++i) {
    workers.push_back(std::make_unique<Worker>(plan, inputs, options.seconds));
  }
  for (const auto& worker : workers) {
    threads.emplace_back([&worker = *worker, &start] { worker.Run(start); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& worker : workers) {
    RETURN_IF_ERROR(worker->status());
    result.latency.Merge(worker->latency());
    result.wall_seconds = std::max(result.wall_seconds, worker->wall_seconds());
  }
  return absl::OkStatus();
}

// Batch sizes to measure: those asked for, if the model can have them.
absl::StatusOr<std::vector<int64_t>> Batches(const engine::Signature& signature,
                                             const Options& options) {
  const BatchRule rule = BatchRuleOf(signature, options.dims);
  if (rule.free) return options.batches.empty() ? std::vector<int64_t>{1} : options.batches;
  for (const int64_t batch : options.batches) {
    if (batch != rule.fixed) {
      return absl::InvalidArgumentError(
          absl::StrCat("batch ", batch, " is not possible: the model has the fixed batch size ",
                       rule.fixed, "; export it with a free first dimension"));
    }
  }
  return std::vector<int64_t>{rule.fixed};
}

double ItemsPerSecond(const Result& result) {
  return static_cast<double>(result.latency.count() * result.batch) / result.wall_seconds;
}

double Milliseconds(int64_t ns) { return static_cast<double>(ns) * 1e-6; }

void PrintJson(const Options& options, const Result& result) {
  const LatencyHistogram& latency = result.latency;
  const nlohmann::ordered_json line = {{"batch", result.batch},
                                       {"threads", options.ThreadsOfEach()},
                                       {"workers", options.workers},
                                       {"precision", engine::PrecisionName(options.precision)},
                                       {"items_per_s", ItemsPerSecond(result)},
                                       {"latency_ms",
                                        {{"min", Milliseconds(latency.MinNs())},
                                         {"p50", Milliseconds(latency.PercentileNs(50))},
                                         {"p90", Milliseconds(latency.PercentileNs(90))},
                                         {"p99", Milliseconds(latency.PercentileNs(99))}}},
                                       {"peak_rss_mb", result.peak_rss_mb},
                                       {"load_ms", result.load_ms}};
  std::cout << line.dump() << std::endl;
}

void PrintHeader(const Options& options) {
  std::cout << absl::StreamFormat("%d worker%s of %d thread%s, %s, random input\n", options.workers,
                                  options.workers == 1 ? "" : "s", options.ThreadsOfEach(),
                                  options.ThreadsOfEach() == 1 ? "" : "s",
                                  engine::PrecisionName(options.precision))
            << absl::StreamFormat("%6s %12s %10s %10s %10s %10s %9s %9s\n", "batch", "items/s",
                                  "min ms", "p50 ms", "p90 ms", "p99 ms", "peak MB", "load ms");
}

void PrintRow(const Result& result) {
  const LatencyHistogram& latency = result.latency;
  std::cout << absl::StreamFormat(
                   "%6d %12.1f %10.4g %10.4g %10.4g %10.4g %9.1f %9.1f\n", result.batch,
                   ItemsPerSecond(result), Milliseconds(latency.MinNs()),
                   Milliseconds(latency.PercentileNs(50)), Milliseconds(latency.PercentileNs(90)),
                   Milliseconds(latency.PercentileNs(99)), result.peak_rss_mb, result.load_ms)
            << std::flush;
}

absl::StatusOr<int> Bench(const Options& options) {
  const SteadyTime start = RealClock::Get().Now();
  ASSIGN_OR_RETURN(const auto model, LoadModel(options.model, options.precision));
  const double parse_ms = 1e3 * SecondsSince(start);
  const engine::Signature& signature = model->signature();
  ASSIGN_OR_RETURN(const std::vector<int64_t> batches, Batches(signature, options));
  for (const int64_t batch : batches) {
    ASSIGN_OR_RETURN(const auto shapes, ResolveShapes(signature, batch, options.dims));
    Result result;
    result.batch = batch;
    ResetPeakMemory();
    const SteadyTime compile_start = RealClock::Get().Now();
    ASSIGN_OR_RETURN(const auto plan, model->GetPlan(shapes, options.ThreadsOfEach()));
    result.load_ms = parse_ms + 1e3 * SecondsSince(compile_start);
    const std::vector<Tensor> inputs = RandomInputs(signature, shapes, kSeed);
    const std::vector<TensorView> views = ViewsOf(inputs);
    RETURN_IF_ERROR(Measure(*plan, views, options, result));
    result.peak_rss_mb = static_cast<double>(PeakMemoryBytes()) / (1 << 20);
    if (options.json) {
      PrintJson(options, result);
    } else {
      if (batch == batches.front() || options.profile) PrintHeader(options);
      PrintRow(result);
    }
    if (options.profile) {
      // With --json, standard output belongs to the objects.
      RETURN_IF_ERROR(
          PrintProfile(*plan, views, options.seconds, options.json ? std::cerr : std::cout));
    }
  }
  return 0;
}

}  // namespace

void AddBenchCommand(CommandLine& app, Run& run) {
  auto options = std::make_shared<Options>();
  CommandLine& command =
      app.AddCommand("bench", "Measure latency, items/s and peak memory on random input");
  AddModelArgument(command, options->model);
  command.Add("--batch", options->batches, "batch sizes, separated by commas (default 1)")
      .Delimiter(',')
      .Range(int64_t{1}, int64_t{1} << 20)
      .OneWordEach()
      .TypeName("N,N…")
      .DefaultText("");
  AddDimFlag(command, options->dims);
  command
      .Add("--threads", options->threads,
           "threads of one execution (default: the cores, divided among the workers)")
      .Range(1, kMaxThreads)
      .TypeName("N");
  AddThreadsFlag(command, "--workers", "executions at the same time", options->workers);
  AddPrecisionFlag(command, options->precision);
  command.Add("--seconds", options->seconds, "how long to measure each batch size")
      .Range(0.001, 86400.0)
      .TypeName("S");
  command.AddSwitch("--profile", options->profile,
                    "time, share, GFLOP/s and implementation of each operator");
  command.AddSwitch("--json", options->json, "one JSON object for each batch size");
  command.OnChosen([options, &run] { run = [options] { return Bench(*options); }; });
}

}  // namespace baton::model_tool

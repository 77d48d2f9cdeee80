// baton bench
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "client/command.h"
#include "client/fit_image.h"
#include "client/idx_file.h"
#include "client/load_report.h"
#include "client/random_inputs.h"
#include "engine/base/interrupt.h"
#include "engine/base/status.h"

namespace baton {
namespace {

struct Options {
  ServerOptions server;
  ModelRef model;
  InputOptions inputs;
  std::vector<std::string> shapes;  // NAME=N,N,...
  int64_t rows = 1;
  int requests_kept = 16;
  uint64_t seed = 1;

  int concurrency = 8;
  double rate = 0;
  std::string arrivals = "poisson";
  double think_time_s = 0;
  int max_in_flight = 10000;
  double duration_s = 10;
  int64_t max_requests = 0;
  double warm_up_s = 1;
  int connections = 1;
  int threads = 1;
  bool quiet = false;
  bool fail_on_error = false;
};

std::chrono::nanoseconds FromSeconds(double seconds) {
  return std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9));
}

// From "NAME=N,N,...".
absl::StatusOr<std::map<std::string, Shape>> ParseShapes(const std::vector<std::string>& flags) {
  std::map<std::string, Shape> shapes;
  for (const std::string& flag : flags) {
    ASSIGN_OR_RETURN(const auto assignment, SplitAssignment(flag));
    Shape& shape = shapes[assignment.first];
    for (const absl::string_view part : absl::StrSplit(assignment.second, ',')) {
      int64_t dim = 0;
      if (!absl::SimpleAtoi(part, &dim) || dim < 0) {
        return absl::InvalidArgumentError(absl::StrCat("\"", part, "\" is not a size"));
      }
      shape.push_back(dim);
    }
  }
  return shapes;
}

// Requests of `rows` consecutive images each.
absl::StatusOr<std::vector<std::vector<NamedTensor>>> InputsFromIdx(const Options& options,
                                                                    const Signature& signature) {
  ASSIGN_OR_RETURN(const IdxFile idx, IdxFile::Read(options.inputs.idx));
  ASSIGN_OR_RETURN(const TensorInfo input, FindInput(signature, ""));
  if (idx.size() < options.rows) {
    return absl::InvalidArgumentError(absl::StrCat(
        idx.path(), " holds ", idx.size(), " images; --rows=", options.rows, " are wanted"));
  }
  const auto count = std::min<int64_t>(options.requests_kept, idx.size() / options.rows);
  std::vector<std::vector<NamedTensor>> requests;
  for (int64_t request = 0; request < count; ++request) {
    std::vector<Image> images;
    for (int64_t i = 0; i < options.rows; ++i) {
      ASSIGN_OR_RETURN(Image image, idx.ImageAt(request * options.rows + i));
      images.push_back(std::move(image));
    }
    ASSIGN_OR_RETURN(Tensor tensor, FitImages(images, input));
    requests.push_back({{input.name, std::move(tensor)}});
  }
  return requests;
}

struct Load {
  std::vector<std::vector<NamedTensor>> requests;
  LoadSubject subject;
};

absl::StatusOr<Load> MakeLoad(const Options& options, Client& client) {
  Load load;
  std::string source;
  const bool whole_idx = !options.inputs.idx.empty() && options.inputs.indices.empty();
  if (!options.inputs.empty() && !whole_idx) {
    ASSIGN_OR_RETURN(std::vector<NamedTensor> inputs,
                     ReadInputs(options.inputs, client, options.model));
    load.requests.push_back(std::move(inputs));
    source = "one request as given";
  } else {
    ASSIGN_OR_RETURN(const Signature signature, client.Metadata(options.model));
    if (whole_idx) {
      ASSIGN_OR_RETURN(load.requests, InputsFromIdx(options, signature));
      source = absl::StrCat(load.requests.size(), " requests of ", options.inputs.idx);
    } else {
      ASSIGN_OR_RETURN(const auto shapes, ParseShapes(options.shapes));
      for (int i = 0; i < options.requests_kept; ++i) {
        ASSIGN_OR_RETURN(
            std::vector<NamedTensor> inputs,
            RandomInputs(signature, options.rows, shapes, options.seed + static_cast<uint64_t>(i)));
        load.requests.push_back(std::move(inputs));
      }
      source = absl::StrCat(options.requests_kept, " random requests of seed ", options.seed);
    }
  }
  load.subject.model = options.model.name;
  for (const NamedTensor& input : load.requests[0]) {
    const Tensor& tensor = input.tensor;
    absl::StrAppend(&load.subject.inputs, input.name, " ",
                    TypeAndShape(tensor.type(), tensor.shape()), ", ");
  }
  load.subject.inputs += source;
  // The first input's first dimension, where there is one, counts the rows.
  const Shape& shape = load.requests[0].empty() ? Shape() : load.requests[0][0].tensor.shape();
  if (!shape.empty()) load.subject.rows_per_request = shape[0];
  return load;
}

LoadOptions ToLoadOptions(const Options& options) {
  LoadOptions load;
  load.server = options.server.server;
  load.protocol = options.server.protocol();
  load.threads = options.threads;
  load.connections = std::max(options.connections, options.threads);
  load.rate = options.rate;
  load.concurrency = options.rate > 0 ? options.max_in_flight : options.concurrency;
  load.arrivals = options.arrivals == "poisson" ? ArrivalKind::kPoisson : ArrivalKind::kConstant;
  load.think_time = FromSeconds(options.think_time_s);
  load.seed = options.seed;
  load.warm_up = FromSeconds(options.warm_up_s);
  load.duration = FromSeconds(options.duration_s);
  load.max_requests = options.max_requests;
  load.timeout = options.server.timeout();
  return load;
}

// Shows a line a second on stderr until the load ends: on a terminal always the same line.
void ShowProgress(LoadGenerator& generator, bool quiet) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  SteadyTime next = std::chrono::steady_clock::now();
  do {
    next += std::chrono::seconds(1);
    if (generator.WaitUntil(next)) break;
    if (quiet) continue;
    const std::string line = LoadProgressLine(generator.TakeProgress());
    std::cerr << (terminal ? "\r\033[K" + line : line + "\n") << std::flush;
  } while (true);
  if (terminal && !quiet) std::cerr << "\r\033[K" << std::flush;
}

absl::Status CheckUsage(const Options& options) {
  if (!options.shapes.empty() && !options.inputs.empty()) {
    return absl::InvalidArgumentError("--shape is for random inputs, but others are given");
  }
  RETURN_IF_ERROR(ToLoadOptions(options).Validate());
  return ValidateModelRef(options.server.protocol(), options.model);
}

absl::Status Run(const Options& options) {
  Interrupt interrupt;
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.server.Connect());
  ASSIGN_OR_RETURN(const Load load, MakeLoad(options, *client));
  std::vector<EncodedRequest> requests;
  for (const std::vector<NamedTensor>& inputs : load.requests) {
    ASSIGN_OR_RETURN(EncodedRequest request,
                     EncodePredict(client->protocol(), options.model, inputs));
    requests.push_back(std::move(request));
  }
  LoadOptions load_options = ToLoadOptions(options);
  ASSIGN_OR_RETURN(load_options.security, options.server.Security());
  ASSIGN_OR_RETURN(const std::unique_ptr<LoadGenerator> generator,
                   LoadGenerator::Create(load_options, std::move(requests)));
  // Fails at once, and with the server's own words, where no request can succeed.
  RETURN_IF_ERROR(client->Predict(options.model, load.requests[0]).status());
  generator->Start();
  interrupt.Start([&generator] { generator->Stop(); });
  ShowProgress(*generator, options.quiet);
  const LoadReport report = generator->Finish();
  if (options.server.json) {
    const nlohmann::json json = LoadReportJson(load.subject, load_options, report);
    std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  } else {
    std::cout << LoadReportTable(load.subject, load_options, report);
  }
  const int64_t failures = report.stats.Failures();
  if (options.fail_on_error && (failures > 0 || report.stats.steps_back > 0)) {
    return absl::AbortedError(failures > 0 ? absl::StrCat(failures, " of ",
                                                          failures + report.stats.Replies(),
                                                          " requests failed (--fail-on-error)")
                                           : "a version went back (--fail-on-error)");
  }
  return absl::OkStatus();
}

void AddLoadOptions(CommandLine& command, Options* options) {
  command.Add("--concurrency", options->concurrency, "closed loop: requests always in flight")
      .Range(1, 1000000);
  command
      .Add("--think-time", options->think_time_s,
           "closed loop: mean seconds from a reply to the next request (exponential)")
      .Range(0.0, 1e6);
  command
      .Add("--rate", options->rate,
           "open loop: requests per second, sent whether or not the earlier "
           "ones were answered; latency counts from the time each was due")
      .Range(0.001, 1e7)
      .Excludes("--concurrency")
      .Excludes("--think-time")
      .DefaultText("");
  command.Add("--arrivals", options->arrivals, "open loop: poisson or constant gaps")
      .OneOf({"poisson", "constant"})
      .Needs("--rate");
  command
      .Add("--max-in-flight", options->max_in_flight,
           "open loop: beyond this many, sending falls behind (still counted as latency)")
      .Range(1, 1000000)
      .Needs("--rate");
  command
      .Add("--duration", options->duration_s, "seconds to measure; 0: until Ctrl-C, or --requests")
      .Range(0.0, 1e9);
  command.Add("--requests", options->max_requests, "stop after so many; 0: no limit").NonNegative();
  command.Add("--warm-up", options->warm_up_s, "seconds before measuring").Range(0.0, 1e9);
  command.Add("--connections", options->connections, "connections to spread requests over")
      .Range(1, 10000);
  command
      .Add("--threads", options->threads,
           "client threads; one can send about 90,000 small requests per second")
      .Range(1, 1000);
}

}  // namespace

void AddBenchCommand(CommandLine& app, Command* chosen) {
  CommandLine& command = app.AddCommand(
      "bench", "measure latency and throughput under load, and watch versions change");
  auto options = std::make_shared<Options>();
  AddModelOptions(command, ModelOption::kRequired, &options->model);
  AddLoadOptions(command, options.get());
  AddInputOptions(command, &options->inputs);
  command.Add("--rows", options->rows, "rows (a batch) in each random or --idx request")
      .Range(int64_t{1}, int64_t{1} << 31);
  command
      .Add("--shape", options->shapes,
           "NAME=N,N,... of a random input, where the model leaves sizes open; repeatable")
      .OneWordEach()
      .Check([](const std::string& text) { return ParseShapes({text}).status(); })
      .DefaultText("");
  command.Add("--distinct", options->requests_kept, "different requests to rotate through")
      .Range(1, 100000);
  command.Add("--seed", options->seed, "of random inputs, Poisson arrivals and think times");
  command.AddSwitch("--fail-on-error", options->fail_on_error,
                    "exit 1 if a request failed or a version went back");
  command.AddSwitch("--quiet", options->quiet, "no progress on stderr");
  AddServerOptions(command, &options->server);
  command.Footer(
      "Without inputs, random ones are made from the model's metadata. Ctrl-C ends the load and\n"
      "reports; once more ends the program. A version \"goes back\" when a request that was sent\n"
      "after a reply of version N had come on the same connection is answered by an older one.\n"
      "Examples:\n"
      "  baton bench --model=mnist\n"
      "  baton bench --model=mnist --concurrency=64 --connections=4 --threads=2 --rows=8\n"
      "  baton bench --model=mnist --rate=5000 --duration=60 --json --quiet\n"
      "  baton bench --model=mnist --idx=t10k-images-idx3-ubyte.gz --duration=0 --fail-on-error\n"
      "  baton bench --model=detector --shape=image=1,3,480,640 --requests=200\n");
  command.OnChosen([chosen, options] {
    *chosen = {CheckUsage(*options), [options] { return Run(*options); }};
  });
}

}  // namespace baton

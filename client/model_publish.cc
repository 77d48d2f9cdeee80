// baton-model publish: a new version of a model in a repository.
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/model_commands.h"
#include "client/model_inputs.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/golden.h"
#include "engine/session.h"
#include "server/repository/publisher.h"

namespace baton::model_tool {
namespace {

constexpr const char* kRandomSamples = "random";
constexpr uint32_t kSeed = 1;

struct Options {
  std::string model;
  std::string target;   // REPOSITORY/NAME
  std::string samples;  // directory, "random", or "": those beside the model, if any
  std::map<std::string, int64_t> dims;
  std::optional<int64_t> version;
  int keep_last = 0;
};

std::vector<NamedTensor> Named(const std::vector<engine::ValueInfo>& infos,
                               const std::vector<Tensor>& tensors) {
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < infos.size(); ++i) named.push_back({infos[i].name, tensors[i]});
  return named;
}

// A sample of random input, and of what the engine makes of it.
absl::StatusOr<engine::GoldenSample> RandomSample(const engine::Model& model,
                                                  const std::map<std::string, int64_t>& dims) {
  const engine::Signature& signature = model.signature();
  ASSIGN_OR_RETURN(const auto shapes, ResolveShapes(signature, 1, dims));
  engine::GoldenSample sample{.name = kRandomSamples, .inputs = {}, .outputs = {}};
  sample.inputs = RandomInputs(signature, shapes, kSeed);
  ASSIGN_OR_RETURN(const auto plan, model.GetPlan(shapes, 1));
  engine::Session session;
  ASSIGN_OR_RETURN(const auto outputs, session.Run(*plan, ViewsOf(sample.inputs)));
  for (const TensorView& output : outputs) sample.outputs.push_back(Tensor::Copy(output));
  return sample;
}

absl::StatusOr<std::vector<engine::GoldenSample>> Samples(const engine::Model& model,
                                                          const Options& options,
                                                          const std::string& model_directory) {
  if (options.samples == kRandomSamples) {
    ASSIGN_OR_RETURN(engine::GoldenSample sample, RandomSample(model, options.dims));
    return std::vector<engine::GoldenSample>{std::move(sample)};
  }
  const std::string& directory = options.samples.empty() ? model_directory : options.samples;
  ASSIGN_OR_RETURN(auto samples, engine::ReadGoldenSamples(directory, model.signature()));
  if (samples.empty() && !options.samples.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.samples,
                     ": no test_data_set_* in it; expected test_data_set_0/input_0.pb … "
                     "output_0.pb …, or --samples ",
                     kRandomSamples));
  }
  return samples;
}

absl::StatusOr<int> PublishModel(const Options& options) {
  const std::string path = ModelFileAt(options.model);
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  repository::PublishRequest request;
  request.model_directory = options.target;
  request.external_data_directory = parent.empty() ? "." : parent.string();
  request.version = options.version;
  request.keep_last = options.keep_last;
  ASSIGN_OR_RETURN(request.onnx, ReadFile(path));

  // What would not serve is not published.
  const auto model = engine::Model::Parse(request.onnx, request.external_data_directory, {});
  if (!model.ok()) return Annotate(model.status(), path);
  ASSIGN_OR_RETURN(const auto samples, Samples(**model, options, request.external_data_directory));
  const engine::Tolerance tolerance{.rtol = request.rtol, .atol = request.atol};
  engine::Session session;
  for (const engine::GoldenSample& sample : samples) {
    RETURN_IF_ERROR(
        Annotate(engine::RunGoldenSample(**model, session, sample, tolerance, 1, nullptr), path));
    request.samples.push_back({.inputs = Named((*model)->signature().inputs, sample.inputs),
                               .outputs = Named((*model)->signature().outputs, sample.outputs)});
  }
  ASSIGN_OR_RETURN(const int64_t version, repository::Publish(request));
  std::cout << (std::filesystem::path(options.target) / "" / absl::StrCat(version))
                   .lexically_normal()
                   .string()
            << "\n";
  return 0;
}

}  // namespace

void AddPublishCommand(CommandLine& app, Run& run) {
  auto options = std::make_shared<Options>();
  CommandLine& command = app.AddCommand(
      "publish", "Put a model into a repository as a new version; prints the version's directory");
  AddModelArgument(command, options->model);
  command.Add("TARGET", options->target, "REPOSITORY/NAME; made if missing").Required();
  command
      .Add("--samples", options->samples,
           "golden samples: a directory with test_data_set_*, or \"random\" for the engine's "
           "own answer to random input (default: those beside the model, if any)")
      .TypeName("DIR|random");
  AddDimFlag(command, options->dims);
  command
      .Add("--version", options->version,
           "the version's number (default: one more than the highest)")
      .Range(int64_t{1}, std::numeric_limits<int64_t>::max())
      .TypeName("N");
  command
      .Add("--keep-last", options->keep_last,
           "remove all but the highest N versions afterwards (default: keep all)")
      .Range(1, std::numeric_limits<int>::max())
      .TypeName("N")
      .DefaultText("");
  command.OnChosen([options, &run] { run = [options] { return PublishModel(*options); }; });
}

}  // namespace baton::model_tool

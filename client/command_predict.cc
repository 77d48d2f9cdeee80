// baton predict
#include <algorithm>
#include <iostream>
#include <numeric>

#include "absl/strings/str_format.h"
#include "client/command.h"
#include "client/fit_image.h"
#include "client/idx_file.h"
#include "client/json_tensor.h"
#include "client/scores.h"
#include "engine/base/status.h"

namespace baton {
namespace {

struct Options {
  ServerOptions server;
  ModelRef model;
  InputOptions inputs;
  int top = 1;
  std::string labels;
  int64_t rows = 100;
};

void PrintJson(const Options& options, const PredictResult& result,
               const std::vector<std::vector<Score>>& scores) {
  nlohmann::json json{{"model", options.model.name},
                      {"version", result.version},
                      {"outputs", nlohmann::json::array()}};
  for (const NamedTensor& output : result.outputs) {
    const Tensor& tensor = output.tensor;
    json["outputs"].push_back(
        {{"name", output.name},
         {"type", DataTypeName(tensor.type())},
         {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
         {"values", TensorToJson(tensor.view())}});
  }
  if (!scores.empty()) json["top"] = nlohmann::json::array();
  for (const std::vector<Score>& row : scores) {
    nlohmann::json list = nlohmann::json::array();
    for (const Score& score : row) list.push_back({{"label", score.label}, {"score", score.score}});
    json["top"].push_back(std::move(list));
  }
  std::cout << json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

void PrintText(const Options& options, const PredictResult& result,
               const std::vector<std::vector<Score>>& scores) {
  constexpr size_t kMostCharacters = 2000;
  std::cout << "model " << options.model.name;
  if (!result.version.empty()) std::cout << ", version " << result.version;
  std::cout << "\n";
  for (const NamedTensor& output : result.outputs) {
    const TensorView view = output.tensor.view();
    std::cout << output.name << " " << TypeAndShape(view.type, view.shape) << "\n  "
              << ValuesToString(view, kMostCharacters) << "\n";
  }
  for (size_t row = 0; row < scores.size(); ++row) {
    for (const Score& score : scores[row]) {
      if (scores.size() > 1) std::cout << "row " << row << ": ";
      std::cout << absl::StrFormat("label %d, score %.6g\n", score.label, score.score);
    }
  }
}

// Compares the labels of images with the model's answers.
absl::Status RunLabelled(const Options& options, Client& client) {
  ASSIGN_OR_RETURN(const IdxFile images, IdxFile::Read(options.inputs.idx));
  ASSIGN_OR_RETURN(const IdxFile label_file, IdxFile::Read(options.labels));
  ASSIGN_OR_RETURN(const absl::Span<const uint8_t> labels, label_file.Labels());
  if (images.size() != label_file.size() || images.size() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(images.path(), " holds ", images.size(),
                                                   " images, ", label_file.path(), " ",
                                                   label_file.size(), " labels"));
  }
  std::vector<int64_t> indices = options.inputs.indices;
  if (indices.empty()) {
    indices.resize(static_cast<size_t>(images.size()));
    std::iota(indices.begin(), indices.end(), 0);
  }
  ASSIGN_OR_RETURN(const Signature signature, client.Metadata(options.model));
  ASSIGN_OR_RETURN(const TensorInfo input, FindInput(signature, ""));
  int64_t right = 0;
  std::map<std::string, int64_t> versions;
  for (size_t begin = 0; begin < indices.size();) {
    const size_t end = std::min(indices.size(), begin + static_cast<size_t>(options.rows));
    std::vector<Image> batch;
    for (size_t i = begin; i < end; ++i) {
      ASSIGN_OR_RETURN(Image image, images.ImageAt(indices[i]));
      batch.push_back(std::move(image));
    }
    ASSIGN_OR_RETURN(Tensor tensor, FitImages(batch, input));
    const NamedTensor named{input.name, std::move(tensor)};
    ASSIGN_OR_RETURN(const PredictResult result, client.Predict(options.model, {&named, 1}));
    const std::vector<std::vector<Score>> scores = TopScores(result.outputs, 1);
    if (scores.size() != end - begin) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model \"", options.model.name, "\" gives no scores to compare with labels: expected ",
          "one output of floating point numbers, [", end - begin, ",classes]"));
    }
    for (size_t i = begin; i < end; ++i) {
      right += scores[i - begin][0].label == labels[static_cast<size_t>(indices[i])];
    }
    versions[result.version] += static_cast<int64_t>(end - begin);
    begin = end;
  }
  const auto total = static_cast<int64_t>(indices.size());
  const double accuracy = static_cast<double>(right) / static_cast<double>(total);
  if (options.server.json) {
    const nlohmann::json json{{"model", options.model.name},
                              {"accuracy", accuracy},
                              {"correct", right},
                              {"total", total},
                              {"rows_by_version", versions}};
    std::cout << json.dump(2) << "\n";
    return absl::OkStatus();
  }
  std::cout << "model " << options.model.name;
  const char* separator = ", version ";
  for (const auto& [version, rows] : versions) {
    std::cout << separator << (version.empty() ? "unknown" : version);
    separator = " and ";
  }
  std::cout << absl::StrFormat("\naccuracy %.2f %% (%d of %d right)\n", 100 * accuracy, right,
                               total);
  return absl::OkStatus();
}

absl::Status CheckUsage(const Options& options) {
  if (options.inputs.empty()) {
    return absl::InvalidArgumentError(
        "nothing to predict; give --image, --idx, --json-input or --input");
  }
  return ValidateModelRef(options.server.protocol(), options.model);
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.server.Connect());
  if (!options.labels.empty()) return RunLabelled(options, *client);
  ASSIGN_OR_RETURN(const std::vector<NamedTensor> inputs,
                   ReadInputs(options.inputs, *client, options.model));
  ASSIGN_OR_RETURN(const PredictResult result, client->Predict(options.model, inputs));
  const auto scores = TopScores(result.outputs, static_cast<size_t>(options.top));
  if (options.server.json) {
    PrintJson(options, result, scores);
  } else {
    PrintText(options, result, scores);
  }
  return absl::OkStatus();
}

}  // namespace

void AddPredictCommand(CommandLine& app, Command* chosen) {
  CommandLine& command = app.AddCommand("predict", "send one request and print what comes back");
  auto options = std::make_shared<Options>();
  AddModelOptions(command, ModelOption::kRequired, &options->model);
  AddInputOptions(command, &options->inputs);
  command.Add("--top", options->top, "labels to print where the output is scores")
      .Range(0, 1000000);
  command
      .Add("--labels", options->labels,
           "an idx file of the labels of --idx: print the accuracy over all images")
      .Needs("--idx");
  command.Add("--rows", options->rows, "images in each request, with --labels")
      .Range(int64_t{1}, int64_t{1000000});
  AddServerOptions(command, &options->server);
  command.Footer(
      "Images are sent as raw values of 0 to 255, in the type and arrangement that the model's\n"
      "input has: flat, rows x columns, channels first or last. They are never resized.\n"
      "Examples:\n"
      "  baton predict --model=mnist --image=seven.png\n"
      "  baton predict --model=mnist --idx=t10k-images-idx3-ubyte.gz --index=0 --top=3\n"
      "  baton predict --model=mnist --idx=t10k-images-idx3-ubyte --labels=t10k-labels-idx1-ubyte\n"
      "  baton predict --model=sum --json-input='{\"a\": [[1, 2]], \"b\": [[3, 4]]}'\n"
      "  baton predict --model=bert --input=ids=ids.npy --input=mask=mask.pb --protocol=oip\n");
  command.OnChosen([chosen, options] {
    *chosen = {CheckUsage(*options), [options] { return Run(*options); }};
  });
}

}  // namespace baton

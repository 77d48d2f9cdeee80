// baton-model run: one execution of a model on tensors from files.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/model_commands.h"
#include "client/model_inputs.h"
#include "engine/base/cpu.h"
#include "engine/base/status.h"
#include "engine/session.h"
#include "engine/tensor_io.h"

namespace baton::model_tool {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> inputs;  // NAME=FILE
  std::string output_dir;
  int threads = AvailableCores();
  engine::Precision precision = engine::Precision::kF32;
};

std::string Names(const std::vector<engine::ValueInfo>& infos) {
  return absl::StrJoin(infos, ", ", [](std::string* out, const engine::ValueInfo& info) {
    absl::StrAppend(out, "\"", info.name, "\" ", ToString(info));
  });
}

// The tensors of the --input flags, in the signature's order.
absl::StatusOr<std::vector<Tensor>> ReadInputs(const std::vector<std::string>& assignments,
                                               const engine::Signature& signature) {
  std::vector<Tensor> tensors(signature.inputs.size());
  for (const std::string& assignment : assignments) {
    const size_t equals = assignment.find('=');
    const std::string name = assignment.substr(0, equals);
    const auto info = std::find_if(signature.inputs.begin(), signature.inputs.end(),
                                   [&](const engine::ValueInfo& i) { return i.name == name; });
    if (info == signature.inputs.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the model has no input \"", name, "\"; its inputs are ", Names(signature.inputs)));
    }
    Tensor& tensor = tensors[static_cast<size_t>(info - signature.inputs.begin())];
    if (!tensor.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("input \"", name, "\" is given twice"));
    }
    ASSIGN_OR_RETURN(tensor, ReadTensorFile(assignment.substr(equals + 1)));
    RETURN_IF_ERROR(CheckInput(*info, tensor.view()));
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].empty()) {
      const std::string& name = signature.inputs[i].name;
      return absl::InvalidArgumentError(absl::StrCat("input \"", name, "\" ",
                                                     ToString(signature.inputs[i]),
                                                     " is missing; give --input ", name, "=FILE"));
    }
  }
  return tensors;
}

// Writes NAME.npy, or NAME.pb for a type that .npy does not have. A "/" in the name becomes "_".
absl::StatusOr<std::string> WriteOutput(const std::string& directory, const std::string& name,
                                        const TensorView& tensor) {
  std::string file = name;
  std::replace(file.begin(), file.end(), '/', '_');
  std::string path = absl::StrCat(directory, "/", file, ".npy");
  const absl::Status status = WriteNpyFile(path, tensor);
  if (!absl::IsUnimplemented(status)) {
    RETURN_IF_ERROR(status);
    return path;
  }
  path = absl::StrCat(directory, "/", file, ".pb");
  RETURN_IF_ERROR(WriteTensorProtoFile(path, tensor, name));
  return path;
}

absl::StatusOr<int> RunModel(const Options& options) {
  ASSIGN_OR_RETURN(const auto model, LoadModel(options.model, options.precision));
  const engine::Signature& signature = model->signature();
  ASSIGN_OR_RETURN(const std::vector<Tensor> inputs, ReadInputs(options.inputs, signature));
  ASSIGN_OR_RETURN(const auto plan, model->GetPlan(ShapesOf(inputs), options.threads));
  engine::Session session;
  ASSIGN_OR_RETURN(const auto outputs, session.Run(*plan, ViewsOf(inputs)));

  std::error_code error;
  std::filesystem::create_directories(options.output_dir, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("make directory ", options.output_dir, ": ", error.message()));
  }
  std::set<std::string> written;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const engine::ValueInfo& info = signature.outputs[i];
    ASSIGN_OR_RETURN(const std::string path,
                     WriteOutput(options.output_dir, info.name, outputs[i]));
    if (!written.insert(path).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two outputs would be written to ", path, "; rename one in the model"));
    }
    std::cout << info.name << ": " << DataTypeName(outputs[i].type)
              << ShapeToString(outputs[i].shape) << " -> " << path << "\n";
  }
  return 0;
}

}  // namespace

void AddRunCommand(CommandLine& app, Run& run) {
  auto options = std::make_shared<Options>();
  CommandLine& command =
      app.AddCommand("run", "Run a model once; writes OUTPUT.npy for each output");
  AddModelArgument(command, options->model);
  command
      .Add("--input", options->inputs,
           "value of an input: a .npy file or an ONNX tensor (.pb); repeatable")
      .Check([](const std::string& text) -> absl::Status {
        const size_t equals = text.find('=');
        if (equals != std::string::npos && equals != 0 && equals + 1 != text.size()) {
          return absl::OkStatus();
        }
        return absl::InvalidArgumentError(absl::StrCat("expected NAME=FILE, found \"", text, "\""));
      })
      .TypeName("NAME=FILE")
      .OneWordEach();
  command.Add("--output-dir", options->output_dir, "where the outputs go; made if missing")
      .TypeName("DIR")
      .Required();
  AddThreadsFlag(command, "--threads", "threads of the execution", options->threads);
  AddPrecisionFlag(command, options->precision);
  command.OnChosen([options, &run] { run = [options] { return RunModel(*options); }; });
}

}  // namespace baton::model_tool

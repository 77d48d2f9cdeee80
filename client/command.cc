#include "client/command.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "client/fit_image.h"
#include "client/idx_file.h"
#include "client/image_file.h"
#include "client/json_tensor.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton {
namespace {

absl::StatusOr<std::string> ReadStandardInput() {
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  if (text.empty()) return absl::InvalidArgumentError("standard input is empty");
  return text;
}

absl::StatusOr<std::string> ReadJsonText(const std::string& source) {
  if (source == "-") return ReadStandardInput();
  const size_t first = source.find_first_not_of(" \t\r\n");
  const bool is_value =
      first != std::string::npos && (absl::StrContains("[{\"", source.substr(first, 1)));
  if (is_value) return source;
  absl::StatusOr<std::string> text = ReadFile(source);
  if (text.ok()) return text;
  return Annotate(text.status(), "--json-input: neither JSON that starts with [ or { nor a file");
}

absl::StatusOr<Tensor> ReadTensorFile(const std::string& path) {
  if (absl::EndsWith(path, ".npy")) return ReadNpyFile(path);
  if (absl::EndsWith(path, ".pb")) {
    ASSIGN_OR_RETURN(NamedTensor named, ReadTensorProtoFile(path));
    return std::move(named.tensor);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": not a tensor file; expected .npy (NumPy) or .pb (ONNX TensorProto)"));
}

// The first token of a file like the server's: one a line, '#' before a comment.
absl::StatusOr<std::string> ReadToken(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (!line.empty() && line.front() != '#') return std::string(line);
  }
  return absl::InvalidArgumentError(absl::StrCat(path, " holds no token"));
}

// The images of one --image NAME.
absl::Status CheckSameSize(const std::vector<Image>& images) {
  for (const Image& image : images) {
    if (image.width == images[0].width && image.height == images[0].height) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "images of ", images[0].width, "x", images[0].height, " and of ", image.width, "x",
        image.height, " pixels cannot go into one request; send them one by one"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::vector<Image>>> ReadImages(
    const std::vector<std::string>& images) {
  std::map<std::string, std::vector<Image>> by_input;
  for (const std::string& image : images) {
    std::error_code ignored;
    const size_t equals = image.find('=');
    const bool named = equals != std::string::npos && !std::filesystem::exists(image, ignored);
    const std::string name = named ? image.substr(0, equals) : "";
    ASSIGN_OR_RETURN(Image read, ReadImageFile(named ? image.substr(equals + 1) : image));
    by_input[name].push_back(std::move(read));
  }
  for (auto& [name, list] : by_input) {
    RETURN_IF_ERROR(CheckSameSize(list));
    const bool colour = std::any_of(list.begin(), list.end(),
                                    [](const Image& image) { return image.channels == 3; });
    if (!colour) continue;
    for (Image& image : list) image = ConvertChannels(image, 3);
  }
  return by_input;
}

}  // namespace

absl::StatusOr<ClientSecurity> ServerOptions::Security() const {
  ClientSecurity security;
  const auto read = [](const std::string& path, std::string& text) -> absl::Status {
    if (path.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(text, ReadFile(path));
    if (absl::StrContains(text, "-----BEGIN")) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(path, " holds no PEM"));
  };
  RETURN_IF_ERROR(Annotate(read(tls_ca, security.ca), "--tls-ca"));
  RETURN_IF_ERROR(Annotate(read(tls_cert, security.certificate), "--tls-cert"));
  RETURN_IF_ERROR(Annotate(read(tls_key, security.key), "--tls-key"));
  if (!token_file.empty()) {
    absl::StatusOr<std::string> token = ReadToken(token_file);
    if (!token.ok()) return Annotate(token.status(), "--token-file");
    security.token = *std::move(token);
  }
  return security;
}

absl::StatusOr<std::unique_ptr<Client>> ServerOptions::Connect() const {
  ASSIGN_OR_RETURN(const ClientSecurity security, Security());
  return Client::Create(server, {protocol(), timeout(), security});
}

void AddServerOptions(CommandLine& command, ServerOptions* options) {
  command.Add("--server", options->server, "HOST:PORT or unix:PATH of the gRPC port")
      .Check(&ValidateServerAddress);
  command.Add("--timeout", options->timeout_s, "seconds that a call may take").Range(0.001, 1e6);
  command
      .Add("--protocol", options->protocol_name, "tfs (TensorFlow Serving) or oip (Open Inference)")
      .OneOf({"tfs", "oip"});
  command.AddSwitch("--json", options->json, "print the result as JSON");
  command.Add("--tls-ca", options->tls_ca,
              "speak TLS with a server whose certificate these CAs have signed: a PEM file");
  Flag cert = command.Add("--tls-cert", options->tls_cert,
                          "certificate to show a server that verifies its clients: a PEM file");
  cert.Needs("--tls-ca");
  command.Add("--tls-key", options->tls_key, "key of --tls-cert: a PEM file").Needs("--tls-cert");
  cert.Needs("--tls-key");
  command.Add("--token-file", options->token_file, "file of the bearer token to send");
}

void AddModelOptions(CommandLine& command, ModelOption required, ModelRef* model) {
  command.Add("--model", model->name, "the model's name")
      .Required(required == ModelOption::kRequired);
  command.Add("--version", model->version, "the model's version [default: the latest that serves]")
      .Positive();
  command.Add("--label", model->label, "the version that has this label (tfs only)")
      .Excludes("--version");
}

void AddInputOptions(CommandLine& command, InputOptions* options) {
  command
      .Add("--image", options->images, "[NAME=]FILE, a PNG or PGM as input NAME; again for a batch")
      .OneWordEach()
      .DefaultText("");
  command.Add("--idx", options->idx, "an idx file of images (MNIST's format), also .gz");
  command.Add("--index", options->indices, "which images of --idx: N or N,N,... [default: 0]")
      .Delimiter(',')
      .OneWordEach()
      .NonNegative()
      .Needs("--idx")
      .DefaultText("");
  command.Add("--json-input", options->json,
              "JSON: {\"NAME\": [[...]]}, or the lists alone for a model with one input; a "
              "file, - for stdin, or the text itself");
  command.Add("--input", options->files, "NAME=FILE, a .npy or ONNX .pb tensor; repeatable")
      .OneWordEach()
      .Check([](const std::string& text) { return SplitAssignment(text).status(); })
      .DefaultText("");
}

absl::StatusOr<std::pair<std::string, std::string>> SplitAssignment(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not NAME=VALUE"));
  }
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

absl::StatusOr<std::vector<NamedTensor>> ReadInputs(const InputOptions& options, Client& client,
                                                    const ModelRef& model) {
  std::vector<NamedTensor> inputs;
  const auto add = [&inputs](const std::string& name, Tensor tensor) -> absl::Status {
    for (const NamedTensor& input : inputs) {
      if (input.name == name) {
        return absl::InvalidArgumentError(absl::StrCat("input \"", name, "\" is given twice"));
      }
    }
    inputs.push_back({name, std::move(tensor)});
    return absl::OkStatus();
  };
  // Everything local is read before the server is asked, so that a wrong path is reported first.
  for (const std::string& file : options.files) {
    ASSIGN_OR_RETURN(const auto assignment, SplitAssignment(file));
    ASSIGN_OR_RETURN(Tensor tensor, ReadTensorFile(assignment.second));
    RETURN_IF_ERROR(add(assignment.first, std::move(tensor)));
  }
  using ImagesByInput = std::map<std::string, std::vector<Image>>;
  ASSIGN_OR_RETURN(ImagesByInput images, ReadImages(options.images));
  if (!options.idx.empty()) {
    ASSIGN_OR_RETURN(const IdxFile idx, IdxFile::Read(options.idx));
    std::vector<int64_t> indices = options.indices;
    if (indices.empty()) indices.push_back(0);
    for (const int64_t index : indices) {
      ASSIGN_OR_RETURN(Image image, idx.ImageAt(index));
      images[""].push_back(std::move(image));
    }
    RETURN_IF_ERROR(CheckSameSize(images[""]));
  }
  std::string json;
  if (!options.json.empty()) {
    ASSIGN_OR_RETURN(json, ReadJsonText(options.json));
  }
  if (images.empty() && json.empty()) return inputs;

  ASSIGN_OR_RETURN(const Signature signature, client.Metadata(model));
  for (const auto& [name, list] : images) {
    ASSIGN_OR_RETURN(const TensorInfo input, FindInput(signature, name));
    ASSIGN_OR_RETURN(Tensor tensor, FitImages(list, input));
    RETURN_IF_ERROR(add(input.name, std::move(tensor)));
  }
  if (!json.empty()) {
    ASSIGN_OR_RETURN(auto tensors, TensorsFromJson(json, signature));
    for (auto& [name, tensor] : tensors) RETURN_IF_ERROR(add(name, std::move(tensor)));
  }
  return inputs;
}

std::string ValuesToString(const TensorView& tensor, size_t limit) {
  // A value takes at least two characters: no need to convert more of a large tensor.
  TensorView shown = tensor;
  int64_t most = static_cast<int64_t>(limit / 2 + 1);
  for (size_t i = shown.shape.size(); i-- > 0;) {
    shown.shape[i] = std::min(shown.shape[i], most);
    most = std::max<int64_t>(1, most / std::max<int64_t>(1, shown.shape[i]));
  }
  const bool cut = shown.size() < tensor.size();
  std::string text =
      TensorToJson(shown).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (!cut && text.size() <= limit) return text;
  const size_t comma = text.rfind(',', limit);
  text.resize(comma == std::string::npos ? std::min(limit, text.size()) : comma + 1);
  return text + " ...";
}

std::string Columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i] + std::string(widths[i] - row[i].size() + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace baton

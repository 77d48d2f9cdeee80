#include "client/model_inputs.h"

#include <fstream>
#include <random>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/cpu.h"
#include "engine/base/status.h"
#include "engine/random_tensor.h"
#include "engine/tensor_io.h"

namespace baton::model_tool {
namespace {

using engine::Dim;
using engine::Signature;
using engine::ValueInfo;

// What a free dimension is called on the command line.
std::string DimName(const ValueInfo& input, size_t index) {
  const Dim& dim = input.dims[index];
  return dim.symbol.empty() ? absl::StrCat(input.name, ":", index) : dim.symbol;
}

std::string Describe(const ValueInfo& info) {
  return absl::StrCat("\"", info.name, "\" ", ToString(info));
}

bool IsFree(const Dim& dim) { return dim.value < 0; }

}  // namespace

BatchRule BatchRuleOf(const Signature& signature, const std::map<std::string, int64_t>& dims) {
  for (const ValueInfo& input : signature.inputs) {
    if (!input.dims.empty() && IsFree(input.dims[0]) && !dims.contains(DimName(input, 0))) {
      return {.free = true};
    }
  }
  for (const ValueInfo& input : signature.inputs) {
    if (input.dims.empty()) continue;
    const Dim& first = input.dims[0];
    return {.fixed = IsFree(first) ? dims.at(DimName(input, 0)) : first.value};
  }
  return {};
}

absl::StatusOr<std::vector<Shape>> ResolveShapes(const Signature& signature, int64_t batch,
                                                 const std::map<std::string, int64_t>& dims) {
  std::map<std::string, int64_t> sizes;
  std::set<std::string> unknown, missing;
  for (const ValueInfo& input : signature.inputs) {
    if (!input.has_rank) {
      return absl::InvalidArgumentError(
          absl::StrCat("input \"", input.name,
                       "\" is of any rank, so its shape is not known; "
                       "export the model with a shape for it"));
    }
    if (!input.dims.empty() && IsFree(input.dims[0])) sizes[DimName(input, 0)] = batch;
  }
  for (const auto& [name, size] : dims) {
    sizes[name] = size;
    unknown.insert(name);
  }
  std::vector<Shape> shapes;
  double bytes = 0;
  for (const ValueInfo& input : signature.inputs) {
    Shape& shape = shapes.emplace_back();
    for (size_t i = 0; i < input.dims.size(); ++i) {
      if (!IsFree(input.dims[i])) {
        shape.push_back(input.dims[i].value);
        continue;
      }
      const std::string name = DimName(input, i);
      unknown.erase(name);
      const auto size = sizes.find(name);
      if (size == sizes.end()) missing.insert(name);
      shape.push_back(size == sizes.end() ? 1 : size->second);
    }
    ASSIGN_OR_RETURN(const int64_t count, CheckedNumElements(shape));
    bytes += static_cast<double>(count) * static_cast<double>(DataTypeSize(input.type));
  }
  if (!missing.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("dimensions of unknown size; give ",
                     absl::StrJoin(missing, " ", [](std::string* out, const std::string& name) {
                       absl::StrAppend(out, "--dim ", name, "=N");
                     })));
  }
  if (!unknown.empty()) {
    std::vector<std::string> inputs;
    for (const ValueInfo& input : signature.inputs) inputs.push_back(Describe(input));
    return absl::InvalidArgumentError(absl::StrCat("no input has a free dimension called \"",
                                                   *unknown.begin(), "\"; inputs are ",
                                                   absl::StrJoin(inputs, ", ")));
  }
  if (bytes > static_cast<double>(MemoryLimitBytes())) {
    return absl::InvalidArgumentError(absl::StrCat("inputs of ", bytes * 0x1p-20,
                                                   " MB are more than the memory there is (",
                                                   MemoryLimitBytes() >> 20, " MB)"));
  }
  return shapes;
}

std::vector<Tensor> RandomInputs(const Signature& signature, const std::vector<Shape>& shapes,
                                 uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < shapes.size(); ++i) {
    FillRandom(inputs.emplace_back(signature.inputs[i].type, shapes[i]), random);
  }
  return inputs;
}

absl::Status CheckInput(const ValueInfo& info, const TensorView& tensor) {
  bool fits = tensor.type == info.type;
  if (info.has_rank) {
    fits = fits && tensor.shape.size() == info.dims.size();
    for (size_t i = 0; fits && i < info.dims.size(); ++i) {
      fits = IsFree(info.dims[i]) || info.dims[i].value == tensor.shape[i];
    }
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("input \"", info.name, "\": got ", DataTypeName(tensor.type),
                   ShapeToString(tensor.shape), ", expected ", ToString(info)));
}

absl::StatusOr<Tensor> ReadTensorFile(const std::string& path) {
  char magic[6] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  if (absl::EndsWith(path, ".npy") || absl::string_view(magic, 6) == "\x93NUMPY") {
    return ReadNpyFile(path);
  }
  ASSIGN_OR_RETURN(NamedTensor named, ReadTensorProtoFile(path));
  return std::move(named.tensor);
}

std::vector<TensorView> ViewsOf(const std::vector<Tensor>& tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

std::vector<Shape> ShapesOf(const std::vector<Tensor>& tensors) {
  std::vector<Shape> shapes;
  for (const Tensor& tensor : tensors) shapes.push_back(tensor.shape());
  return shapes;
}

}  // namespace baton::model_tool

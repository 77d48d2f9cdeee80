#include "tests/support/openvino.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"

namespace baton::testing {
namespace {

// What of the library's public interface is used: handles are pointers to opaque structs, every
// function returns a status, 0 for success.
struct OvShape {
  int64_t rank;
  int64_t* dims;
};
struct OvVersion {
  const char* build_number;
  const char* description;
};

std::string LibraryIn(const std::filesystem::path& directory) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().filename().string().starts_with("libopenvino_c.so")) return entry.path();
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenVino>> OpenVino::Load() {
  const char* chosen = std::getenv("BATON_OPENVINO");
  const std::string directory = chosen != nullptr ? chosen : BATON_TEST_OPENVINO;
  const std::string path = LibraryIn(directory);
  if (path.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "no libopenvino_c.so in ", directory,
        ": tests/bench/run.sh installs the PyPI package openvino there, or set BATON_OPENVINO"));
  }
  std::unique_ptr<OpenVino> library(new OpenVino());
  RETURN_IF_ERROR(Annotate(library->Open(path), path));
  return library;
}

template <typename... Args>
int OpenVino::Call(const char* name, Args... args) const {
  void* function = dlsym(library_, name);
  BATON_CHECK_MSG(function != nullptr, name);
  return reinterpret_cast<int (*)(Args...)>(function)(args...);
}

absl::Status OpenVino::Try(const char* name, int status) const {
  if (status == 0) return absl::OkStatus();
  using Message = const char* (*)();
  const auto last = reinterpret_cast<Message>(dlsym(library_, "ov_get_last_err_msg"));
  return absl::InternalError(
      absl::StrCat("OpenVINO: ", name, ": ", last == nullptr ? "failed" : last()));
}

absl::Status OpenVino::Open(const std::string& path) {
  // Never closed: the library's own threads and exit handlers may still want its code.
  library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) return absl::NotFoundError(dlerror());
  OvVersion version = {};
  RETURN_IF_ERROR(Try("version", Call("ov_get_openvino_version", &version)));
  version_ = version.build_number;
  version_ = version_.substr(0, version_.find('-'));
  return Try("create", Call("ov_core_create", &core_));
}

OpenVino::~OpenVino() {
  if (core_ != nullptr) Call("ov_core_free", core_);
}

absl::StatusOr<std::unique_ptr<OpenVinoModel>> OpenVino::Compile(
    const std::string& onnx_file, int threads, const std::string& precision) const {
  std::unique_ptr<OpenVinoModel> model(new OpenVinoModel(*this));
  const std::string count = absl::StrCat(threads);
  const char* const properties[] = {
      "INFERENCE_NUM_THREADS",    count.c_str(),     "NUM_STREAMS",        "1",
      "INFERENCE_PRECISION_HINT", precision.c_str(), "ENABLE_CPU_PINNING", "NO"};
  using CompileFunction = int (*)(const void*, const char*, const char*, size_t, void**, ...);
  const auto compile =
      reinterpret_cast<CompileFunction>(dlsym(library_, "ov_core_compile_model_from_file"));
  BATON_CHECK(compile != nullptr);
  const auto& p = properties;
  RETURN_IF_ERROR(
      Try("compile", compile(core_, onnx_file.c_str(), "CPU", std::size(properties), &model->model_,
                             p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7])));
  RETURN_IF_ERROR(Try(
      "request", Call("ov_compiled_model_create_infer_request", model->model_, &model->request_)));
  return model;
}

OpenVinoModel::~OpenVinoModel() {
  for (void* tensor : tensors_) library_.Call("ov_tensor_free", tensor);
  if (request_ != nullptr) library_.Call("ov_infer_request_free", request_);
  if (model_ != nullptr) library_.Call("ov_compiled_model_free", model_);
}

absl::Status OpenVinoModel::SetInputs(absl::Span<const TensorView> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    // The library's number of an element type is asked for, not written down here.
    void* own = nullptr;
    int type = 0;
    RETURN_IF_ERROR(library_.Try(
        "input", library_.Call("ov_infer_request_get_input_tensor_by_index", request_, i, &own)));
    RETURN_IF_ERROR(library_.Try("type", library_.Call("ov_tensor_get_element_type", own, &type)));
    library_.Call("ov_tensor_free", own);
    std::vector<int64_t> dims(inputs[i].shape.begin(), inputs[i].shape.end());
    const OvShape shape = {static_cast<int64_t>(dims.size()), dims.data()};
    void* tensor = nullptr;
    RETURN_IF_ERROR(
        library_.Try("tensor", library_.Call("ov_tensor_create_from_host_ptr", type, shape,
                                             const_cast<void*>(inputs[i].data), &tensor)));
    tensors_.push_back(tensor);
    RETURN_IF_ERROR(library_.Try(
        "input", library_.Call("ov_infer_request_set_input_tensor_by_index", request_, i, tensor)));
  }
  return absl::OkStatus();
}

absl::Status OpenVinoModel::Run() {
  return library_.Try("infer", library_.Call("ov_infer_request_infer", request_));
}

absl::StatusOr<Tensor> OpenVinoModel::Output() const {
  void* tensor = nullptr;
  RETURN_IF_ERROR(library_.Try(
      "output",
      library_.Call("ov_infer_request_get_output_tensor_by_index", request_, size_t{0}, &tensor)));
  OvShape shape = {};
  void* data = nullptr;
  RETURN_IF_ERROR(library_.Try("shape", library_.Call("ov_tensor_get_shape", tensor, &shape)));
  RETURN_IF_ERROR(library_.Try("data", library_.Call("ov_tensor_data", tensor, &data)));
  const Tensor copy =
      Tensor::Copy({DataType::kFloat, Shape(shape.dims, shape.dims + shape.rank), data});
  library_.Call("ov_shape_free", &shape);
  library_.Call("ov_tensor_free", tensor);
  return copy;
}

}  // namespace baton::testing

#include "tests/support/onnxruntime.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "absl/status/status.h"
#include "engine/base/status.h"

namespace baton::testing {
namespace {

// The library gives out one table of function pointers that only ever grows at its end, so a
// function's place in it is part of its public interface. These are the places of those used here,
// all of them there since version 1 of the table.
constexpr uint32_t kApiVersion = 1;
enum Slot : size_t {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSession = 7,
  kCreateSessionFromArray = 8,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetSessionGraphOptimizationLevel = 23,
  kSetIntraOpNumThreads = 24,
  kSetInterOpNumThreads = 25,
  kSessionGetInputCount = 30,
  kSessionGetOutputCount = 31,
  kSessionGetInputName = 36,
  kSessionGetOutputName = 37,
  kCreateTensorWithDataAsOrtValue = 49,
  kGetTensorMutableData = 51,
  kGetTensorElementType = 60,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorTypeAndShape = 65,
  kCreateCpuMemoryInfo = 69,
  kAllocatorFree = 76,
  kGetAllocatorWithDefaultOptions = 78,
  kReleaseEnv = 92,
  kReleaseStatus = 93,
  kReleaseMemoryInfo = 94,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseTensorTypeAndShapeInfo = 99,
  kReleaseSessionOptions = 100,
};

struct ApiBase {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version_string)();
};

constexpr int kLogError = 3;           // of OrtLoggingLevel
constexpr int kAllOptimizations = 99;  // of GraphOptimizationLevel
constexpr int kDeviceAllocator = 0;    // of OrtAllocatorType
constexpr int kDefaultMemory = 0;      // of OrtMemType

// Every handle is a pointer to an opaque struct, and a status is null for success.
template <typename... Args>
void* Call(const void* const* api, Slot slot, Args... args) {
  return reinterpret_cast<void* (*)(Args...)>(const_cast<void*>(api[slot]))(args...);
}

void Release(const void* const* api, Slot slot, void* handle) {
  if (handle != nullptr) {
    reinterpret_cast<void (*)(void*)>(const_cast<void*>(api[slot]))(handle);
  }
}

std::string LibraryIn(const std::filesystem::path& directory) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().filename().string().starts_with("libonnxruntime.so")) return entry.path();
  }
  return "";
}

std::string FindLibrary() {
  if (const char* chosen = std::getenv("BATON_ONNXRUNTIME"); chosen != nullptr) {
    return std::filesystem::is_directory(chosen) ? LibraryIn(chosen) : chosen;
  }
  std::error_code error;
  const std::filesystem::path lib = std::filesystem::path(BATON_TEST_VENV) / "lib";
  for (const auto& python : std::filesystem::directory_iterator(lib, error)) {
    const std::string found = LibraryIn(python.path() / "site-packages/onnxruntime/capi");
    if (!found.empty()) return found;
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<OnnxRuntime>> OnnxRuntime::Load() {
  const std::string path = FindLibrary();
  if (path.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "no libonnxruntime.so: run tests/venv.sh, which installs the PyPI package onnxruntime in ",
        BATON_TEST_VENV, ", or set BATON_ONNXRUNTIME to the library or its directory"));
  }
  std::unique_ptr<OnnxRuntime> runtime(new OnnxRuntime());
  RETURN_IF_ERROR(Annotate(runtime->Open(path), path));
  return runtime;
}

absl::Status OnnxRuntime::Open(const std::string& path) {
  // Never closed: the library's own threads and exit handlers may still want its code.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return absl::NotFoundError(dlerror());
  void* symbol = dlsym(library, "OrtGetApiBase");
  if (symbol == nullptr) return absl::NotFoundError("it has no function OrtGetApiBase");
  const ApiBase* base = reinterpret_cast<const ApiBase* (*)()>(symbol)();
  version_ = base->get_version_string();
  api_ = base->get_api(kApiVersion);
  if (api_ == nullptr) {
    return absl::UnimplementedError(absl::StrCat("ONNX Runtime ", version_,
                                                 " does not offer version ", kApiVersion,
                                                 " of its table of functions"));
  }
  RETURN_IF_ERROR(ToStatus(Call(api_, kCreateEnv, kLogError, "baton", &env_)));
  return ToStatus(Call(api_, kCreateCpuMemoryInfo, kDeviceAllocator, kDefaultMemory, &cpu_memory_));
}

OnnxRuntime::~OnnxRuntime() {
  if (api_ == nullptr) return;
  Release(api_, kReleaseMemoryInfo, cpu_memory_);
  Release(api_, kReleaseEnv, env_);
}

absl::Status OnnxRuntime::ToStatus(void* status) const {
  if (status == nullptr) return absl::OkStatus();
  const auto* message = static_cast<const char*>(Call(api_, kGetErrorMessage, status));
  const absl::Status result = absl::InternalError(absl::StrCat("ONNX Runtime: ", message));
  Release(api_, kReleaseStatus, status);
  return result;
}

absl::StatusOr<std::unique_ptr<OrtSession>> OnnxRuntime::NewSession(absl::string_view onnx,
                                                                    int threads) const {
  return NewSession(threads, [&](void* options, void** session) {
    return Call(api_, kCreateSessionFromArray, env_, onnx.data(), onnx.size(), options, session);
  });
}

absl::StatusOr<std::unique_ptr<OrtSession>> OnnxRuntime::NewSessionOfFile(const std::string& path,
                                                                          int threads) const {
  return NewSession(threads, [&](void* options, void** session) {
    return Call(api_, kCreateSession, env_, path.c_str(), options, session);
  });
}

absl::StatusOr<std::unique_ptr<OrtSession>> OnnxRuntime::NewSession(
    int threads, absl::FunctionRef<void*(void* options, void** session)> create) const {
  std::unique_ptr<OrtSession> result(new OrtSession(*this));
  void* options = nullptr;
  RETURN_IF_ERROR(ToStatus(Call(api_, kCreateSessionOptions, &options)));
  const std::unique_ptr<void, void (*)(void*)> done(
      options, reinterpret_cast<void (*)(void*)>(const_cast<void*>(api_[kReleaseSessionOptions])));
  RETURN_IF_ERROR(
      ToStatus(Call(api_, kSetSessionGraphOptimizationLevel, options, kAllOptimizations)));
  RETURN_IF_ERROR(ToStatus(Call(api_, kSetIntraOpNumThreads, options, threads)));
  RETURN_IF_ERROR(ToStatus(Call(api_, kSetInterOpNumThreads, options, 1)));
  RETURN_IF_ERROR(ToStatus(create(options, &result->session_)));

  void* allocator = nullptr;  // the library's, not released
  RETURN_IF_ERROR(ToStatus(Call(api_, kGetAllocatorWithDefaultOptions, &allocator)));
  const auto read_names = [&](Slot count_slot, Slot name_slot,
                              std::vector<std::string>& names) -> absl::Status {
    size_t count = 0;
    RETURN_IF_ERROR(ToStatus(Call(api_, count_slot, result->session_, &count)));
    for (size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      RETURN_IF_ERROR(ToStatus(Call(api_, name_slot, result->session_, i, allocator, &name)));
      names.emplace_back(name);
      RETURN_IF_ERROR(ToStatus(Call(api_, kAllocatorFree, allocator, name)));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(read_names(kSessionGetInputCount, kSessionGetInputName, result->input_names_));
  RETURN_IF_ERROR(read_names(kSessionGetOutputCount, kSessionGetOutputName, result->output_names_));
  return result;
}

OrtSession::~OrtSession() { Release(runtime_.api_, kReleaseSession, session_); }

absl::StatusOr<std::vector<Tensor>> OrtSession::Run(absl::Span<const TensorView> inputs) {
  ASSIGN_OR_RETURN(const std::unique_ptr<OrtRun> run, Prepare(inputs));
  return run->Outputs();
}

absl::StatusOr<std::unique_ptr<OrtRun>> OrtSession::Prepare(absl::Span<const TensorView> inputs) {
  if (inputs.size() != input_names_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("ONNX Runtime: ", inputs.size(),
                                                   " inputs, the model has ", input_names_.size()));
  }
  std::unique_ptr<OrtRun> run(new OrtRun(*this));
  for (const std::string& name : input_names_) run->input_names_.push_back(name.c_str());
  for (const std::string& name : output_names_) run->output_names_.push_back(name.c_str());
  for (const TensorView& input : inputs) {
    void* value = nullptr;
    RETURN_IF_ERROR(
        runtime_.ToStatus(Call(runtime_.api_, kCreateTensorWithDataAsOrtValue, runtime_.cpu_memory_,
                               const_cast<void*>(input.data), input.bytes(),
                               static_cast<const int64_t*>(input.shape.data()), input.shape.size(),
                               static_cast<int>(input.type), &value)));
    run->inputs_.push_back(value);
  }
  // Null outputs are allocated by the first run and written again by those that follow.
  run->outputs_.resize(output_names_.size());
  RETURN_IF_ERROR(run->Run());
  return run;
}

OrtRun::~OrtRun() {
  const void* const* api = session_.runtime_.api_;
  for (void* value : inputs_) Release(api, kReleaseValue, value);
  for (void* value : outputs_) Release(api, kReleaseValue, value);
}

absl::Status OrtRun::Run() {
  const OnnxRuntime& runtime = session_.runtime_;
  const void* no_options = nullptr;
  return runtime.ToStatus(Call(runtime.api_, kRun, session_.session_, no_options,
                               input_names_.data(), inputs_.data(), inputs_.size(),
                               output_names_.data(), output_names_.size(), outputs_.data()));
}

absl::StatusOr<std::vector<Tensor>> OrtRun::Outputs() const {
  const OnnxRuntime& runtime = session_.runtime_;
  const void* const* api = runtime.api_;
  std::vector<Tensor> tensors;
  for (void* value : outputs_) {
    void* info = nullptr;
    RETURN_IF_ERROR(runtime.ToStatus(Call(api, kGetTensorTypeAndShape, value, &info)));
    const std::unique_ptr<void, void (*)(void*)> done(
        info,
        reinterpret_cast<void (*)(void*)>(const_cast<void*>(api[kReleaseTensorTypeAndShapeInfo])));
    int type = 0;
    size_t rank = 0;
    void* data = nullptr;
    RETURN_IF_ERROR(runtime.ToStatus(Call(api, kGetTensorElementType, info, &type)));
    RETURN_IF_ERROR(runtime.ToStatus(Call(api, kGetDimensionsCount, info, &rank)));
    Shape shape(rank);
    RETURN_IF_ERROR(runtime.ToStatus(Call(api, kGetDimensions, info, shape.data(), rank)));
    RETURN_IF_ERROR(runtime.ToStatus(Call(api, kGetTensorMutableData, value, &data)));
    // ONNX Runtime numbers element types as ONNX does.
    tensors.push_back(Tensor::Copy({static_cast<DataType>(type), std::move(shape), data}));
  }
  return tensors;
}

}  // namespace baton::testing

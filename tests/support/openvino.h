// OpenVino: OpenVINO as a second peer in benchmarks. Its shared libraries are loaded at run time
// out of the PyPI wheel `openvino`; nothing of it is linked or needed to build. One thread at a
// time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tensor.h"

namespace baton::testing {

class OpenVinoModel;

class OpenVino {
 public:
  // Loads the library in the directory that the environment variable BATON_OPENVINO names (that of
  // libopenvino_c.so.*), else out of the wheel in build/openvino, where tests/bench/run.sh installs
  // it. kNotFound says how to get it.
  static absl::StatusOr<std::unique_ptr<OpenVino>> Load();
  ~OpenVino();
  OpenVino(const OpenVino&) = delete;
  OpenVino& operator=(const OpenVino&) = delete;

  const std::string& version() const { return version_; }

  // `precision`: "f32" or "bf16". One stream of `threads` threads. Must not outlive this object.
  absl::StatusOr<std::unique_ptr<OpenVinoModel>> Compile(const std::string& onnx_file, int threads,
                                                         const std::string& precision) const;

 private:
  friend class OpenVinoModel;
  OpenVino() = default;
  absl::Status Open(const std::string& path);
  // The library's function of that name. REQUIRES: Open found it.
  template <typename... Args>
  int Call(const char* name, Args... args) const;
  absl::Status Try(const char* name, int status) const;

  void* library_ = nullptr;
  void* core_ = nullptr;
  std::string version_;
};

// A compiled model and one request for it.
class OpenVinoModel {
 public:
  ~OpenVinoModel();
  OpenVinoModel(const OpenVinoModel&) = delete;
  OpenVinoModel& operator=(const OpenVinoModel&) = delete;

  // The memory that each run reads, in the model's order; it must outlive the runs.
  absl::Status SetInputs(absl::Span<const TensorView> inputs);
  absl::Status Run();
  // The first output of the last run, float.
  absl::StatusOr<Tensor> Output() const;

 private:
  friend class OpenVino;
  explicit OpenVinoModel(const OpenVino& library) : library_(library) {}

  const OpenVino& library_;
  void *model_ = nullptr, *request_ = nullptr;
  std::vector<void*> tensors_;
};

}  // namespace baton::testing

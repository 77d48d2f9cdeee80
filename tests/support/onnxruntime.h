// OnnxRuntime: ONNX Runtime as a second opinion on results and as the peer in benchmarks. Its
// shared library is loaded at run time out of the PyPI wheel `onnxruntime`; nothing of it is
// linked or needed to build. Thread-safe; an OrtSession belongs to one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tensor.h"

namespace baton::testing {

class OrtRun;
class OrtSession;

class OnnxRuntime {
 public:
  // Loads the library that the environment variable BATON_ONNXRUNTIME names (the file, or a
  // directory with libonnxruntime.so.* in it), else the one in the test environment that
  // tests/venv.sh makes in build/venv. kNotFound says how to get it.
  static absl::StatusOr<std::unique_ptr<OnnxRuntime>> Load();
  ~OnnxRuntime();
  OnnxRuntime(const OnnxRuntime&) = delete;
  OnnxRuntime& operator=(const OnnxRuntime&) = delete;

  const std::string& version() const { return version_; }

  // A session with all graph optimisations, `threads` threads within an operator and one between
  // operators. It must not outlive this object.
  absl::StatusOr<std::unique_ptr<OrtSession>> NewSession(absl::string_view onnx, int threads) const;
  // As NewSession, of a file, which the library reads itself.
  absl::StatusOr<std::unique_ptr<OrtSession>> NewSessionOfFile(const std::string& path,
                                                               int threads) const;

 private:
  friend class OrtRun;
  friend class OrtSession;
  // `create`: makes session_, given options.
  absl::StatusOr<std::unique_ptr<OrtSession>> NewSession(
      int threads, absl::FunctionRef<void*(void* options, void** session)> create) const;
  OnnxRuntime() = default;
  absl::Status Open(const std::string& path);
  absl::Status ToStatus(void* status) const;

  const void* const* api_ = nullptr;  // the library's table of functions
  void* env_ = nullptr;
  void* cpu_memory_ = nullptr;  // says that a tensor's bytes are in main memory
  std::string version_;
};

class OrtSession {
 public:
  ~OrtSession();
  OrtSession(const OrtSession&) = delete;
  OrtSession& operator=(const OrtSession&) = delete;

  // One tensor for each output, in the model's order. `inputs` in the model's order, no strings.
  absl::StatusOr<std::vector<Tensor>> Run(absl::Span<const TensorView> inputs);

  // A run prepared for repetition: the same input memory each time (which must outlive it), output
  // memory allocated once. Runs once to learn the output shapes.
  absl::StatusOr<std::unique_ptr<OrtRun>> Prepare(absl::Span<const TensorView> inputs);

 private:
  friend class OnnxRuntime;
  friend class OrtRun;
  explicit OrtSession(const OnnxRuntime& runtime) : runtime_(runtime) {}

  const OnnxRuntime& runtime_;
  void* session_ = nullptr;
  std::vector<std::string> input_names_;
  std::vector<std::string> output_names_;
};

class OrtRun {
 public:
  ~OrtRun();
  OrtRun(const OrtRun&) = delete;
  OrtRun& operator=(const OrtRun&) = delete;

  // Executes the model; nothing but the call itself.
  absl::Status Run();
  // Copies of the last run's outputs.
  absl::StatusOr<std::vector<Tensor>> Outputs() const;

 private:
  friend class OrtSession;
  explicit OrtRun(OrtSession& session) : session_(session) {}

  OrtSession& session_;
  std::vector<const char*> input_names_;
  std::vector<const char*> output_names_;
  std::vector<void*> inputs_;
  std::vector<void*> outputs_;
};

}  // namespace baton::testing

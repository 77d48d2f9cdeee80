// What a server would say of model files, found out off-line by the server's own code: it looks at
// directories, reads configs, picks by version policy and loads as a server does with its default
// flags, and gives the same reasons.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "engine/golden.h"

namespace baton::model_tool {

struct CheckOptions {
  // Of the golden samples, instead of the manifest's.
  std::optional<double> rtol;
  std::optional<double> atol;
};

// Of one version, or of something that has none.
struct Verdict {
  std::string path;
  absl::Status status;                         // its message is what the server's states say
  std::optional<engine::GoldenResult> golden;  // where golden samples were run
};

class CheckListener {
 public:
  virtual void OnVerdict(const Verdict& verdict) = 0;
  // What a server would log, or pass over: it makes nothing fail.
  virtual void OnWarning(const std::string& path, const std::string& text) = 0;

 protected:
  ~CheckListener() = default;
};

// Checks what is at `path`: a repository, a model, a version, any directory with a model.onnx, or
// an ONNX file. Symbolic links in a repository must not leave it; a model or version alone is taken
// as --model_base_path would take it, so its links must not leave the model. Every version is
// loaded, also those that the version policy passes over. Files are taken as they are, without
// waiting for them to settle.
void CheckPath(const std::string& path, const CheckOptions& options, CheckListener& listener);

}  // namespace baton::model_tool

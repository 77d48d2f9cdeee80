// manifest.json: what a publisher says is in a version directory. Written last, so a version that
// has one is whole, or damaged.
//   {"format": 1, "created": RFC3339, "files": [{"path", "bytes", "sha256"}…],
//    "golden": {"rtol", "atol"}, "metrics": {name: number…}}
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::repository {

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kModelFile = "model.onnx";

struct ManifestFile {
  std::string path;  // relative to the version directory, "/" between parts
  uint64_t bytes = 0;
  std::string sha256;  // 64 lower-case hex digits
};

struct Manifest {
  std::string created;  // RFC3339
  std::vector<ManifestFile> files;
  double rtol = 1e-3;  // tolerance of the golden samples
  double atol = 1e-5;
  std::map<std::string, double> metrics;  // of training; for people and gates
};

// kInvalidArgument, naming the field: not JSON, another format, a field of the wrong type, a path
// that leaves the directory, no entry for model.onnx. Unknown fields and metrics that are not
// numbers are left out.
absl::StatusOr<Manifest> ParseManifest(absl::string_view json);

// REQUIRES: finite tolerances and metrics.
std::string ToJson(const Manifest& manifest);

// The manifest of a version directory. kNotFound if it has none.
absl::StatusOr<Manifest> ReadManifest(const std::string& version_directory);

// Checks that every listed file is there with the size and hash listed. kDataLoss if not, naming
// file, found and expected. Sizes of all files are checked before any is read. Files that are not
// listed are of no interest.
absl::Status Verify(const Manifest& manifest, const std::string& version_directory);

}  // namespace baton::repository

#include "server/repository/manifest.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton::repository {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;

absl::Status Invalid(absl::string_view field, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("\"", field, "\" must be ", expected));
}

bool StaysInside(const std::string& path) {
  const std::filesystem::path parts(path);
  return !path.empty() && !parts.is_absolute() &&
         std::none_of(parts.begin(), parts.end(),
                      [](const std::filesystem::path& part) { return part == ".."; });
}

bool IsSha256(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(),
                                          [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

absl::StatusOr<ManifestFile> ParseFile(const json& entry, const std::string& field) {
  if (!entry.is_object()) return Invalid(field, "an object with path, bytes and sha256");
  const json path = entry.value("path", json());
  const json bytes = entry.value("bytes", json());
  const json sha256 = entry.value("sha256", json());
  if (!path.is_string() || !StaysInside(path.get<std::string>())) {
    return Invalid(field + ".path",
                   absl::StrCat("a relative path without \"..\", not ",
                                path.dump(-1, ' ', true, json::error_handler_t::replace)));
  }
  if (!bytes.is_number_unsigned()) return Invalid(field + ".bytes", "a whole number, 0 or more");
  if (!sha256.is_string() || !IsSha256(sha256.get<std::string>())) {
    return Invalid(field + ".sha256", "64 hexadecimal digits");
  }
  return ManifestFile{path.get<std::string>(), bytes.get<uint64_t>(),
                      absl::AsciiStrToLower(sha256.get<std::string>())};
}

absl::Status ParseTolerance(const json& golden, const char* key, double& value) {
  if (!golden.contains(key)) return absl::OkStatus();
  const json& number = golden[key];
  if (!number.is_number() || !std::isfinite(number.get<double>()) || number.get<double>() < 0) {
    return Invalid(absl::StrCat("golden.", key), "a number, 0 or more");
  }
  value = number.get<double>();
  return absl::OkStatus();
}

absl::StatusOr<Manifest> Parse(absl::string_view text) {
  const json root = json::parse(text.begin(), text.end());
  if (!root.is_object()) return absl::InvalidArgumentError("must be a JSON object");
  if (root.value("format", json()) != kFormat) {
    return Invalid("format", absl::StrCat(kFormat, "; this version of Baton reads no other"));
  }
  Manifest manifest;
  const json created = root.value("created", json(""));
  if (!created.is_string()) return Invalid("created", "a time as a string (RFC 3339)");
  manifest.created = created.get<std::string>();

  const json files = root.value("files", json());
  if (!files.is_array()) return Invalid("files", "an array");
  std::set<std::string> seen;
  for (size_t i = 0; i < files.size(); ++i) {
    ASSIGN_OR_RETURN(ManifestFile file, ParseFile(files[i], absl::StrCat("files[", i, "]")));
    if (!seen.insert(file.path).second) {
      return absl::InvalidArgumentError(absl::StrCat("\"files\" lists ", file.path, " twice"));
    }
    manifest.files.push_back(std::move(file));
  }
  if (!seen.contains(kModelFile)) {
    return absl::InvalidArgumentError(absl::StrCat("\"files\" does not list ", kModelFile));
  }

  const json golden = root.value("golden", json::object());
  if (!golden.is_object()) return Invalid("golden", "an object with rtol and atol");
  RETURN_IF_ERROR(ParseTolerance(golden, "rtol", manifest.rtol));
  RETURN_IF_ERROR(ParseTolerance(golden, "atol", manifest.atol));

  const json metrics = root.value("metrics", json::object());
  if (!metrics.is_object()) return Invalid("metrics", "an object");
  for (const auto& [name, value] : metrics.items()) {
    if (value.is_number()) manifest.metrics[name] = value.get<double>();
  }
  return manifest;
}

}  // namespace

absl::StatusOr<Manifest> ParseManifest(absl::string_view text) {
  try {
    return Parse(text);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", error.what()));
  }
}

std::string ToJson(const Manifest& manifest) {
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const ManifestFile& file : manifest.files) {
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  nlohmann::ordered_json root = {{"format", kFormat},
                                 {"created", manifest.created},
                                 {"files", files},
                                 {"golden", {{"rtol", manifest.rtol}, {"atol", manifest.atol}}},
                                 {"metrics", manifest.metrics}};
  return root.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Manifest> ReadManifest(const std::string& version_directory) {
  const std::string path = absl::StrCat(version_directory, "/", kManifestFile);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  if (!manifest.ok()) return Annotate(manifest.status(), path);
  return manifest;
}

absl::Status Verify(const Manifest& manifest, const std::string& version_directory) {
  std::vector<std::string> paths;
  for (const ManifestFile& file : manifest.files) {
    const auto damaged = [&](const auto&... found) {
      return absl::DataLossError(absl::StrCat(version_directory, "/", file.path, ": ", found...,
                                              "; publish the version again, or remove its ",
                                              kManifestFile));
    };
    absl::StatusOr<std::string> path = ResolveInside(version_directory, file.path);
    struct stat info;
    if (!path.ok() && absl::IsNotFound(path.status())) {
      return damaged("is missing, but the manifest lists it with ", file.bytes, " bytes");
    }
    if (!path.ok()) return path.status();
    if (stat(path->c_str(), &info) != 0) return ErrnoStatus("stat", *path);
    if (!S_ISREG(info.st_mode)) return damaged("is not a file");
    if (static_cast<uint64_t>(info.st_size) != file.bytes) {
      return damaged("has ", info.st_size, " bytes, but the manifest says ", file.bytes);
    }
    paths.push_back(*std::move(path));
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string sha256, Sha256OfFile(paths[i]));
    if (sha256 != manifest.files[i].sha256) {
      return absl::DataLossError(
          absl::StrCat(version_directory, "/", manifest.files[i].path, ": sha256 is ", sha256,
                       ", but the manifest says ", manifest.files[i].sha256,
                       "; publish the version again, or remove its ", kManifestFile));
    }
  }
  return absl::OkStatus();
}

}  // namespace baton::repository

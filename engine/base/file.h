// Files: whole reads, durable writes, digests. Errors name the path and errno's text;
// kNotFound where the path does not exist, kPermissionDenied where it may not be read.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton {

// Status for a failed system call on `path`, from errno as it is now.
absl::Status ErrnoStatus(absl::string_view what, absl::string_view path);

absl::StatusOr<std::string> ReadFile(const std::string& path);

// Writes `contents` and fsyncs the file (not its directory).
absl::Status WriteFileDurably(const std::string& path, absl::string_view contents);

absl::Status SyncDirectory(const std::string& path);

// What `relative`, a path from a file that is not trusted, names below `directory`, with all links
// resolved. kInvalidArgument if it is empty or absolute, has a "..", or is a link that leaves
// `directory`.
absl::StatusOr<std::string> ResolveInside(const std::string& directory,
                                          const std::string& relative);

// Lower-case hex SHA-256 of a file's contents, read in pieces.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);
std::string Sha256(absl::string_view contents);

}  // namespace baton

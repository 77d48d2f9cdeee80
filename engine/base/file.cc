#include "engine/base/file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"

namespace baton {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

// Calls `sink(data, size)` with the file's contents in pieces.
template <typename Sink>
absl::Status ReadInPieces(const std::string& path, const Sink& sink) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus("open", path);
  std::vector<char> piece(1 << 20);
  while (true) {
    const ssize_t n = read(fd.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("read", path);
    if (n == 0) return absl::OkStatus();
    sink(piece.data(), static_cast<size_t>(n));
  }
}

class Sha256Digest {
 public:
  Sha256Digest() : ctx_(EVP_MD_CTX_new()) {
    BATON_CHECK(ctx_ != nullptr && EVP_DigestInit_ex(ctx_, EVP_sha256(), nullptr) == 1);
  }
  ~Sha256Digest() { EVP_MD_CTX_free(ctx_); }
  Sha256Digest(const Sha256Digest&) = delete;
  Sha256Digest& operator=(const Sha256Digest&) = delete;
  void Update(const char* data, size_t size) {
    BATON_CHECK(EVP_DigestUpdate(ctx_, data, size) == 1);
  }
  std::string Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    BATON_CHECK(EVP_DigestFinal_ex(ctx_, digest, &size) == 1);
    return absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(digest), size));
  }

 private:
  EVP_MD_CTX* const ctx_;
};

}  // namespace

absl::Status ErrnoStatus(absl::string_view what, absl::string_view path) {
  const int error = errno;
  absl::StatusCode code = absl::StatusCode::kInternal;
  if (error == ENOENT || error == ENOTDIR) code = absl::StatusCode::kNotFound;
  if (error == EACCES || error == EPERM || error == EROFS)
    code = absl::StatusCode::kPermissionDenied;
  if (error == EEXIST || error == ENOTEMPTY) code = absl::StatusCode::kAlreadyExists;
  if (error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENOMEM) {
    code = absl::StatusCode::kResourceExhausted;
  }
  return absl::Status(code, absl::StrCat(what, " ", path, ": ", strerror(error)));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::string contents;
  RETURN_IF_ERROR(
      ReadInPieces(path, [&](const char* data, size_t size) { contents.append(data, size); }));
  return contents;
}

absl::Status WriteFileDurably(const std::string& path, absl::string_view contents) {
  FileDescriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.get() < 0) return ErrnoStatus("create", path);
  while (!contents.empty()) {
    const ssize_t n = write(fd.get(), contents.data(), contents.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("write", path);
    contents.remove_prefix(static_cast<size_t>(n));
  }
  if (fsync(fd.get()) != 0) return ErrnoStatus("fsync", path);
  if (close(fd.release()) != 0) return ErrnoStatus("close", path);
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus("open directory", path);
  if (fsync(fd.get()) != 0) return ErrnoStatus("fsync directory", path);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ResolveInside(const std::string& directory,
                                          const std::string& relative) {
  namespace fs = std::filesystem;
  const fs::path path(relative);
  bool leaves = relative.empty() || path.is_absolute();
  for (const fs::path& part : path) leaves = leaves || part == "..";
  if (leaves) {
    return absl::InvalidArgumentError(
        absl::StrCat("path \"", relative, "\" is not a relative path below ", directory));
  }
  const auto canonical = [](const fs::path& p) -> absl::StatusOr<fs::path> {
    std::error_code error;
    const fs::path resolved = fs::canonical(p, error);
    if (!error) return resolved;
    errno = error.value();
    return ErrnoStatus("find", p.string());
  };
  ASSIGN_OR_RETURN(const fs::path root, canonical(directory));
  ASSIGN_OR_RETURN(const fs::path file, canonical(root / path));
  const fs::path from_root = file.lexically_relative(root);
  if (from_root.empty() || *from_root.begin() == "..") {
    return absl::InvalidArgumentError(absl::StrCat("path \"", relative, "\" is a link that leaves ",
                                                   directory, "; put the file itself there"));
  }
  return file.string();
}

absl::StatusOr<std::string> Sha256OfFile(const std::string& path) {
  Sha256Digest digest;
  RETURN_IF_ERROR(
      ReadInPieces(path, [&](const char* data, size_t size) { digest.Update(data, size); }));
  return digest.Hex();
}

std::string Sha256(absl::string_view contents) {
  Sha256Digest digest;
  digest.Update(contents.data(), contents.size());
  return digest.Hex();
}

}  // namespace baton

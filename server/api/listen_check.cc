#include "server/api/listen_check.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace baton::api {
namespace {

// errno of binding to `port` on every address of `family`; 0 if it worked.
int TryBind(int family, int port) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_storage address{};
  socklen_t size = 0;
  if (family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<uint16_t>(port));
    size = sizeof(v6);
  } else {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(port));
    size = sizeof(v4);
  }
  const int error = bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

absl::Status CheckPortFree(int port, const std::string& flag) {
  if (port == 0) return absl::OkStatus();
  int error = TryBind(AF_INET6, port);
  if (error == EAFNOSUPPORT || error == EADDRNOTAVAIL) error = TryBind(AF_INET, port);
  switch (error) {
    case 0:
      return absl::OkStatus();
    case EADDRINUSE:
      return absl::FailedPreconditionError(
          absl::StrCat("port ", port, " is in use by another program; choose another with ", flag));
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(
          "port ", port, " may not be used by this user; choose one over 1023 with ", flag));
    default:
      return absl::UnavailableError(
          absl::StrCat("port ", port, " (", flag, ") cannot be used: ", std::strerror(error)));
  }
}

absl::Status CheckSocketFree(const std::string& path, const std::string& flag) {
  const auto fault = [&](absl::string_view why) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on the Unix socket ", path, " (", flag, "): ", why));
  };
  sockaddr_un address{};
  if (path.size() >= sizeof(address.sun_path)) {
    return fault(absl::StrCat("the path is longer than ", sizeof(address.sun_path) - 1, " bytes"));
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fault(std::strerror(errno));
  int error = connect(fd, generic, sizeof(address)) == 0 ? EADDRINUSE : errno;
  if (error == ECONNREFUSED) {  // a socket file without a server, or another kind of file
    struct stat info;
    const bool stale = lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
    error = stale && unlink(path.c_str()) == 0 ? 0 : EEXIST;
  }
  if (error == ENOENT) {  // nothing there: can it be made?
    error = bind(fd, generic, sizeof(address)) == 0 ? 0 : errno;
    if (error == 0) unlink(path.c_str());
  }
  close(fd);
  if (error == EADDRINUSE) return fault("another server listens on it");
  return error == 0 ? absl::OkStatus() : fault(std::strerror(error));
}

absl::Status CheckIdleSeconds(int seconds) {
  constexpr int kDay = 24 * 3600;
  if (seconds >= 1 && seconds <= kDay) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--connection_idle_seconds=", seconds, ": must be from 1 to ", kDay));
}

}  // namespace baton::api

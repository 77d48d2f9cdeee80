#include "server/api/gate.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace baton::api {
namespace {

bool IsLocal(absl::string_view peer) {
  return absl::StartsWith(peer, "unix:") || absl::StartsWith(peer, "ipv4:127.") ||
         absl::StartsWith(peer, "ipv6:[::1]") || absl::StartsWith(peer, "ipv6:%5B::1%5D") ||
         absl::StartsWith(peer, "ipv6:[::ffff:127.") ||
         absl::StartsWith(peer, "ipv6:%5B::ffff:127.");
}

// "" if it is of another kind.
absl::string_view BearerToken(absl::string_view authorization) {
  constexpr absl::string_view kScheme = "Bearer ";
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) return "";
  return absl::StripAsciiWhitespace(authorization.substr(kScheme.size()));
}

}  // namespace

absl::Status Gate::CheckPeer(absl::string_view peer) const {
  switch (admin_) {
    case AdminAccess::kAll:
      return absl::OkStatus();
    case AdminAccess::kLocal:
      if (IsLocal(peer)) return absl::OkStatus();
      return absl::PermissionDeniedError(
          absl::StrCat("changing what is served is allowed from this machine only (--admin=local); "
                       "the request came from ",
                       peer));
    case AdminAccess::kNobody:
      break;
  }
  return absl::PermissionDeniedError("changing what is served is not allowed (--admin=off)");
}

absl::Status Gate::Check(Access access, absl::string_view peer,
                         absl::string_view authorization) const {
  if (IsOpenTo(access)) return absl::OkStatus();
  const bool admin = access == Access::kAdmin;
  if (admin) RETURN_IF_ERROR(CheckPeer(peer));
  if (secrets_ == nullptr || !(admin ? secrets_->guards_admin() : secrets_->guards_data())) {
    return absl::OkStatus();
  }
  const absl::string_view token = BearerToken(authorization);
  if (token.empty()) {
    return absl::UnauthenticatedError(
        absl::StrCat("this call needs ", admin ? "an admin" : "a",
                     " token: send \"authorization: Bearer TOKEN\" as metadata or header"));
  }
  if (admin ? secrets_->OpensAdmin(token) : secrets_->OpensData(token)) return absl::OkStatus();
  return absl::UnauthenticatedError(
      absl::StrCat("the bearer token is not one that the server knows",
                   admin ? " for changing what is served" : ""));
}

}  // namespace baton::api

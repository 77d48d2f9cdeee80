// Gate: who may make which call, by --admin and by bearer tokens. For gRPC and HTTP. Thread-safe.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/api/secrets.h"

namespace baton::api {

// Who may load, unload, label and reconfigure.
enum class AdminAccess { kAll, kLocal, kNobody };

// Calls by what they take.
enum class Access {
  kOpen,   // health and the like: nothing
  kData,   // a data or admin token, where there are such
  kAdmin,  // what --admin says, and an admin token where there are such
};

class Gate {
 public:
  // `secrets` may be null: there are no tokens. It outlives this.
  Gate(AdminAccess admin, const Secrets* secrets) : admin_(admin), secrets_(secrets) {}

  // True if every caller may: Check would say so, too.
  bool IsOpenTo(Access access) const {
    return access == Access::kOpen ||
           (access == Access::kData && (secrets_ == nullptr || !secrets_->guards_data()));
  }

  // kPermissionDenied where --admin does not let `peer`, kUnauthenticated where the token is
  // missing or wrong. `peer` as gRPC writes it: "ipv4:127.0.0.1:1234", "ipv6:[::1]:1234", "unix:…";
  // `authorization`: the header of that name, "Bearer TOKEN".
  absl::Status Check(Access access, absl::string_view peer, absl::string_view authorization) const;

 private:
  absl::Status CheckPeer(absl::string_view peer) const;

  const AdminAccess admin_;
  const Secrets* const secrets_;
};

}  // namespace baton::api

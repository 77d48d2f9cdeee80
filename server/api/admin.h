// Admin: the requests that change what is served, and who may make them. For gRPC and HTTP: the
// functions take messages and call back. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "proto/baton/admin.grpc.pb.h"
#include "proto/grpc_service.pb.h"
#include "proto/tensorflow_serving/apis/model_management.pb.h"
#include "server/api/call_loop.h"
#include "server/serving/model_server.h"

namespace baton::api {

enum class AdminAccess { kAll, kLocal, kNobody };

class Admin {
 public:
  // Called once, on any thread; may be called before the function returns.
  using Done = std::function<void(const absl::Status&)>;

  Admin(serving::ModelServer& server, AdminAccess access) : server_(server), access_(access) {}

  void Register(grpc::ServerBuilder& builder) { builder.RegisterService(&service_); }
  // REQUIRES: the gRPC server has been built.
  void Serve(CallLoop& loop);

  // kPermissionDenied unless a caller at `peer` may change what is served. `peer`: as gRPC writes
  // it, "ipv4:127.0.0.1:1234", "ipv6:[::1]:1234", "unix:…".
  absl::Status Check(absl::string_view peer) const;

  // These check the caller and then do as ModelServer's function of that name.
  void ReloadConfig(const tensorflow::serving::ReloadConfigRequest& request, absl::string_view peer,
                    Done done);
  void LoadModel(const inference::RepositoryModelLoadRequest& request, absl::string_view peer,
                 Done done);
  void UnloadModel(const inference::RepositoryModelUnloadRequest& request, absl::string_view peer,
                   Done done);
  void SetLabel(const SetLabelRequest& request, absl::string_view peer, Done done);

 private:
  serving::ModelServer& server_;
  const AdminAccess access_;
  AdminService::AsyncService service_;
};

}  // namespace baton::api

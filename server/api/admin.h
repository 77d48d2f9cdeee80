// Admin: the requests that change what is served. For gRPC and HTTP: the functions take messages of
// callers that Gate has let through, and call back. Thread-safe.
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

class Admin {
 public:
  // Called once, on any thread; may be called before the function returns.
  using Done = std::function<void(const absl::Status&)>;

  explicit Admin(serving::ModelServer& server) : server_(server) {}

  void Register(grpc::ServerBuilder& builder) { builder.RegisterService(&service_); }
  // REQUIRES: the gRPC server has been built.
  void Serve(CallLoop& loop);

  // These do as ModelServer's function of that name, and log who has asked for it.
  void ReloadConfig(const tensorflow::serving::ReloadConfigRequest& request, absl::string_view peer,
                    Done done);
  void LoadModel(const inference::RepositoryModelLoadRequest& request, absl::string_view peer,
                 Done done);
  void UnloadModel(const inference::RepositoryModelUnloadRequest& request, absl::string_view peer,
                   Done done);
  void SetLabel(const SetLabelRequest& request, absl::string_view peer, Done done);

 private:
  serving::ModelServer& server_;
  AdminService::AsyncService service_;
};

}  // namespace baton::api

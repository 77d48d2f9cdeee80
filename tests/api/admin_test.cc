#include "server/api/admin.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/file.h"
#include "proto/baton/admin.grpc.pb.h"
#include "proto/grpc_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/model_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"
#include "server/api/grpc_server.h"
#include "server/api/http_server.h"
#include "tests/api/api_fixture.h"
#include "tests/support/model_builder.h"
#include "tests/support/temp_dir.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineRequest;
using ::testing::HasSubstr;

// A real server of real models under explicit control.
class AdminCalls : public ::testing::Test {
 protected:
  void Start(AdminAccess access) {
    Publish(directory_ / "affine", 1);
    serving::ModelServerOptions options;
    options.repository = directory_.path();
    options.control = serving::ModelServerOptions::Control::kExplicit;
    options.workers = 1;
    models_.emplace(options);
    BATON_CHECK(models_->Start().ok());
    GrpcOptions grpc_options;
    grpc_options.port = 0;
    grpc_options.admin = access;
    auto grpc = GrpcServer::Start(grpc_options, *models_);
    BATON_CHECK(grpc.ok());
    grpc_ = *std::move(grpc);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", grpc_->port()),
                                   grpc::InsecureChannelCredentials());
  }
  static void Publish(const std::string& model, int64_t version) {
    const std::string path = absl::StrCat(model, "/", version);
    std::filesystem::create_directories(path);
    BATON_CHECK(
        WriteFileDurably(path + "/model.onnx", testing::AffineModel(2, static_cast<float>(version)))
            .ok());
  }

  grpc::Status Load(const std::string& model,
                    const std::map<std::string, std::string>& parameters = {}) {
    inference::RepositoryModelLoadRequest request;
    request.set_model_name(model);
    for (const auto& [name, value] : parameters) {
      (*request.mutable_parameters())[name].set_string_param(value);
    }
    grpc::ClientContext context;
    inference::RepositoryModelLoadResponse response;
    return inference::GRPCInferenceService::NewStub(channel_)->RepositoryModelLoad(
        &context, request, &response);
  }
  grpc::Status Unload(const std::string& model) {
    inference::RepositoryModelUnloadRequest request;
    request.set_model_name(model);
    (*request.mutable_parameters())["unload_dependents"].set_bool_param(true);
    grpc::ClientContext context;
    inference::RepositoryModelUnloadResponse response;
    return inference::GRPCInferenceService::NewStub(channel_)->RepositoryModelUnload(
        &context, request, &response);
  }
  grpc::Status SetLabel(const std::string& model, const std::string& label, int64_t version) {
    SetLabelRequest request;
    request.set_model_name(model);
    request.set_label(label);
    request.set_version(version);
    grpc::ClientContext context;
    SetLabelResponse response;
    return AdminService::NewStub(channel_)->SetLabel(&context, request, &response);
  }
  grpc::Status Reload(const tensorflow::serving::ReloadConfigRequest& request) {
    grpc::ClientContext context;
    tensorflow::serving::ReloadConfigResponse response;
    return tensorflow::serving::ModelService::NewStub(channel_)->HandleReloadConfigRequest(
        &context, request, &response);
  }
  // The first value of the answer to 1, 2, 3, 4 is 2 + the version.
  grpc::Status Predict(const std::string& model, const std::string& label, float* first) {
    auto request = AffineRequest(model, 1);
    if (!label.empty()) request.mutable_model_spec()->set_version_label(label);
    grpc::ClientContext context;
    tensorflow::serving::PredictResponse response;
    const grpc::Status status = tensorflow::serving::PredictionService::NewStub(channel_)->Predict(
        &context, request, &response);
    if (status.ok()) *first = response.outputs().at("y").float_val(0);
    return status;
  }

  testing::TempDir directory_;
  std::optional<serving::ModelServer> models_;
  std::unique_ptr<GrpcServer> grpc_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(AdminCalls, LoadLabelAndUnload) {
  Start(AdminAccess::kLocal);
  float first = 0;
  EXPECT_EQ(Predict("affine", "", &first).error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(Load("affine").ok());
  ASSERT_TRUE(Predict("affine", "", &first).ok());
  EXPECT_EQ(first, 3);

  ASSERT_TRUE(SetLabel("affine", "stable", 1).ok());
  Publish(directory_ / "affine", 2);
  ASSERT_TRUE(Load("affine").ok());
  ASSERT_TRUE(Predict("affine", "", &first).ok());
  EXPECT_EQ(first, 4);
  ASSERT_TRUE(Predict("affine", "stable", &first).ok());
  EXPECT_EQ(first, 3);
  EXPECT_EQ(SetLabel("affine", "stable", 7).error_code(), grpc::StatusCode::NOT_FOUND);

  ASSERT_TRUE(Unload("affine").ok());
  EXPECT_FALSE(Predict("affine", "", &first).ok());
}

TEST_F(AdminCalls, WrongLoadsSayWhatIsWrong) {
  Start(AdminAccess::kAll);
  EXPECT_EQ(Load("nowhere").error_code(), grpc::StatusCode::NOT_FOUND);
  const grpc::Status file = Load("affine", {{"file:1/model.onnx", "…"}});
  EXPECT_EQ(file.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(file.error_message(), HasSubstr("file:1/model.onnx"));
  EXPECT_THAT(Load("affine", {{"config", "{"}}).error_message(), HasSubstr("config sent with"));
  EXPECT_EQ(Unload("affine").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AdminCalls, ReloadConfigAddsModels) {
  Start(AdminAccess::kLocal);
  testing::TempDir elsewhere;
  Publish(elsewhere / "a", 5);
  tensorflow::serving::ReloadConfigRequest request;
  EXPECT_EQ(Reload(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  auto& model = *request.mutable_config()->mutable_model_config_list()->add_config();
  model.set_name("a");
  EXPECT_THAT(Reload(request).error_message(), HasSubstr("base_path"));
  model.set_base_path(elsewhere / "a");
  (*model.mutable_version_labels())["stable"] = 5;
  const grpc::Status reloaded = Reload(request);
  ASSERT_TRUE(reloaded.ok()) << reloaded.error_message();
  float first = 0;
  ASSERT_TRUE(Predict("a", "stable", &first).ok());
  EXPECT_EQ(first, 7);
}

TEST_F(AdminCalls, LoadAndUnloadOverHttp) {
  Start(AdminAccess::kLocal);
  HttpOptions options;
  options.port = 0;
  const auto http = HttpServer::Start(options, *models_);
  ASSERT_TRUE(http.ok()) << http.status();
  httplib::Client client("127.0.0.1", (*http)->port());
  const auto post = [&](const std::string& path, const std::string& body) {
    const auto result = client.Post(path.c_str(), body, "application/json");
    return result ? absl::StrCat(result->status, " ", result->body) : std::string("no reply");
  };
  EXPECT_EQ(post("/v2/repository/models/affine/load", ""), "200 {}\n");
  float first = 0;
  EXPECT_TRUE(Predict("affine", "", &first).ok());
  EXPECT_EQ(post("/v2/repository/models/affine/load",
                 R"({"parameters": {"config": "{\"max_batch_size\": 2}"}})"),
            "200 {}\n");
  EXPECT_EQ((*models_->registry().Acquire("affine", {}))->max_batch_size(), 2);
  EXPECT_THAT(post("/v2/repository/models/affine/load", R"({"parameters": {"config": 7}})"),
              HasSubstr("400 "));
  EXPECT_THAT(post("/v2/repository/models/nowhere/load", "{}"), HasSubstr("404 "));
  EXPECT_EQ(
      post("/v2/repository/models/affine/unload", R"({"parameters": {"unload_dependents": true}})"),
      "200 {}\n");
  EXPECT_FALSE(Predict("affine", "", &first).ok());
}

TEST_F(AdminCalls, AreRefusedWhereNobodyMay) {
  Start(AdminAccess::kNobody);
  for (const grpc::Status& status : {Load("affine"), Unload("affine"), SetLabel("affine", "a", 1),
                                     Reload(tensorflow::serving::ReloadConfigRequest())}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_THAT(status.error_message(), HasSubstr("--admin=off"));
  }
}

}  // namespace
}  // namespace baton::api

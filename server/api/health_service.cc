#include "server/api/health_service.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "proto/grpc_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/model_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"
#include "server/api/grpc_status.h"
#include "server/api/unary_call.h"

namespace baton::api {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// How soon a watcher hears of a change. A check costs less than a microsecond.
constexpr std::chrono::milliseconds kWatchInterval(100);

}  // namespace

// One Watch: arrived → (write → (alarm → look)…)… → finished. All on the loop's thread; one
// operation is pending at any time, besides the event that says that the client has gone.
class HealthService::WatchCall {
 public:
  static void Post(HealthService& health, CallLoop& loop) {
    auto* call = new WatchCall(health, loop);
    call->context_.AsyncNotifyWhenDone(&call->done_tag_);
    health.service_.RequestWatch(&call->context_, &call->request_, &call->writer_, loop.queue(),
                                 loop.queue(), &call->arrived_tag_);
  }

 private:
  WatchCall(HealthService& health, CallLoop& loop)
      : health_(health),
        loop_(loop),
        writer_(&context_),
        arrived_tag_(*this, &WatchCall::OnArrived),
        written_tag_(*this, &WatchCall::OnWritten),
        alarm_tag_(*this, &WatchCall::OnAlarm),
        finished_tag_(*this, &WatchCall::OnFinished),
        done_tag_(*this, &WatchCall::OnDone) {
    loop_.CallPosted();
  }
  ~WatchCall() { loop_.CallGone(); }

  void OnArrived(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    Post(health_, loop_);
    Write(Look());
  }
  void OnWritten(bool ok) { ok ? Wait() : Finish(); }
  void OnAlarm(bool) {
    const Status now = Look();
    if (gone_ || health_.closed_) {
      Finish();
    } else if (now != told_) {
      Write(now);
    } else {
      Wait();
    }
  }
  void OnFinished(bool) {
    finished_ = true;
    if (gone_) delete this;
  }
  void OnDone(bool) {
    gone_ = true;
    if (finished_) {
      delete this;
    } else {
      alarm_.Cancel();  // harmless where none is set
    }
  }

  Status Look() const {
    return health_.StatusOf(request_.service()).value_or(HealthCheckResponse::SERVICE_UNKNOWN);
  }
  void Write(Status status) {
    told_ = status;
    HealthCheckResponse response;
    response.set_status(status);
    writer_.Write(response, &written_tag_);
  }
  void Wait() {
    if (gone_) return Finish();
    alarm_.Set(loop_.queue(), std::chrono::system_clock::now() + kWatchInterval, &alarm_tag_);
  }
  void Finish() {
    writer_.Finish(ToGrpcStatus(absl::UnavailableError("the server is shutting down")),
                   &finished_tag_);
  }

  HealthService& health_;
  CallLoop& loop_;
  grpc::ServerContext context_;
  HealthCheckRequest request_;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer_;
  grpc::Alarm alarm_;
  Status told_ = HealthCheckResponse::UNKNOWN;
  bool gone_ = false;
  bool finished_ = false;
  MemberTag<WatchCall> arrived_tag_;
  MemberTag<WatchCall> written_tag_;
  MemberTag<WatchCall> alarm_tag_;
  MemberTag<WatchCall> finished_tag_;
  MemberTag<WatchCall> done_tag_;
};

std::optional<HealthService::Status> HealthService::StatusOf(const std::string& name) const {
  bool serving = false;
  // The services' own names stand for the server, too: TensorFlow Serving's probes ask for them.
  if (name.empty() || name == tensorflow::serving::PredictionService::service_full_name() ||
      name == tensorflow::serving::ModelService::service_full_name() ||
      name == inference::GRPCInferenceService::service_full_name()) {
    serving = server_.Ready();
  } else {
    const auto model = server_.registry().Status(name);
    if (!model.ok()) return std::nullopt;
    serving = std::any_of(model->versions.begin(), model->versions.end(), [](const auto& version) {
      return version.state == serving::VersionState::kReady;
    });
  }
  return serving && !not_serving_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void HealthService::Serve(CallLoop& loop) {
  using Service = grpc::health::v1::Health::AsyncService;
  const auto check = [this](auto& call) {
    const std::string& name = call.request().service();
    const std::optional<Status> status = StatusOf(name);
    if (!status.has_value()) {
      return call.Finish(absl::NotFoundError(
          absl::StrCat("no service named \"", absl::CHexEscape(name.substr(0, 100)),
                       "\"; health knows \"\" (the server) and each model's name")));
    }
    call.response().set_status(*status);
    call.Finish(absl::OkStatus());
  };
  ServeUnary(loop, service_, &Service::RequestCheck, 1, check, Access::kOpen);
  WatchCall::Post(*this, loop);
}

}  // namespace baton::api

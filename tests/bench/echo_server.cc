// echo_server: the least that a gRPC server can do with a Predict or ModelInfer: one completion
// queue, one thread, the message parsed, an answer of a model's size sent back. What Baton's own
// work costs is measured against it.
//   echo_server PORT [VALUES]     PORT 0: any; prints "listening on port N"; stops with SIGTERM
#include <grpcpp/grpcpp.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "proto/grpc_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"

namespace {

using Inference = inference::GRPCInferenceService::AsyncService;
using Prediction = tensorflow::serving::PredictionService::AsyncService;

constexpr int kPosted = 64;  // calls of each method that wait to be matched

class Event {
 public:
  virtual ~Event() = default;
  virtual void Happen(bool ok) = 0;
};

struct Answers {
  int values = 10;

  void Fill(const tensorflow::serving::PredictRequest& request,
            tensorflow::serving::PredictResponse& response) const {
    response.mutable_model_spec()->set_name(request.model_spec().name());
    response.mutable_model_spec()->mutable_version()->set_value(1);
    tensorflow::TensorProto& y = (*response.mutable_outputs())["y"];
    y.set_dtype(tensorflow::DT_FLOAT);
    y.mutable_tensor_shape()->add_dim()->set_size(1);
    y.mutable_tensor_shape()->add_dim()->set_size(values);
    y.mutable_tensor_content()->resize(sizeof(float) * static_cast<size_t>(values));
  }
  void Fill(const inference::ModelInferRequest& request,
            inference::ModelInferResponse& response) const {
    response.set_model_name(request.model_name());
    response.set_model_version("1");
    inference::ModelInferResponse::InferOutputTensor& y = *response.add_outputs();
    y.set_name("y");
    y.set_datatype("FP32");
    y.add_shape(1);
    y.add_shape(values);
    response.add_raw_output_contents()->resize(sizeof(float) * static_cast<size_t>(values));
  }
};

template <typename Service, typename Base, typename Request, typename Response>
class Call final : public Event {
 public:
  using Writer = grpc::ServerAsyncResponseWriter<Response>;
  using Method = void (Base::*)(grpc::ServerContext*, Request*, Writer*, grpc::CompletionQueue*,
                                grpc::ServerCompletionQueue*, void*);

  Call(Service& service, Method method, grpc::ServerCompletionQueue& queue, const Answers& answers)
      : service_(service), method_(method), queue_(queue), answers_(answers), writer_(&context_) {
    (service_.*method_)(&context_, &request_, &writer_, &queue_, &queue_, this);
  }
  void Happen(bool ok) override {
    if (!ok || answered_) {
      delete this;
      return;
    }
    answered_ = true;
    new Call(service_, method_, queue_, answers_);
    answers_.Fill(request_, response_);
    writer_.Finish(response_, grpc::Status::OK, this);
  }

 private:
  Service& service_;
  const Method method_;
  grpc::ServerCompletionQueue& queue_;
  const Answers& answers_;
  grpc::ServerContext context_;
  Request request_;
  Response response_;
  Writer writer_;
  bool answered_ = false;
};

template <typename Service, typename Base, typename Request, typename Response>
void Post(Service& service,
          void (Base::*method)(grpc::ServerContext*, Request*,
                               grpc::ServerAsyncResponseWriter<Response>*, grpc::CompletionQueue*,
                               grpc::ServerCompletionQueue*, void*),
          grpc::ServerCompletionQueue& queue, const Answers& answers) {
  for (int i = 0; i < kPosted; ++i) {
    new Call<Service, Base, Request, Response>(service, method, queue, answers);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: echo_server PORT [VALUES]\n";
    return 2;
  }
  // As baton-server does, so that what is compared is not settings of the libraries.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Answers answers;
  if (argc == 3) answers.values = std::atoi(argv[2]);

  Prediction prediction;
  Inference inference;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.SetMaxReceiveMessageSize(64 << 20);
  builder.AddListeningPort(std::string("[::]:") + argv[1], grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&prediction);
  builder.RegisterService(&inference);
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::cerr << "echo_server: cannot listen on port " << argv[1] << "\n";
    return 1;
  }
  Post(prediction, &Prediction::RequestPredict, *queue, answers);
  Post(inference, &Inference::RequestModelInfer, *queue, answers);
  std::cout << "listening on port " << port << std::endl;
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<Event*>(tag)->Happen(ok);
}

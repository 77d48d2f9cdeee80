// TensorFlow Serving's calls for compute, from request message to reply, for gRPC and REST. Safe on
// messages of any content. Each counts the request as `terms.method`, runs it, and calls `done`;
// request and response outlive that.
//
// A signature name leads through the model's signature map (repository::Signatures); "" means
// "serving_default". Classify, Regress and MultiInference take each input of the model from the
// feature of every example that its signature names.
//
// Those in …On run on the servable given, whatever model, version or label the request names.
//
// Errors: kNotFound, kUnavailable as Registry::Acquire; kInvalidArgument for an unknown signature
// or one of another method, for tensors that do not fit (as InputCheck says), for features that are
// missing or do not fit (names the example, the feature, what was found and what is expected), and
// for a model whose outputs are not what the call returns; those of serving::Servable::Submit and
// serving::Task::done.
#pragma once

#include <memory>

#include "proto/tensorflow_serving/apis/classification.pb.h"
#include "proto/tensorflow_serving/apis/inference.pb.h"
#include "proto/tensorflow_serving/apis/predict.pb.h"
#include "proto/tensorflow_serving/apis/regression.pb.h"
#include "server/api/run.h"
#include "server/serving/model_server.h"
#include "server/serving/servable.h"

namespace baton::api {

void Predict(serving::ModelServer& server, const tensorflow::serving::PredictRequest& request,
             const CallTerms& terms, tensorflow::serving::PredictResponse& response,
             const Done& done);
void PredictOn(const std::shared_ptr<serving::Servable>& servable,
               const tensorflow::serving::PredictRequest& request, const CallTerms& terms,
               tensorflow::serving::PredictResponse& response, const Done& done);

// Classes in the order of the model's output, with their scores; labels from the signature, from
// the output's label_filename, or else the class's index.
void Classify(serving::ModelServer& server,
              const tensorflow::serving::ClassificationRequest& request, const CallTerms& terms,
              tensorflow::serving::ClassificationResponse& response, const Done& done);
void ClassifyOn(const std::shared_ptr<serving::Servable>& servable,
                const tensorflow::serving::ClassificationRequest& request, const CallTerms& terms,
                tensorflow::serving::ClassificationResponse& response, const Done& done);

void Regress(serving::ModelServer& server, const tensorflow::serving::RegressionRequest& request,
             const CallTerms& terms, tensorflow::serving::RegressionResponse& response,
             const Done& done);
void RegressOn(const std::shared_ptr<serving::Servable>& servable,
               const tensorflow::serving::RegressionRequest& request, const CallTerms& terms,
               tensorflow::serving::RegressionResponse& response, const Done& done);

// All tasks on one version of one model. Signatures whose inputs come from the same features share
// one execution.
void MultiInference(serving::ModelServer& server,
                    const tensorflow::serving::MultiInferenceRequest& request,
                    const CallTerms& terms, tensorflow::serving::MultiInferenceResponse& response,
                    const Done& done);
void MultiInferenceOn(const std::shared_ptr<serving::Servable>& servable,
                      const tensorflow::serving::MultiInferenceRequest& request,
                      const CallTerms& terms, tensorflow::serving::MultiInferenceResponse& response,
                      const Done& done);

}  // namespace baton::api

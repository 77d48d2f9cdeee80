// Open Inference Protocol's inference, from request message to reply: for ModelInfer, for each
// request of ModelStreamInfer, and for REST. Safe on messages of any content.
#pragma once

#include "proto/grpc_service.pb.h"
#include "server/api/run.h"
#include "server/serving/model_server.h"

namespace baton::api {

// The version that `version` names: a number, or anything else for a label; "" for the latest.
serving::VersionChoice ChoiceOf(const std::string& version);

// Counts the request as `terms.method`, runs it, and calls `done`; request and response outlive
// that. The deadline and priority of `terms` are narrowed by the request's parameters "timeout"
// (microseconds) and "priority". An output with the parameter "classification" comes as its
// highest-valued classes (see oip_classification.h).
// Errors: kNotFound, kUnavailable as Registry::Acquire; kInvalidArgument for tensors or parameters
// that do not fit; kUnimplemented for shared memory and sequences; those of
// serving::Servable::Submit and serving::Task::done.
void Infer(serving::ModelServer& server, const inference::ModelInferRequest& request,
           CallTerms terms, inference::ModelInferResponse& response, const Done& done);

}  // namespace baton::api

#include "server/api/oip_inference.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/api/oip_classification.h"
#include "server/api/oip_codec.h"

namespace baton::api {
namespace {

using inference::InferParameter;
using inference::ModelInferRequest;

// A parameter that is a number; 0 if there is none.
absl::StatusOr<int64_t> NumberOf(const ModelInferRequest& request, const char* name,
                                 const serving::Servable& servable) {
  const auto found = request.parameters().find(name);
  if (found == request.parameters().end()) return 0;
  const InferParameter& parameter = found->second;
  constexpr int64_t kMost = int64_t{1} << 40;  // 12 days in microseconds
  int64_t value = -1;
  if (parameter.parameter_choice_case() == InferParameter::kInt64Param) {
    value = parameter.int64_param();
  } else if (parameter.parameter_choice_case() == InferParameter::kUint64Param) {
    value = static_cast<int64_t>(
        std::min<uint64_t>(parameter.uint64_param(), static_cast<uint64_t>(kMost) + 1));
  }
  if (value >= 0 && value <= kMost) return value;
  return absl::InvalidArgumentError(absl::StrCat(Describe(servable), ": parameter \"", name,
                                                 "\" must be an int64_param from 0 to ", kMost));
}

// Sets the call's timeout and priority as the request's parameters say.
absl::Status ReadTerms(const ModelInferRequest& request, const serving::Servable& servable,
                       CallTerms& terms) {
  if (request.parameters().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t timeout_us, NumberOf(request, "timeout", servable));
  terms.timeout = std::chrono::microseconds(timeout_us);
  ASSIGN_OR_RETURN(const int64_t priority, NumberOf(request, "priority", servable));
  terms.priority = static_cast<int>(std::min<int64_t>(priority, 1 << 30));
  return absl::OkStatus();
}

bool IsSet(const InferParameter& parameter) {
  switch (parameter.parameter_choice_case()) {
    case InferParameter::kBoolParam:
      return parameter.bool_param();
    case InferParameter::kInt64Param:
      return parameter.int64_param() != 0;
    case InferParameter::kUint64Param:
      return parameter.uint64_param() != 0;
    case InferParameter::kStringParam:
      return !parameter.string_param().empty();
    case InferParameter::kDoubleParam:
      return parameter.double_param() != 0;
    case InferParameter::PARAMETER_CHOICE_NOT_SET:
      break;
  }
  return false;
}

// A sequence's requests need state between them; to overlook that would answer wrongly.
absl::Status NoSequence(const ModelInferRequest& request, const serving::Servable& servable) {
  if (request.parameters().empty()) return absl::OkStatus();
  for (const char* name : {"sequence_id", "sequence_start", "sequence_end"}) {
    const auto found = request.parameters().find(name);
    if (found == request.parameters().end() || !IsSet(found->second)) continue;
    return absl::UnimplementedError(
        absl::StrCat(Describe(servable), ": parameter \"", name,
                     "\": sequences (stateful models) are not supported; leave it out and send the "
                     "state as an input"));
  }
  return absl::OkStatus();
}

}  // namespace

serving::VersionChoice ChoiceOf(const std::string& version) {
  serving::VersionChoice choice;
  int64_t number = 0;
  if (version.empty()) return choice;
  if (absl::SimpleAtoi(version, &number)) {
    choice.version = number;
  } else {
    choice.label = version;
  }
  return choice;
}

void Infer(serving::ModelServer& server, const ModelInferRequest& request, CallTerms terms,
           inference::ModelInferResponse& response, const Done& done) {
  auto servable =
      AcquireCounted(server, request.model_name(), ChoiceOf(request.model_version()), terms.method);
  if (!servable.ok()) return done(servable.status());
  const auto refuse = [&](const absl::Status& status) {
    RecordAnswer(**servable, terms, status);
    done(status);
  };
  absl::Status status = NoSequence(request, **servable);
  if (status.ok()) status = ReadTerms(request, **servable, terms);
  if (!status.ok()) return refuse(status);
  auto outputs = InferOutputs(request, **servable);
  if (!outputs.ok()) return refuse(outputs.status());
  auto inputs = DecodeInferInputs(request, **servable, terms.max_tensor_bytes);
  if (!inputs.ok()) return refuse(inputs.status());
  Run(
      *servable, terms, *std::move(inputs),
      [&request, &response, outputs = *std::move(outputs)](const serving::Servable& by,
                                                           absl::Span<const TensorView> results) {
        response.set_model_name(by.model());
        response.set_model_version(absl::StrCat(by.version()));
        response.set_id(request.id());
        for (const WantedOutput& output : outputs) {
          const TensorView& result = results[output.index];
          if (output.classes > 0) {
            RETURN_IF_ERROR(AddClasses(by, output.index, result, output.classes, response));
          } else {
            AddInferOutput(by.signature().outputs[output.index].name, result, response);
          }
        }
        return absl::OkStatus();
      },
      done);
}

}  // namespace baton::api

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/api/model_status.h"
#include "server/api/tfs_codec.h"
#include "server/api/tfs_inference.h"
#include "server/api/tfs_signature.h"

namespace baton::api {

void Predict(serving::ModelServer& server, const tensorflow::serving::PredictRequest& request,
             const CallTerms& terms, tensorflow::serving::PredictResponse& response,
             const Done& done) {
  const tensorflow::serving::ModelSpec& spec = request.model_spec();
  const auto servable = AcquireCounted(server, spec.name(), ChoiceOf(spec), terms.method);
  if (!servable.ok()) return done(servable.status());
  PredictOn(*servable, request, terms, response, done);
}

void PredictOn(const std::shared_ptr<serving::Servable>& servable,
               const tensorflow::serving::PredictRequest& request, const CallTerms& terms,
               tensorflow::serving::PredictResponse& response, const Done& done) {
  const auto refuse = [&](const absl::Status& status) {
    RecordAnswer(*servable, terms, status);
    done(status);
  };
  const auto signature =
      FindSignature(request.model_spec(), *servable, repository::SignatureMethod::kPredict);
  if (!signature.ok()) return refuse(signature.status());
  auto outputs = PredictOutputs(request, *servable, *signature);
  if (!outputs.ok()) return refuse(outputs.status());
  auto inputs = DecodePredictInputs(request, *servable, terms.max_tensor_bytes, *signature);
  if (!inputs.ok()) return refuse(inputs.status());
  Run(
      servable, terms, *std::move(inputs),
      [&request, &response, outputs = *std::move(outputs)](const serving::Servable& by,
                                                           absl::Span<const TensorView> results) {
        SetModelSpec(by, SignatureName(request.model_spec()), *response.mutable_model_spec());
        auto& map = *response.mutable_outputs();
        for (const ReplyOutput& output : outputs) {
          EncodeTfTensor(results[output.index], map[std::string(output.name)]);
        }
        return absl::OkStatus();
      },
      done);
}

}  // namespace baton::api

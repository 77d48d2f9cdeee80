#include "server/api/tfs_warm_up.h"

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "proto/tensorflow_serving/apis/prediction_log.pb.h"
#include "server/api/tf_record.h"
#include "server/api/tfs_inference.h"

namespace baton::api {
namespace {

using tensorflow::serving::PredictionLog;

constexpr char kFile[] = "assets.extra/tf_serving_warmup_requests";
constexpr size_t kMostRecords = 1000;

// One of the calls of tfs_inference.h, on a servable that runs it at once.
template <typename Request, typename Response>
using Call = void (*)(const std::shared_ptr<serving::Servable>& servable, const Request& request,
                      const CallTerms& terms, Response& response, const Done& done);

template <typename Request, typename Response>
absl::Status RunCall(Call<Request, Response> call,
                     const std::shared_ptr<serving::Servable>& servable, const Request& request,
                     const CallTerms& terms) {
  Response response;
  absl::Status outcome;
  call(servable, request, terms, response,
       [&outcome](const absl::Status& status) { outcome = status; });
  return outcome;
}

absl::Status RunLog(const PredictionLog& log, const std::shared_ptr<serving::Servable>& servable,
                    const CallTerms& terms) {
  switch (log.log_type_case()) {
    case PredictionLog::kPredictLog:
      return RunCall(&PredictOn, servable, log.predict_log().request(), terms);
    case PredictionLog::kPredictStreamedLog:
      if (log.predict_streamed_log().request_size() != 1) {
        return absl::InvalidArgumentError(absl::StrCat("its predict_streamed_log has ",
                                                       log.predict_streamed_log().request_size(),
                                                       " requests; expected 1"));
      }
      return RunCall(&PredictOn, servable, log.predict_streamed_log().request(0), terms);
    case PredictionLog::kClassifyLog:
      return RunCall(&ClassifyOn, servable, log.classify_log().request(), terms);
    case PredictionLog::kRegressLog:
      return RunCall(&RegressOn, servable, log.regress_log().request(), terms);
    case PredictionLog::kMultiInferenceLog:
      return RunCall(&MultiInferenceOn, servable, log.multi_inference_log().request(), terms);
    case PredictionLog::kSessionRunLog:
      return absl::UnimplementedError(
          "it is a session_run_log, and Baton has no TensorFlow sessions; write a predict_log, "
          "classify_log, regress_log or multi_inference_log");
    case PredictionLog::LOG_TYPE_NOT_SET:
      return absl::OkStatus();  // asks for nothing
  }
  return absl::OkStatus();
}

absl::Status RunRecords(absl::string_view contents,
                        const std::shared_ptr<serving::Servable>& servable,
                        const CallTerms& terms) {
  ASSIGN_OR_RETURN(const std::vector<absl::string_view> records, ParseTfRecords(contents));
  if (records.size() > kMostRecords) {
    return absl::InvalidArgumentError(absl::StrCat("it has ", records.size(), " records, at most ",
                                                   kMostRecords, " are allowed"));
  }
  for (size_t i = 0; i < records.size(); ++i) {
    const std::string name = absl::StrCat("record ", i + 1);
    PredictionLog log;
    if (records[i].size() > std::numeric_limits<int>::max() ||
        !log.ParseFromArray(records[i].data(), static_cast<int>(records[i].size()))) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is no tensorflow.serving.PredictionLog"));
    }
    RETURN_IF_ERROR(Annotate(RunLog(log, servable, terms), name));
  }
  return absl::OkStatus();
}

}  // namespace

serving::WarmUpRequests WarmUpRequestsUpTo(size_t max_tensor_bytes) {
  return [max_tensor_bytes](const std::string& version_directory,
                            const std::shared_ptr<serving::Servable>& servable) {
    const std::string path = absl::StrCat(version_directory, "/", kFile);
    const absl::StatusOr<std::string> contents = ReadFile(path);
    if (absl::IsNotFound(contents.status())) return absl::OkStatus();
    if (!contents.ok()) return contents.status();
    CallTerms terms;
    terms.max_tensor_bytes = max_tensor_bytes;
    return Annotate(RunRecords(*contents, servable, terms), path);
  };
}

}  // namespace baton::api

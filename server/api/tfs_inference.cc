#include "server/api/tfs_inference.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "server/api/model_status.h"
#include "server/api/tfs_examples.h"
#include "server/api/tfs_results.h"
#include "server/api/tfs_signature.h"

namespace baton::api {
namespace {

using repository::Signature;
using repository::SignatureMethod;
using tensorflow::serving::ModelSpec;
using tensorflow::serving::MultiInferenceRequest;
using tensorflow::serving::MultiInferenceResponse;

// What Classify and Regress have in common; `make` is MakeClassification or MakeRegression.
template <typename Request, typename Response, typename Make>
void RunExamples(const std::shared_ptr<serving::Servable>& servable, SignatureMethod method,
                 const Request& request, const CallTerms& terms, Response& response, Make make,
                 const Done& done) {
  const auto refuse = [&](const absl::Status& status) {
    RecordAnswer(*servable, terms, status);
    done(status);
  };
  const auto signature = FindSignature(request.model_spec(), *servable, method);
  if (!signature.ok()) return refuse(signature.status());
  const auto results = FindResults(*signature, method, *servable);
  if (!results.ok()) return refuse(results.status());
  auto inputs = DecodeExamples(request.input(), *signature, *servable, terms.max_tensor_bytes);
  if (!inputs.ok()) return refuse(inputs.status());
  Run(
      servable, terms, *std::move(inputs),
      [&request, &response, make, results = *results](const serving::Servable& by,
                                                      absl::Span<const TensorView> outputs) {
        SetModelSpec(by, SignatureName(request.model_spec()), *response.mutable_model_spec());
        return make(results, by, CountExamples(request.input()), outputs,
                    *response.mutable_result());
      },
      done);
}

// One task of a MultiInference.
struct InferenceTask {
  SignatureMethod method;
  const Signature* signature;  // may be null
  std::string name;
  ResultOutputs results;
};

// One MultiInference on its way: its executions end in any order and on any thread.
class MultiRun {
 public:
  MultiRun(std::shared_ptr<serving::Servable> servable, const CallTerms& terms, int runs,
           const Done& done)
      : servable_(std::move(servable)), terms_(terms), done_(done), left_(runs) {}

  // One execution has ended. The last one answers.
  void Ended(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::Status all;
    {
      MutexLock lock(mu_);
      status_.Update(status);
      if (--left_ > 0) return;
      all = status_;
    }
    RecordAnswer(*servable_, terms_, all);
    done_(all);
  }

 private:
  const std::shared_ptr<serving::Servable> servable_;
  const CallTerms terms_;
  const Done done_;
  Mutex mu_;
  int left_ ABSL_GUARDED_BY(mu_);
  absl::Status status_ ABSL_GUARDED_BY(mu_);  // the first error
};

// The model that all tasks ask for. kInvalidArgument if there is none, or several.
absl::StatusOr<const ModelSpec*> CommonSpec(const MultiInferenceRequest& request) {
  if (request.tasks().empty()) {
    return absl::InvalidArgumentError("MultiInference without tasks; send at least one");
  }
  const ModelSpec& first = request.tasks(0).model_spec();
  for (const auto& task : request.tasks()) {
    const ModelSpec& spec = task.model_spec();
    const bool other_version = spec.version_choice_case() != ModelSpec::VERSION_CHOICE_NOT_SET &&
                               (spec.version_choice_case() != first.version_choice_case() ||
                                spec.version().value() != first.version().value() ||
                                spec.version_label() != first.version_label());
    if (spec.name() == first.name() && !other_version) continue;
    const auto named = [](const ModelSpec& s) {
      return absl::StrCat("\"", absl::CHexEscape(s.name().substr(0, 100)), "\"",
                          s.has_version() ? absl::StrCat(" version ", s.version().value()) : "",
                          s.version_label().empty() ? "" : " label ",
                          absl::CHexEscape(s.version_label().substr(0, 100)));
    };
    return absl::InvalidArgumentError(
        absl::StrCat("all tasks of a MultiInference go to one version of one model; the first is "
                     "for ",
                     named(first), ", another for ", named(spec)));
  }
  return &first;
}

absl::StatusOr<InferenceTask> FindTask(const tensorflow::serving::InferenceTask& task,
                                       const serving::Servable& servable) {
  InferenceTask out{SignatureMethod::kClassify, nullptr, SignatureName(task.model_spec()), {}};
  if (task.method_name() == kRegressMethod) {
    out.method = SignatureMethod::kRegress;
  } else if (task.method_name() != kClassifyMethod) {
    return absl::InvalidArgumentError(absl::StrCat(
        Describe(servable), ": task for signature \"", absl::CHexEscape(out.name.substr(0, 100)),
        "\": method_name is \"", absl::CHexEscape(task.method_name().substr(0, 100)),
        "\", expected \"", kClassifyMethod, "\" or \"", kRegressMethod, "\""));
  }
  ASSIGN_OR_RETURN(out.signature, FindSignature(task.model_spec(), servable, out.method));
  ASSIGN_OR_RETURN(out.results, FindResults(out.signature, out.method, servable));
  return out;
}

absl::Status MakeResult(const InferenceTask& task, const serving::Servable& servable,
                        int64_t examples, absl::Span<const TensorView> outputs,
                        tensorflow::serving::InferenceResult& result) {
  SetModelSpec(servable, task.name, *result.mutable_model_spec());
  return task.method == SignatureMethod::kClassify
             ? MakeClassification(task.results, servable, examples, outputs,
                                  *result.mutable_classification_result())
             : MakeRegression(task.results, servable, examples, outputs,
                              *result.mutable_regression_result());
}

// Tasks whose inputs come from the same features: one execution answers all of them.
struct TaskGroup {
  DecodedInputs inputs;
  std::vector<size_t> tasks;
};

absl::StatusOr<std::vector<TaskGroup>> MakeGroups(const MultiInferenceRequest& request,
                                                  const std::vector<InferenceTask>& tasks,
                                                  const serving::Servable& servable,
                                                  size_t max_tensor_bytes) {
  static const std::map<std::string, repository::SignatureInput> kOwn;
  const auto inputs_of = [&](size_t task) -> const auto& {
    return tasks[task].signature == nullptr ? kOwn : tasks[task].signature->inputs;
  };
  std::vector<TaskGroup> groups;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const TaskGroup& group) {
      return inputs_of(group.tasks.front()) == inputs_of(t);
    });
    if (same != groups.end()) {
      same->tasks.push_back(t);
      continue;
    }
    ASSIGN_OR_RETURN(DecodedInputs inputs, DecodeExamples(request.input(), tasks[t].signature,
                                                          servable, max_tensor_bytes));
    groups.push_back({std::move(inputs), {t}});
  }
  return groups;
}

}  // namespace

void Classify(serving::ModelServer& server,
              const tensorflow::serving::ClassificationRequest& request, const CallTerms& terms,
              tensorflow::serving::ClassificationResponse& response, const Done& done) {
  const ModelSpec& spec = request.model_spec();
  const auto servable = AcquireCounted(server, spec.name(), ChoiceOf(spec), terms.method);
  if (!servable.ok()) return done(servable.status());
  ClassifyOn(*servable, request, terms, response, done);
}

void ClassifyOn(const std::shared_ptr<serving::Servable>& servable,
                const tensorflow::serving::ClassificationRequest& request, const CallTerms& terms,
                tensorflow::serving::ClassificationResponse& response, const Done& done) {
  RunExamples(servable, SignatureMethod::kClassify, request, terms, response, &MakeClassification,
              done);
}

void Regress(serving::ModelServer& server, const tensorflow::serving::RegressionRequest& request,
             const CallTerms& terms, tensorflow::serving::RegressionResponse& response,
             const Done& done) {
  const ModelSpec& spec = request.model_spec();
  const auto servable = AcquireCounted(server, spec.name(), ChoiceOf(spec), terms.method);
  if (!servable.ok()) return done(servable.status());
  RegressOn(*servable, request, terms, response, done);
}

void RegressOn(const std::shared_ptr<serving::Servable>& servable,
               const tensorflow::serving::RegressionRequest& request, const CallTerms& terms,
               tensorflow::serving::RegressionResponse& response, const Done& done) {
  RunExamples(servable, SignatureMethod::kRegress, request, terms, response, &MakeRegression, done);
}

void MultiInference(serving::ModelServer& server, const MultiInferenceRequest& request,
                    const CallTerms& terms, MultiInferenceResponse& response, const Done& done) {
  const auto spec = CommonSpec(request);
  if (!spec.ok()) {
    RecordUnserved(server, "", terms.method, spec.status());
    return done(spec.status());
  }
  const auto servable = AcquireCounted(server, (*spec)->name(), ChoiceOf(**spec), terms.method);
  if (!servable.ok()) return done(servable.status());
  MultiInferenceOn(*servable, request, terms, response, done);
}

void MultiInferenceOn(const std::shared_ptr<serving::Servable>& servable,
                      const MultiInferenceRequest& request, const CallTerms& terms,
                      MultiInferenceResponse& response, const Done& done) {
  const auto refuse = [&](const absl::Status& status) {
    RecordAnswer(*servable, terms, status);
    done(status);
  };
  if (const auto spec = CommonSpec(request); !spec.ok()) return refuse(spec.status());
  auto tasks = std::make_shared<std::vector<InferenceTask>>();
  for (const auto& task : request.tasks()) {
    auto found = FindTask(task, *servable);
    if (!found.ok()) return refuse(found.status());
    tasks->push_back(*std::move(found));
    response.add_results();  // before any execution: they fill in their own results only
  }
  auto groups = MakeGroups(request, *tasks, *servable, terms.max_tensor_bytes);
  if (!groups.ok()) return refuse(groups.status());
  const auto run =
      std::make_shared<MultiRun>(servable, terms, static_cast<int>(groups->size()), done);
  const int64_t examples = CountExamples(request.input());
  for (TaskGroup& group : *groups) {
    const absl::Status queued = Submit(
        servable, terms, std::move(group.inputs),
        [run, tasks, &by = *servable, &response, examples, own = std::move(group.tasks)](
            absl::Status status, absl::Span<const TensorView> outputs, const serving::PhaseTimes&) {
          for (const size_t t : own) {
            if (!status.ok()) break;
            status = MakeResult((*tasks)[t], by, examples, outputs,
                                *response.mutable_results(static_cast<int>(t)));
          }
          run->Ended(status);
        });
    if (!queued.ok()) run->Ended(queued);
  }
}

}  // namespace baton::api

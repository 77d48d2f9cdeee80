#include "server/serving/rollout.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/tensor_types.h"

namespace baton::serving {
namespace {

// Requests before medians of times are compared; then again at twice as many, and so on.
constexpr size_t kTimesToCompare = 20;

// A failure that is the version's own: neither the caller's wish nor a server that is busy.
bool IsOwnFault(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
      return false;
    default:
      return true;
  }
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// A number that is neither NaN nor infinite; also of the half types.
template <typename T>
bool IsFinite(T value) {
  if constexpr (kIsHalf<T>) {
    return std::isfinite(value.ToFloat());
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::isfinite(value);
  } else {
    return true;
  }
}

absl::Status CheckFinite(const engine::ValueInfo& info, const TensorView& output) {
  bool finite = true;
  // Types that are no numbers have nothing to check.
  DispatchType(output.type, AllFixed(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto values = output.values<T>();
    finite = std::all_of(values.begin(), values.end(), [](T value) { return IsFinite(value); });
    return absl::OkStatus();
  }).IgnoreError();
  if (finite) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("output \"", info.name, "\" has NaN or infinite values"));
}

absl::Status CheckFinite(const engine::Signature& signature, absl::Span<const TensorView> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (absl::Status status = CheckFinite(signature.outputs[i], outputs[i]); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// Greatest difference over the largest number of `expected`; infinity for another type or shape.
double Divergence(const TensorView& expected, const TensorView& actual) {
  if (expected.type != actual.type || expected.shape != actual.shape) {
    return std::numeric_limits<double>::infinity();
  }
  if (expected.type == DataType::kString) {
    const auto a = expected.values<std::string>(), b = actual.values<std::string>();
    return std::equal(a.begin(), a.end(), b.begin()) ? 0 : std::numeric_limits<double>::infinity();
  }
  double largest = 0, difference = 0;
  DispatchType(expected.type, AllFixed(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto a = expected.values<T>(), b = actual.values<T>();
    for (size_t i = 0; i < a.size(); ++i) {
      const auto x = ConvertElement<double>(a[i]), y = ConvertElement<double>(b[i]);
      largest = std::max(largest, std::abs(x));
      difference = std::max(difference, std::abs(x - y));
    }
    return absl::OkStatus();
  }).IgnoreError();
  if (difference == 0) return 0;
  return difference / std::max(largest, std::numeric_limits<double>::min());
}

bool SameNamesAndTypes(const std::vector<engine::ValueInfo>& a,
                       const std::vector<engine::ValueInfo>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const engine::ValueInfo& x, const engine::ValueInfo& y) {
                      return x.name == y.name && x.type == y.type;
                    });
}

// One may be asked, and answer, in the other's place.
bool SameInterface(const engine::Signature& a, const engine::Signature& b) {
  return SameNamesAndTypes(a.inputs, b.inputs) && SameNamesAndTypes(a.outputs, b.outputs);
}

}  // namespace

// A request that both versions run.
struct Rollout::Comparison {
  std::vector<Tensor> inputs;
  int64_t rows = 1;
  std::vector<Tensor> expected;
};

// Stands for another servable, for one request.
class Rollout::Stand : public Servable {
 public:
  const std::string& model() const override { return target().model(); }
  int64_t version() const override { return target().version(); }
  const engine::Signature& signature() const override { return target().signature(); }
  const repository::ModelConfig& config() const override { return target().config(); }
  int64_t max_batch_size() const override { return target().max_batch_size(); }
  VersionMetrics& metrics() override { return target().metrics(); }

 protected:
  explicit Stand(std::shared_ptr<Rollout> rollout) : rollout_(std::move(rollout)) {}
  virtual Servable& target() const { return *rollout_->stable_; }

  const std::shared_ptr<Rollout> rollout_;
};

// The stable version; what it is asked is then asked of the candidate, too.
class Rollout::Shadowed final : public Stand {
 public:
  explicit Shadowed(std::shared_ptr<Rollout> rollout) : Stand(std::move(rollout)) {}

  absl::Status Submit(Task task) override {
    auto comparison = std::make_shared<Comparison>();
    for (const TensorView& input : task.inputs) comparison->inputs.push_back(Tensor::Copy(input));
    comparison->rows = task.rows;
    task.done = [rollout = rollout_, comparison, done = std::move(task.done)](
                    const absl::Status& status, absl::Span<const TensorView> outputs,
                    const PhaseTimes& times) {
      if (status.ok()) {
        for (const TensorView& output : outputs) {
          comparison->expected.push_back(Tensor::Copy(output));
        }
      }
      done(status, outputs, times);
      if (!status.ok()) return;
      rollout->RecordStable(Stage::kShadow, times.compute);
      rollout->RunShadow(comparison);
    };
    return target().Submit(std::move(task));
  }
};

// The candidate, for one request. An answer that is wrong for sure (an error of its own, NaN) does
// not reach the client: the stable version answers then.
class Rollout::Live final : public Stand {
 public:
  explicit Live(std::shared_ptr<Rollout> rollout)
      : Stand(std::move(rollout)),
        answers_(std::make_shared<std::atomic<Servable*>>(rollout_->candidate_.get())) {}

  absl::Status Submit(Task task) override {
    Task again;
    again.inputs = task.inputs;
    again.rows = task.rows;
    again.deadline = task.deadline;
    again.timeout = task.timeout;
    again.priority = task.priority;
    again.cancelled = task.cancelled;
    task.done = [rollout = rollout_, answers = answers_, again, done = std::move(task.done)](
                    const absl::Status& status, absl::Span<const TensorView> outputs,
                    const PhaseTimes& times) {
      const absl::Status fault =
          status.ok() ? CheckFinite(rollout->candidate_->signature(), outputs) : status;
      if (!IsOwnFault(fault)) {
        done(status, outputs, times);
        if (status.ok()) rollout->RecordCandidate(Stage::kLive, {}, times.compute);
        return;
      }
      Task retry = again;
      const bool comparable =
          SameInterface(rollout->candidate_->signature(), rollout->stable_->signature());
      retry.done = [rollout, answers, fault, done](const absl::Status& second,
                                                   absl::Span<const TensorView> second_outputs,
                                                   const PhaseTimes& second_times) {
        answers->store(rollout->stable_.get());
        done(second, second_outputs, second_times);
        // What fails on both versions is the caller's data.
        if (!IsOwnFault(second)) rollout->RecordCandidate(Stage::kLive, {fault}, -1);
      };
      if (comparable && rollout->stable_->Submit(std::move(retry)).ok()) return;
      done(fault, {}, times);
      rollout->RecordCandidate(Stage::kLive, {fault}, -1);
    };
    return rollout_->candidate_->Submit(std::move(task));
  }

 private:
  // The one that answered, once `done` is called.
  Servable& target() const override { return *answers_->load(); }

  const std::shared_ptr<std::atomic<Servable*>> answers_;
};

// The stable version, whose times are taken.
class Rollout::Measured final : public Stand {
 public:
  explicit Measured(std::shared_ptr<Rollout> rollout) : Stand(std::move(rollout)) {}

  absl::Status Submit(Task task) override {
    task.done = [rollout = rollout_, done = std::move(task.done)](
                    const absl::Status& status, absl::Span<const TensorView> outputs,
                    const PhaseTimes& times) {
      done(status, outputs, times);
      if (status.ok()) rollout->RecordStable(Stage::kLive, times.compute);
    };
    return target().Submit(std::move(task));
  }
};

Rollout::Rollout(const repository::RolloutOptions& options, std::shared_ptr<Servable> stable,
                 std::shared_ptr<Servable> candidate, Decided decided)
    : options_(options),
      stable_(std::move(stable)),
      candidate_(std::move(candidate)),
      decided_(std::move(decided)),
      next_comparison_(kTimesToCompare) {
  BATON_CHECK(options_.enabled());
  // Versions of other inputs or outputs cannot be compared.
  const bool comparable = SameInterface(stable_->signature(), candidate_->signature());
  if (options_.shadow_requests == 0 || !comparable) stage_ = Stage::kLive;
}

std::shared_ptr<Servable> Rollout::Pick() {
  Stage stage = Stage::kOver;
  bool measure = false;
  {
    MutexLock lock(mu_);
    const int64_t before = picks_ * options_.percent / 100;
    ++picks_;
    if (stage_ == Stage::kOver) return stable_;
    if (picks_ * options_.percent / 100 > before) {
      stage = stage_;
      measure_stable_ = stage_ == Stage::kLive;
    } else if (measure_stable_) {
      measure_stable_ = false;
      measure = true;
    }
  }
  switch (stage) {
    case Stage::kShadow:
      return std::make_shared<Shadowed>(shared_from_this());
    case Stage::kLive:
      return std::make_shared<Live>(shared_from_this());
    case Stage::kOver:
      break;
  }
  if (measure) return std::make_shared<Measured>(shared_from_this());
  return stable_;
}

void Rollout::RunShadow(std::shared_ptr<Comparison> comparison) {
  Task task;
  for (const Tensor& input : comparison->inputs) task.inputs.push_back(input.view());
  task.rows = comparison->rows;
  task.done = [self = shared_from_this(), comparison](const absl::Status& status,
                                                      absl::Span<const TensorView> outputs,
                                                      const PhaseTimes& times) {
    if (!status.ok() && !IsOwnFault(status)) return;
    Fault fault;
    fault.status = status.ok() ? CheckFinite(self->candidate_->signature(), outputs) : status;
    if (fault.status.ok() && self->options_.max_divergence) {
      double divergence = outputs.size() == comparison->expected.size()
                              ? 0
                              : std::numeric_limits<double>::infinity();
      for (size_t i = 0; i < std::min(outputs.size(), comparison->expected.size()); ++i) {
        divergence = std::max(divergence, Divergence(comparison->expected[i].view(), outputs[i]));
      }
      if (!(divergence <= *self->options_.max_divergence)) {
        fault.is_decisive = true;
        fault.status = absl::FailedPreconditionError(
            absl::StrCat("its answer differs from that of version ", self->stable_->version(),
                         " by ", divergence, " of the largest value (rollout.max_divergence is ",
                         *self->options_.max_divergence, ")"));
      }
    }
    self->RecordCandidate(Stage::kShadow, fault, status.ok() ? times.compute : -1);
  };
  // One that finds the queue full is left out: it says nothing about the version.
  const absl::Status queued = candidate_->Submit(std::move(task));
  if (!queued.ok() && IsOwnFault(queued)) RecordCandidate(Stage::kShadow, {queued}, -1);
}

void Rollout::RecordStable(Stage stage, double seconds) {
  MutexLock lock(mu_);
  if (stage != stage_) return;
  // As many as the candidate can have; it may have fewer, where its queue was full.
  if (static_cast<int64_t>(of_stable_.seconds.size()) >= StageRequests()) return;
  of_stable_.seconds.push_back(seconds);
}

void Rollout::RecordCandidate(Stage stage, const Fault& fault, double seconds) {
  absl::Status verdict;
  {
    MutexLock lock(mu_);
    if (stage != stage_) return;
    ++of_candidate_.requests;
    if (!fault.status.ok()) ++of_candidate_.errors;
    if (seconds >= 0) of_candidate_.seconds.push_back(seconds);
    verdict = Judge(fault);
    if (!verdict.ok()) {
      stage_ = Stage::kOver;
    } else if (of_candidate_.requests >= StageRequests()) {
      EnterLiveOrEnd();
    }
    if (stage_ != Stage::kOver) return;
  }
  decided_(verdict);
}

int64_t Rollout::StageRequests() const {
  return stage_ == Stage::kShadow ? options_.shadow_requests : options_.live_requests;
}

absl::Status Rollout::Judge(const Fault& fault) {
  const char* stage = stage_ == Stage::kShadow ? "shadow" : "live";
  const double allowed = options_.max_error_rate * static_cast<double>(StageRequests());
  if (!fault.status.ok() &&
      (fault.is_decisive || static_cast<double>(of_candidate_.errors) > allowed)) {
    return absl::FailedPreconditionError(
        absl::StrCat("reverted in the ", stage, " stage of its rollout, after ",
                     of_candidate_.requests, " requests: ", fault.status.message()));
  }
  const bool at_end = of_candidate_.requests >= StageRequests();
  const size_t times = std::min(of_stable_.seconds.size(), of_candidate_.seconds.size());
  if (times == 0 || !(at_end || times >= next_comparison_)) return absl::OkStatus();
  next_comparison_ = 2 * times;
  const double ratio = Median(of_candidate_.seconds) / std::max(Median(of_stable_.seconds), 1e-9);
  if (ratio <= options_.max_latency_ratio) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "reverted in the ", stage, " stage of its rollout, after ", of_candidate_.requests,
      " requests: it takes ", ratio, " times as long as version ", stable_->version(),
      " (rollout.max_latency_ratio is ", options_.max_latency_ratio, ")"));
}

void Rollout::EnterLiveOrEnd() {
  const bool live = stage_ == Stage::kShadow && options_.live_requests > 0;
  stage_ = live ? Stage::kLive : Stage::kOver;
  next_comparison_ = kTimesToCompare;
  of_stable_ = {};
  of_candidate_ = {};
}

std::string Rollout::Describe() const {
  MutexLock lock(mu_);
  switch (stage_) {
    case Stage::kShadow:
    case Stage::kLive:
      return absl::StrCat("rollout: ", stage_ == Stage::kShadow ? "shadow" : "live", ", ",
                          of_candidate_.requests, " of ", StageRequests(), " requests");
    case Stage::kOver:
      break;
  }
  return "rollout: decided";
}

}  // namespace baton::serving

// TestServable: a servable whose signature a test chooses and whose tasks the test answers: at once
// with `run`, or held until Take(). Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/mutex.h"
#include "server/serving/metrics.h"
#include "server/serving/servable.h"

namespace baton::testing {

inline engine::ValueInfo Info(const std::string& name, DataType type,
                              const std::vector<int64_t>& dims) {
  engine::ValueInfo info;
  info.name = name;
  info.type = type;
  for (const int64_t d : dims) info.dims.push_back({d, d < 0 ? "n" : ""});
  return info;
}

class TestServable final : public serving::Servable {
 public:
  // Answers a task; null: tasks are held.
  using RunFunction = std::function<void(serving::Task)>;

  TestServable(std::string model, int64_t version, engine::Signature signature,
               int64_t max_batch_size)
      : model_(std::move(model)),
        version_(version),
        signature_(std::move(signature)),
        max_batch_size_(max_batch_size) {}

  void CountIn(serving::Metrics& metrics) {
    metrics_ = std::make_unique<serving::VersionMetrics>(metrics, model_, version_);
  }
  void set_run(RunFunction run) { run_ = std::move(run); }
  void set_refusal(absl::Status status) { refusal_ = std::move(status); }

  const std::string& model() const override { return model_; }
  int64_t version() const override { return version_; }
  const engine::Signature& signature() const override { return signature_; }
  const repository::ModelConfig& config() const override { return config_; }
  void set_config(repository::ModelConfig config) { config_ = std::move(config); }
  int64_t max_batch_size() const override { return max_batch_size_; }
  serving::VersionMetrics& metrics() override {
    BATON_CHECK(metrics_ != nullptr);
    return *metrics_;
  }
  absl::Status Submit(serving::Task task) override {
    if (!refusal_.ok()) return refusal_;
    if (run_ != nullptr) {
      run_(std::move(task));
      return absl::OkStatus();
    }
    MutexLock lock(mu_);
    held_.push_back(std::move(task));
    arrived_.SignalAll();
    return absl::OkStatus();
  }

  // The oldest task held; waits for one.
  serving::Task Take() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    while (held_.empty()) arrived_.Wait(mu_);
    serving::Task task = std::move(held_.front());
    held_.pop_front();
    return task;
  }

 private:
  const std::string model_;
  const int64_t version_;
  const engine::Signature signature_;
  repository::ModelConfig config_;
  const int64_t max_batch_size_;
  std::unique_ptr<serving::VersionMetrics> metrics_;  // set before it serves
  RunFunction run_;                                   // set before it serves
  absl::Status refusal_;                              // set before it serves
  Mutex mu_;
  CondVar arrived_;
  std::deque<serving::Task> held_ ABSL_GUARDED_BY(mu_);
};

// x: float[?,4] → y: float[?,4] = 2x + `offset`.
inline engine::Signature AffineSignature() {
  return {{Info("x", DataType::kFloat, {-1, 4})}, {Info("y", DataType::kFloat, {-1, 4})}};
}
inline void RunAffine(const serving::Task& task, float offset) {
  const TensorView& x = task.inputs.at(0);
  Tensor y(DataType::kFloat, x.shape);
  for (size_t i = 0; i < x.values<float>().size(); ++i) {
    y.mutable_values<float>()[i] = 2 * x.values<float>()[i] + offset;
  }
  const TensorView view = y.view();
  task.done(absl::OkStatus(), {&view, 1}, {});
}

}  // namespace baton::testing

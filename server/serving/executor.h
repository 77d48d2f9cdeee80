// Executor: what a thread runs plans with. The real one wraps an engine::Session; tests put a
// fake in its place. Not thread-safe: one thread, one executor.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model.h"
#include "engine/session.h"
#include "engine/tensor.h"

namespace baton::serving {

class Executor {
 public:
  Executor() = default;
  virtual ~Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  // As engine::Session::InputBuffer and Run.
  virtual void* InputBuffer(const engine::Plan& plan, size_t index) = 0;
  virtual absl::StatusOr<absl::Span<const TensorView>> Run(const engine::Plan& plan,
                                                           absl::Span<const TensorView> inputs) = 0;

  // What to do between two steps of a run, from now on; it gives the seconds that it took. It may
  // use other executors, but not this one. Null: nothing.
  void SetPause(std::function<double()> pause) { pause_ = std::move(pause); }
  // Run calls it between its steps.
  void Pause() {
    if (pause_) paused_seconds_ += pause_();
  }
  // What all pauses so far took: no part of the cost of what was run.
  double paused_seconds() const { return paused_seconds_; }

 private:
  std::function<double()> pause_;
  double paused_seconds_ = 0;
};

// Called on the thread that will use the executor.
using ExecutorFactory = std::function<std::unique_ptr<Executor>()>;

class SessionExecutor final : public Executor {
 public:
  SessionExecutor() {
    session_.SetBetweenSteps([this] { Pause(); });
  }
  void* InputBuffer(const engine::Plan& plan, size_t index) override {
    return session_.InputBuffer(plan, index);
  }
  absl::StatusOr<absl::Span<const TensorView>> Run(const engine::Plan& plan,
                                                   absl::Span<const TensorView> inputs) override {
    return session_.Run(plan, inputs);
  }
  engine::Session& session() { return session_; }

 private:
  engine::Session session_;
};

}  // namespace baton::serving

// Executor: what a thread runs plans with. The real one wraps an engine::Session; tests put a
// fake in its place. Not thread-safe: one thread, one executor.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model.h"
#include "engine/session.h"
#include "engine/tensor.h"

namespace baton::serving {

class Executor {
 public:
  virtual ~Executor() = default;
  // As engine::Session::InputBuffer and Run.
  virtual void* InputBuffer(const engine::Plan& plan, size_t index) = 0;
  virtual absl::StatusOr<absl::Span<const TensorView>> Run(const engine::Plan& plan,
                                                           absl::Span<const TensorView> inputs) = 0;
};

// Called on the thread that will use the executor.
using ExecutorFactory = std::function<std::unique_ptr<Executor>()>;

class SessionExecutor final : public Executor {
 public:
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

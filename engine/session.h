// Session: one worker's mutable state. Runs plans of any model, one at a time, on the calling
// thread (and, for plans of several threads, on OpenMP's). Not thread-safe: one Session, one
// thread. Its memory is as large as the largest plan it has run.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model.h"
#include "engine/tensor.h"

namespace baton::engine {

class Session {
 public:
  Session();
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Memory for input `index` of `plan`, aligned to 64 bytes, where a caller may gather rows and
  // then pass a view of it to Run. Valid until the next Run has returned. REQUIRES: not a string
  // input.
  void* InputBuffer(const Plan& plan, size_t index);

  // Runs `plan`. `inputs`: one view for each input, shaped as the plan says, aligned for its
  // element type. Returns one view for each output, valid until the next call of Run or Trim.
  // Allocates nothing in the steady state, except for nodes whose shapes depend on data.
  // kInvalidArgument for wrong inputs or data that an operator rejects.
  absl::StatusOr<absl::Span<const TensorView>> Run(const Plan& plan,
                                                   absl::Span<const TensorView> inputs);

  // As Run, and adds each step's seconds to `seconds[step]` (sized plan.steps().size()).
  absl::StatusOr<absl::Span<const TensorView>> RunProfiled(const Plan& plan,
                                                           absl::Span<const TensorView> inputs,
                                                           std::vector<double>& seconds);

  // `hook` is called between the steps of all runs from now on, on the same thread. It may run
  // plans of other sessions, but must not use this one. Null: nothing is called.
  void SetBetweenSteps(std::function<void()> hook);

  // Gives memory back that exceeds what the last plan needed.
  void Trim();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Ends the threads that plans for several have started beside the calling one; the next such plan
// starts them again. For a thread that seldom runs plans: while a process has more of these threads
// than cores, they sleep after each step of any plan instead of spinning for a while, and waking
// them costs 50 µs a step. Compiling starts none.
void ReleaseThreads();

}  // namespace baton::engine

// InlineLane: the tiny models that a network thread runs itself, since they cost less than a hop to
// another thread. What a burst of requests brings is queued, and run when the thread has no other
// event at hand: together, as far as a batch pays. Not thread-safe: one thread, one lane.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "server/serving/executor.h"
#include "server/serving/scheduler.h"

namespace baton::serving {

class InlineLane {
 public:
  explicit InlineLane(std::unique_ptr<Executor> executor) : executor_(std::move(executor)) {}

  // A task of `source` was queued that the lane is to run.
  void Add(std::shared_ptr<WorkSource> source);
  // Tasks added since the last Run.
  int tasks() const { return tasks_; }
  // Runs what the sources have queued.
  void Run();

 private:
  const std::unique_ptr<Executor> executor_;
  std::vector<std::shared_ptr<WorkSource>> sources_;  // each once
  std::vector<std::shared_ptr<WorkSource>> running_;  // empty but in Run
  int tasks_ = 0;
};

}  // namespace baton::serving

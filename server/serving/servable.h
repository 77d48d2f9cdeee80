// Servable: one loaded version of a model, as requests see it. Thread-safe. Whoever holds the
// shared_ptr can submit: a version that a newer one replaced closes only when the last holder has
// let go of it, so no request fails because of a swap. Hold it for one request, not for longer:
// until then the version keeps its memory.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "engine/model.h"
#include "server/repository/model_config.h"
#include "server/serving/task.h"

namespace baton::serving {

class VersionMetrics;

class Servable {
 public:
  virtual ~Servable() = default;
  virtual const std::string& model() const = 0;
  virtual int64_t version() const = 0;
  virtual const engine::Signature& signature() const = 0;

  // What config.pbtxt, or who loaded the model instead, says about it.
  virtual const repository::ModelConfig& config() const = 0;

  // Largest number of rows in one request; 0 if the model has no batch dimension (then `rows` of a
  // task is 1 and the shapes are taken as they are).
  virtual int64_t max_batch_size() const = 0;

  // What its owner should know of it, "" for nothing: an option that it cannot honour.
  virtual std::string note() const { return {}; }

  // Where the API layer counts its requests; valid while the servable is held.
  virtual VersionMetrics& metrics() = 0;

  // Queues `task`; never blocks. On OK the task has been moved from and its `done` will be called
  // exactly once. Else `done` is not called: kResourceExhausted if the queue is full, kUnavailable
  // when the server stops, kDeadlineExceeded if the deadline has passed, kInvalidArgument for
  // shapes the model does not allow.
  virtual absl::Status Submit(Task task) = 0;
};

}  // namespace baton::serving

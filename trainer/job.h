// The training job: read data, train, test, and, if the result is good enough, publish it as a new
// version of a model with golden samples of the trainer's own forward pass.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/dataset.h"
#include "trainer/preset.h"
#include "trainer/training.h"

namespace baton::trainer {

struct JobOptions {
  Preset preset;               // with the training options to use
  std::string data_directory;  // of MNIST's four files
  std::string repository;      // "" where only `export_path` is wanted
  std::string model;           // a directory's name in `repository`
  std::string export_path;     // also write the ONNX file here; "" for not
  double min_accuracy = 0;     // on the test set, from 0 to 1
  int keep_last = 0;           // remove all but the newest N versions; 0 keeps all

  // kInvalidArgument, naming the option, its value and what is expected.
  absl::Status Validate() const;
};

struct JobResult {
  Score test;
  int64_t version = 0;            // 0: nothing was to be published
  std::string version_directory;  // where it is; "" likewise
};

// Runs the whole job on this thread and OpenMP's. Nothing is published and no file is written
// unless all went well. Errors, besides those of ReadMnist, Train and Publish:
// kFailedPrecondition where the test accuracy is under `min_accuracy`; kPermissionDenied, before
// any training, where the repository cannot be written; kCancelled soon after `stop` became true.
absl::StatusOr<JobResult> RunJob(const JobOptions& options, TrainingObserver& observer,
                                 const std::atomic<bool>& stop);

}  // namespace baton::trainer

// Warm-up: makes a freshly loaded model fit to serve, before any request sees it. Compiles its
// plans, runs them, measures what they cost, and finds out whether requests may be batched. Runs
// on the loader's thread and holds nothing that serving waits for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/golden.h"
#include "engine/model.h"
#include "server/serving/cost_curve.h"
#include "server/serving/executor.h"
#include "server/serving/padding.h"
#include "server/serving/plan_set.h"

namespace baton::serving {

// True if requests may be put together along the first dimension, as far as the signature tells:
// all inputs and outputs have a rank of at least 1 and a first dimension of any size.
bool LooksBatchable(const engine::Signature& signature);

// True if every dimension of every input is fixed, but for the first where requests are batched.
bool HasFixedShapes(const engine::Signature& signature, bool batched);

// The plans of one size; `parallel_threads` as in WarmUpOptions. Errors of Model::GetPlan.
absl::StatusOr<PlanSet::Entry> CompileEntry(const engine::Model& model, const ShapeKey& key,
                                            int64_t rows, bool batched, int parallel_threads);
// Adds them to `entries`, unless that size is there.
absl::Status AddEntry(const engine::Model& model, const ShapeKey& key, int64_t rows, bool batched,
                      int parallel_threads, std::vector<PlanSet::Entry>& entries);

// What plans cost: found out by running them, the slowest part of a warm-up.
struct Measured {
  // What was measured. The same model so far as time goes, under the same options, need not be
  // measured again.
  uint64_t structure = 0;  // Model::structure
  ShapeKey key;
  int64_t max_batch_rows = 0;
  int parallel_threads = 0;

  // Seconds of one row on plans of all cores; 0: there are none, one core is as good.
  double parallel_seconds = 0;
  // Of the plans for a request that is alone.
  int ThreadsAlone() const { return parallel_seconds > 0 ? parallel_threads : 1; }

  int64_t best_rows = 1;                          // a larger batch costs no less for each row
  int64_t largest_rows = 1;                       // of any plan
  std::vector<std::pair<int64_t, double>> costs;  // rows, seconds
};

struct WarmUpOptions {
  bool batching = true;         // false: shapes are taken as they are
  int64_t max_batch_rows = 32;  // largest batch to compile
  int parallel_threads = 1;     // > 1: also plans of so many threads, where they may be faster
  double budget_seconds = 2;    // of measuring; sizes that do not fit in are left out
  // Shapes and sizes to have plans for in any case: what the version before this one runs.
  std::map<ShapeKey, std::vector<int64_t>> sizes = {};
  std::optional<Measured> before = {};  // of the version before this one
  // May be null; to be used if the model takes it.
  std::shared_ptr<const Padding> padding = nullptr;
};

struct WarmUpResult {
  bool batched = false;
  Measured measured;
  std::map<ShapeKey, std::shared_ptr<const PlanSet>> plans;
  std::shared_ptr<const Padding> padding;  // of the options, or null:
  absl::Status padding_refused;            // why the model cannot have it
  double compile_seconds = 0;
  double run_seconds = 0;

  // What the model's owner should know; "" if all is as asked for.
  std::string Note() const;
  std::vector<std::string> warnings;  // for the log
};

// Compiles and measures. Inputs are those of `samples`, else made up. A model that has free
// dimensions besides the batch's, and neither samples nor `options.sizes` nor buckets of lengths to
// tell them, compiles nothing: its first requests wait for their plans. Errors of Model::GetPlan; a
// plan that rejects made-up input is no error, one that rejects a sample is.
absl::StatusOr<WarmUpResult> WarmUp(const engine::Model& model,
                                    const std::vector<engine::GoldenSample>& samples,
                                    const WarmUpOptions& options, Executor& executor,
                                    const Clock& clock);

}  // namespace baton::serving

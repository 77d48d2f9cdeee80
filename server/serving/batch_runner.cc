#include "server/serving/batch_runner.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/serving/padded_copy.h"

namespace baton::serving {
namespace {

bool IsAligned(const TensorView& view) {
  const size_t size = DataTypeSize(view.type);
  return size == 0 || reinterpret_cast<uintptr_t>(view.data) % size == 0;
}

// Rows [begin, begin+rows) of `view`, whose first dimension is `total`.
TensorView RowsOf(const TensorView& view, int64_t begin, int64_t rows, int64_t total) {
  if (rows == total) return view;
  TensorView part = view;
  part.shape[0] = rows;
  part.data = static_cast<const char*>(view.data) + view.bytes() / total * begin;
  return part;
}

class Runner {
 public:
  Runner(Batch& batch, bool parallel, Executor& executor, const Clock& clock,
         BatchRecorder& recorder, const Padding* padding)
      : batch_(batch),
        parallel_(parallel),
        executor_(executor),
        clock_(clock),
        recorder_(recorder),
        padding_(padding) {}

  BatchRun Run() {
    BatchRun run;
    const absl::StatusOr<absl::Span<const TensorView>> outputs = RunPieces(run);
    run.status = outputs.status();
    if (!run.status.ok() && batch_.tasks.size() > 1) {
      RunAlone();
      return run;
    }
    if (run.status.ok()) recorder_.RecordExecution(batch_.rows, run);
    int64_t row = 0;
    for (PendingTask& pending : batch_.tasks) {
      const PhaseTimes times{Seconds(batch_.taken - pending.submitted), run.assemble_seconds,
                             run.compute_seconds, computed_};
      absl::Status status = run.status;
      TensorViews own;
      if (status.ok()) {
        for (const TensorView& output : *outputs) {
          own.push_back(RowsOf(output, row, pending.task.rows, batch_.rows));
        }
        if (padding_ != nullptr) status = Cut(pending.task, own);
      }
      row += pending.task.rows;
      recorder_.RecordTask(status, times);
      pending.task.done(status, own, times);
    }
    run.output_seconds = Seconds(clock_.Now() - computed_);
    return run;
  }

 private:
  void RunAlone() {
    for (PendingTask& pending : batch_.tasks) {
      Batch alone;
      alone.rows = pending.task.rows;
      alone.plans = batch_.plans;
      alone.taken = batch_.taken;
      alone.tasks.push_back(std::move(pending));
      Runner(alone, parallel_, executor_, clock_, recorder_, padding_).Run();
    }
  }

  // Cuts a task's own outputs back to its own lengths; none are left on error.
  absl::Status Cut(const Task& task, TensorViews& outputs) {
    copies_.clear();
    const std::vector<Shape>& shapes = batch_.plans->entries().front().plan->input_shapes();
    absl::Status status;
    for (size_t i = 0; i < outputs.size(); ++i) {
      status.Update(padding_->CutOutput(i, task.inputs, shapes, outputs[i], copies_));
    }
    if (!status.ok()) outputs.clear();
    return status;
  }

  // The outputs of all rows. They live until the next run of the executor, or in `assembled_`.
  absl::StatusOr<absl::Span<const TensorView>> RunPieces(BatchRun& run) {
    computed_ = clock_.Now();
    if (const PlanSet::Entry* whole = batch_.plans->Find(batch_.rows)) {
      ASSIGN_OR_RETURN(const absl::Span<const TensorView> outputs, RunPiece(*whole, 0, run));
      if (batch_.tasks.size() > 1) RETURN_IF_ERROR(CheckRows(outputs, batch_.rows));
      return outputs;
    }
    int64_t begin = 0;
    for (const PlanSet::Entry* piece : batch_.plans->Split(batch_.rows)) {
      ASSIGN_OR_RETURN(const absl::Span<const TensorView> outputs, RunPiece(*piece, begin, run));
      RETURN_IF_ERROR(CheckRows(outputs, piece->rows));
      RETURN_IF_ERROR(Assemble(outputs, begin, piece->rows));
      begin += piece->rows;
    }
    for (const Tensor& tensor : assembled_) assembled_views_.push_back(tensor.view());
    return absl::Span<const TensorView>(assembled_views_);
  }

  // Runs the rows from `begin` on that make up `piece`, from the time that is `computed_` on.
  absl::StatusOr<absl::Span<const TensorView>> RunPiece(const PlanSet::Entry& piece, int64_t begin,
                                                        BatchRun& run) {
    const engine::Plan& plan =
        parallel_ && piece.parallel != nullptr ? *piece.parallel : *piece.plan;
    const TensorViews inputs = Inputs(plan, begin, piece.rows);
    const SteadyTime gathered = clock_.Now();
    run.assemble_seconds += Seconds(gathered - computed_);
    const double paused = executor_.paused_seconds();
    auto outputs = executor_.Run(plan, inputs);
    computed_ = clock_.Now();
    run.compute_seconds += Seconds(computed_ - gathered) - (executor_.paused_seconds() - paused);
    return outputs;
  }

  // The plan's inputs for rows [begin, begin+rows) of the batch: where they are, if one task has
  // all of them, else gathered.
  TensorViews Inputs(const engine::Plan& plan, int64_t begin, int64_t rows) {
    TensorViews inputs;
    const Task& first = batch_.tasks.front().task;
    for (size_t i = 0; i < first.inputs.size(); ++i) {
      if (batch_.tasks.size() == 1) {
        const TensorView view = RowsOf(first.inputs[i], begin, rows, batch_.rows);
        if (IsAligned(view) && (padding_ == nullptr || view.shape == plan.input_shapes()[i])) {
          inputs.push_back(view);
          continue;
        }
      }
      inputs.push_back(Gather(plan, i, begin, rows));
    }
    return inputs;
  }

  TensorView Gather(const engine::Plan& plan, size_t index, int64_t begin, int64_t rows) {
    TensorView all = batch_.tasks.front().task.inputs[index];
    if (!plan.input_shapes()[index].empty()) all.shape = plan.input_shapes()[index];
    if (all.type == DataType::kString) {
      strings_.resize(batch_.tasks.front().task.inputs.size());
      strings_[index].resize(static_cast<size_t>(all.size()));
      all.data = strings_[index].data();
    } else {
      all.data = executor_.InputBuffer(plan, index);
    }
    auto* to = static_cast<char*>(const_cast<void*>(all.data));
    int64_t first = 0;  // row of the batch where the task begins
    for (const PendingTask& pending : batch_.tasks) {
      const int64_t from = std::max(begin, first);
      const int64_t until = std::min(begin + rows, first + pending.task.rows);
      if (from < until) {
        const TensorView part =
            RowsOf(pending.task.inputs[index], from - first, until - from, pending.task.rows);
        if (padding_ == nullptr) {
          CopyElements(part.type, part.data, static_cast<size_t>(part.size()), to);
          to += part.bytes();
        } else {
          TensorView padded = all;
          padded.shape[0] = until - from;
          padding_->WriteInput(index, part, padded.shape, to);
          to += padded.bytes();
        }
      }
      first += pending.task.rows;
    }
    return all;
  }

  static absl::Status CheckRows(absl::Span<const TensorView> outputs, int64_t rows) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].shape.empty() || outputs[i].shape[0] != rows) {
        return absl::InternalError(absl::StrCat(
            "output ", i, " has shape ", ShapeToString(outputs[i].shape), " for ", rows,
            " rows: its rows cannot be told apart; set max_batch_size: 0 in config.pbtxt"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Assemble(absl::Span<const TensorView> outputs, int64_t begin, int64_t rows) {
    if (assembled_.empty()) {
      for (const TensorView& output : outputs) {
        Shape shape = output.shape;
        shape[0] = batch_.rows;
        assembled_.emplace_back(output.type, std::move(shape));
      }
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      Shape expected = assembled_[i].shape();
      expected[0] = rows;
      if (outputs[i].shape != expected) {
        return absl::InternalError(absl::StrCat(
            "output ", i, " has shape ", ShapeToString(outputs[i].shape), " for some rows and ",
            ShapeToString(expected), " for others; set max_batch_size: 0 in config.pbtxt"));
      }
      const int64_t row_size = assembled_[i].size() / batch_.rows;
      CopyElements(outputs[i].type, outputs[i].data, static_cast<size_t>(outputs[i].size()),
                   static_cast<char*>(assembled_[i].mutable_data()) +
                       static_cast<size_t>(begin * row_size) * DataTypeSize(outputs[i].type));
    }
    return absl::OkStatus();
  }

  Batch& batch_;
  const bool parallel_;
  Executor& executor_;
  const Clock& clock_;
  BatchRecorder& recorder_;
  const Padding* const padding_;  // null: all inputs have the shapes of the plans
  std::vector<std::vector<std::string>> strings_;
  std::vector<Tensor> assembled_;
  TensorViews assembled_views_;
  SteadyTime computed_;         // when the last piece had run
  std::vector<Tensor> copies_;  // outputs of the task whose `done` is called
};

}  // namespace

BatchRun RunBatch(Batch& batch, bool parallel, Executor& executor, const Clock& clock,
                  BatchRecorder& recorder, const Padding* padding) {
  return Runner(batch, parallel, executor, clock, recorder, padding).Run();
}

}  // namespace baton::serving

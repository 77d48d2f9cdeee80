#include "server/serving/padding_check.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace baton::serving {
namespace {

constexpr int kLengths = 2;  // to be tried

std::vector<TensorView> Views(const std::vector<Tensor>& tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

class Check {
 public:
  Check(const engine::Model& model, const Padding& padding, const engine::Tolerance& tolerance,
        Executor& executor)
      : model_(model), padding_(padding), tolerance_(tolerance), executor_(executor) {}

  // kUnavailable: nothing was found out, since one of the shapes does not run at all.
  absl::Status Compare(const std::vector<TensorView>& inputs, const ShapeKey& longer) {
    const std::vector<Tensor> padded_inputs = padding_.PadInputs(inputs, longer);
    const std::vector<TensorView> padded_views = Views(padded_inputs);
    ASSIGN_OR_RETURN(const auto plan, PlanFor(inputs));
    ASSIGN_OR_RETURN(const auto padded_plan, PlanFor(padded_views));
    const absl::StatusOr<std::vector<Tensor>> alone = Run(*plan, inputs);
    if (!alone.ok()) return absl::UnavailableError(alone.status().message());
    const absl::StatusOr<std::vector<Tensor>> padded = Run(*padded_plan, padded_views);
    if (!padded.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("inputs that run alone fail padded: ", padded.status().message()));
    }
    for (size_t i = 0; i < padded->size(); ++i) {
      const Tensor& expected = (*alone)[i];
      TensorView output = (*padded)[i].view();
      const std::string name = absl::StrCat("output \"", model_.signature().outputs[i].name, "\"");
      std::vector<Tensor> copies;
      if (const absl::Status cut =
              padding_.CutOutput(i, inputs, padded_plan->input_shapes(), output, copies);
          !cut.ok()) {
        return absl::FailedPreconditionError(cut.message());
      }
      if (output.shape != expected.shape()) {
        return absl::FailedPreconditionError(absl::StrCat(
            name, " has shape ", ShapeToString(output.shape), " for padded inputs, and ",
            ShapeToString(expected.shape()),
            " for the same inputs alone; a dimension is cut back where it has the name "
            "(dim_param) of an input's"));
      }
      ASSIGN_OR_RETURN(const TensorDifference difference,
                       baton::Compare(output, expected.view(), tolerance_.rtol, tolerance_.atol));
      if (!difference.within) {
        return absl::FailedPreconditionError(absl::StrCat(
            name, " is another for padded inputs (off by ", difference.max_abs,
            "): the model has to mask what is added; with pad_value.NAME an input is padded with "
            "what it takes for no value"));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::shared_ptr<const engine::Plan>> PlanFor(
      const std::vector<TensorView>& inputs) const {
    std::vector<Shape> shapes;
    for (const TensorView& input : inputs) shapes.push_back(input.shape);
    auto plan = model_.GetPlan(shapes, 1);
    if (!plan.ok()) return absl::UnavailableError(plan.status().message());
    return plan;
  }

  absl::StatusOr<std::vector<Tensor>> Run(const engine::Plan& plan,
                                          const std::vector<TensorView>& inputs) {
    ASSIGN_OR_RETURN(const auto outputs, executor_.Run(plan, inputs));
    std::vector<Tensor> copies;
    for (const TensorView& output : outputs) copies.push_back(Tensor::Copy(output));
    return copies;
  }

  const engine::Model& model_;
  const Padding& padding_;
  const engine::Tolerance tolerance_;
  Executor& executor_;
};

}  // namespace

absl::Status CheckPadding(const engine::Model& model, const Padding& padding,
                          const std::vector<engine::GoldenSample>& samples,
                          absl::FunctionRef<std::vector<Tensor>(const ShapeKey&)> make_inputs,
                          const engine::Tolerance& tolerance, Executor& executor) {
  std::vector<std::pair<std::vector<Tensor>, ShapeKey>> trials;
  if (!samples.empty()) {
    // Real inputs tell more than what is made up; the second time they are padded more.
    const std::vector<Tensor>& inputs = samples.front().inputs;
    std::optional<ShapeKey> key = MakeShapeKey(Views(inputs), /*batched=*/true);
    while (trials.size() < kLengths && (key = padding.Longer(*key))) {
      trials.emplace_back(inputs, *key);
    }
  }
  if (trials.empty()) {
    for (auto& [key, longer] : padding.Trials()) {
      trials.emplace_back(make_inputs(key), std::move(longer));
    }
  }
  Check check(model, padding, tolerance, executor);
  absl::Status why = absl::UnavailableError("there is no length to pad");
  int tried = 0;
  for (const auto& [inputs, longer] : trials) {
    if (tried == kLengths) break;
    const absl::Status status = check.Compare(Views(inputs), longer);
    if (absl::IsUnavailable(status)) {
      why = status;
      continue;
    }
    RETURN_IF_ERROR(status);
    ++tried;
  }
  if (tried > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("it could not be tried whether the model takes padding: ", why.message()));
}

}  // namespace baton::serving

// A model built in a test: run once on one session, or looked at.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model.h"
#include "engine/session.h"
#include "engine/tensor.h"

namespace baton::testing {

inline absl::StatusOr<std::vector<Tensor>> RunModel(const engine::Model& model,
                                                    const std::vector<Tensor>& inputs,
                                                    int threads = 1) {
  std::vector<Shape> shapes;
  std::vector<TensorView> views;
  for (const Tensor& input : inputs) {
    shapes.push_back(input.shape());
    views.push_back(input.view());
  }
  auto plan = model.GetPlan(shapes, threads);
  if (!plan.ok()) return plan.status();
  engine::Session session;
  auto outputs = session.Run(**plan, views);
  if (!outputs.ok()) return outputs.status();
  std::vector<Tensor> tensors;
  for (const TensorView& view : *outputs) tensors.push_back(Tensor::Copy(view));
  return tensors;
}

inline absl::StatusOr<std::vector<Tensor>> RunModel(const std::string& onnx,
                                                    const std::vector<Tensor>& inputs,
                                                    int threads = 1) {
  auto model = engine::Model::Parse(onnx, "", {});
  if (!model.ok()) return model.status();
  return RunModel(**model, inputs, threads);
}

// The operators of its plan's steps, after rewrites.
inline std::vector<std::string> StepOps(const std::string& onnx, const std::vector<Shape>& shapes,
                                        const engine::ModelOptions& options = {}) {
  const auto model = engine::Model::Parse(onnx, "", options);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  const auto plan = (*model)->GetPlan(shapes, 1);
  EXPECT_TRUE(plan.ok()) << plan.status();
  std::vector<std::string> ops;
  if (!plan.ok()) return ops;
  for (const engine::StepInfo& step : (*plan)->steps()) ops.push_back(step.op);
  return ops;
}

// Seeded values in [-1, 1).
inline Tensor RandomTensor(Shape shape, uint32_t seed) {
  Tensor t(DataType::kFloat, std::move(shape));
  uint32_t state = seed * 2654435761u + 1;
  for (float& v : t.mutable_values<float>()) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  }
  return t;
}

}  // namespace baton::testing

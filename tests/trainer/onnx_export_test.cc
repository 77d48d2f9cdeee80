#include "trainer/onnx_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "engine/model.h"
#include "engine/session.h"
#include "trainer/pass.h"
#include "trainer/preset.h"
#include "trainer/random.h"

namespace baton::trainer {
namespace {

using ::testing::ElementsAre;

Network MakeNetwork(const std::string& preset_name) {
  const Preset preset = *FindPreset(preset_name);
  Network network = *Network::Create(preset.input_shape, preset.layers, 5);
  Random random(6);  // biases that are zero would hide a bias that is forgotten
  for (Parameter* parameter : network.parameters()) {
    if (parameter->value.shape().size() > 1) continue;
    for (float& b : parameter->value.mutable_values<float>()) {
      b = static_cast<float>(random.Symmetric(0.5));
    }
  }
  return network;
}

Tensor RandomImages(const Network& network, int64_t batch) {
  Shape shape = {batch};
  shape.insert(shape.end(), network.input_shape().begin(), network.input_shape().end());
  Tensor images(DataType::kFloat, shape);
  Random random(7);
  for (float& pixel : images.mutable_values<float>()) {
    pixel = static_cast<float>(random.Below(256));
  }
  return images;
}

Tensor TrainersAnswer(Network& network, const Tensor& images) {
  const int64_t batch = images.shape()[0];
  const std::unique_ptr<Pass> pass = *Pass::Create(network, batch, Purpose::kInference);
  const absl::Span<const float> pixels = images.values<float>();
  for (size_t i = 0; i < pixels.size(); ++i) pass->input()[i] = pixels[i] / 255;
  EXPECT_TRUE(pass->Forward().ok());
  Tensor answer(DataType::kFloat, {batch, network.classes()});
  Softmax(pass->logits(), network.classes(), answer.mutable_values<float>());
  return answer;
}

class OnnxExportTest : public ::testing::TestWithParam<const char*> {};

TEST_P(OnnxExportTest, EngineGivesTheTrainersAnswers) {
  Network network = MakeNetwork(GetParam());
  const absl::StatusOr<std::shared_ptr<const engine::Model>> model =
      engine::Model::Parse(ExportOnnx(network, {}), "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  engine::Session session;
  for (const int64_t batch : {1, 3, 8}) {
    const Tensor images = RandomImages(network, batch);
    const auto plan = (*model)->GetPlan({images.shape()}, 1);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const auto outputs = session.Run(**plan, {images.view()});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const absl::StatusOr<TensorDifference> difference =
        Compare((*outputs)[0], TrainersAnswer(network, images).view(), 1e-4, 1e-6);
    ASSERT_TRUE(difference.ok()) << difference.status();
    EXPECT_TRUE(difference->within) << "batch " << batch << ": " << difference->max_abs;
  }
}

TEST_P(OnnxExportTest, SignatureTakesRawPixelsInAnyBatch) {
  const Network network = MakeNetwork(GetParam());
  const absl::StatusOr<std::shared_ptr<const engine::Model>> model =
      engine::Model::Parse(ExportOnnx(network, {}), "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const engine::Signature& signature = (*model)->signature();
  ASSERT_EQ(signature.inputs.size(), 1u);
  ASSERT_EQ(signature.outputs.size(), 1u);
  EXPECT_EQ(signature.inputs[0].name, "image");
  EXPECT_EQ(engine::ToString(signature.inputs[0]),
            std::string(GetParam()) == "mnist-mlp" ? "float[batch,784]" : "float[batch,1,28,28]");
  EXPECT_EQ(signature.outputs[0].name, "probabilities");
  EXPECT_EQ(engine::ToString(signature.outputs[0]), "float[batch,10]");
}

TEST_P(OnnxExportTest, CarriesDescriptionAndProperties) {
  const Network network = MakeNetwork(GetParam());
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(ExportOnnx(network, {.graph_name = "digits",
                                                         .description = "what it is",
                                                         .properties = {{"accuracy", "0.98"}}})));
  EXPECT_EQ(model.graph().name(), "digits");
  EXPECT_EQ(model.doc_string(), "what it is");
  ASSERT_EQ(model.metadata_props_size(), 1);
  EXPECT_EQ(model.metadata_props(0).key(), "accuracy");
  EXPECT_EQ(model.metadata_props(0).value(), "0.98");
  EXPECT_EQ(model.opset_import(0).version(), 13);
}

INSTANTIATE_TEST_SUITE_P(Presets, OnnxExportTest, ::testing::Values("mnist-mlp", "mnist-cnn"),
                         [](const auto& info) {
                           return std::string(info.param) == "mnist-mlp" ? "Mlp" : "Cnn";
                         });

}  // namespace
}  // namespace baton::trainer

#include "server/api/tfs_inference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/api/api_fixture.h"

namespace baton::api {
namespace {

using ::baton::testing::Info;
using ::baton::testing::TestServable;
using ::tensorflow::serving::ClassificationRequest;
using ::tensorflow::serving::ClassificationResponse;
using ::tensorflow::serving::ModelSpec;
using ::tensorflow::serving::MultiInferenceRequest;
using ::tensorflow::serving::MultiInferenceResponse;
using ::tensorflow::serving::PredictRequest;
using ::tensorflow::serving::PredictResponse;
using ::tensorflow::serving::RegressionRequest;
using ::tensorflow::serving::RegressionResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr char kSignatures[] = R"({
  "digits": {"method": "classify", "inputs": {"x": "pixels"}, "scores": "scores",
             "labels": ["zero", "one"]},
  "named": {"method": "classify", "inputs": {"x": "pixels"}, "scores": "scores",
            "classes": "names"},
  "names_only": {"method": "classify", "inputs": {"x": "pixels"}, "classes": "names"},
  "sum": {"method": "regress", "inputs": {"x": {"feature": "pixels", "default": [1, 2]}},
          "output": "sum"},
  "other_feature": {"method": "regress", "inputs": {"x": {"default": 5}}, "output": "sum"},
  "renamed": {"inputs": {"x": {"name": "image", "default": 3}}, "outputs": {"sum": "total"}}})";

class TfsInference : public baton::testing::ApiTest {
 protected:
  // x: float[?,2] → scores = x, sum: float[?,1], names: strings[?,2], "low" or "high".
  std::shared_ptr<TestServable> PublishDigits(const std::string& model,
                                              const std::string& signatures) {
    auto servable = std::make_shared<TestServable>(
        model, 4,
        engine::Signature{
            {Info("x", DataType::kFloat, {-1, 2})},
            {Info("scores", DataType::kFloat, {-1, 2}), Info("sum", DataType::kFloat, {-1, 1}),
             Info("names", DataType::kString, {-1, 2})}},
        8);
    if (!signatures.empty()) {
      repository::ModelConfig config;
      config.signatures = repository::ParseSignatures(signatures).value();
      servable->set_config(std::move(config));
    }
    servable->set_run([this](const serving::Task& task) {
      ++executions_;
      const auto x = task.inputs.at(0).values<float>();
      Tensor scores(DataType::kFloat, {task.rows, 2});
      Tensor sum(DataType::kFloat, {task.rows, 1});
      Tensor names(DataType::kString, {task.rows, 2});
      for (size_t i = 0; i < x.size(); ++i) {
        scores.mutable_values<float>()[i] = x[i];
        sum.mutable_values<float>()[i / 2] += x[i];
        names.mutable_values<std::string>()[i] = x[i] < 10 ? "low" : "high";
      }
      const TensorView views[] = {scores.view(), sum.view(), names.view()};
      task.done(absl::OkStatus(), views, {});
    });
    Publish(servable);
    return servable;
  }

  template <typename Request>
  static Request RequestFor(const std::string& model, const std::string& signature,
                            const std::string& feature,
                            const std::vector<std::array<float, 2>>& rows) {
    Request request;
    request.mutable_model_spec()->set_name(model);
    request.mutable_model_spec()->set_signature_name(signature);
    AddExamples(feature, rows, *request.mutable_input());
    return request;
  }
  static void AddExamples(const std::string& feature, const std::vector<std::array<float, 2>>& rows,
                          tensorflow::serving::Input& input) {
    for (const auto& row : rows) {
      auto& example = *input.mutable_example_list()->add_examples();
      auto& list = *(*example.mutable_features()->mutable_feature())[feature].mutable_float_list();
      for (const float value : row) list.add_value(value);
    }
  }
  static void AddTask(MultiInferenceRequest& request, const std::string& signature,
                      const std::string& method) {
    auto& task = *request.add_tasks();
    task.mutable_model_spec()->set_name("m");
    task.mutable_model_spec()->set_signature_name(signature);
    task.set_method_name(method);
  }

  grpc::Status Call(const ClassificationRequest& request) {
    grpc::ClientContext context;
    return prediction_->Classify(&context, request, &classified_);
  }
  grpc::Status Call(const RegressionRequest& request) {
    grpc::ClientContext context;
    return prediction_->Regress(&context, request, &regressed_);
  }
  grpc::Status Call(const MultiInferenceRequest& request) {
    grpc::ClientContext context;
    return prediction_->MultiInference(&context, request, &multiple_);
  }
  template <typename Request>
  void ExpectRefused(const Request& request, grpc::StatusCode code, const std::string& words) {
    const grpc::Status status = Call(request);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(words));
  }
  std::vector<std::string> Labels(int example) const {
    std::vector<std::string> labels;
    for (const auto& one : classified_.result().classifications(example).classes()) {
      labels.push_back(one.label());
    }
    return labels;
  }
  std::vector<float> Scores(int example) const {
    std::vector<float> scores;
    for (const auto& one : classified_.result().classifications(example).classes()) {
      scores.push_back(one.score());
    }
    return scores;
  }

  int executions_ = 0;
  ClassificationResponse classified_;
  RegressionResponse regressed_;
  MultiInferenceResponse multiple_;
};

TEST_F(TfsInference, ClassifyAnswersEveryClassOfEachExample) {
  PublishDigits("m", kSignatures);
  ASSERT_TRUE(
      Call(RequestFor<ClassificationRequest>("m", "digits", "pixels", {{1, 2}, {30, 4}})).ok());
  ASSERT_EQ(classified_.result().classifications_size(), 2);
  EXPECT_THAT(Labels(0), ElementsAre("zero", "one"));
  EXPECT_THAT(Scores(0), ElementsAre(1, 2));
  EXPECT_THAT(Scores(1), ElementsAre(30, 4));
  EXPECT_EQ(classified_.model_spec().name(), "m");
  EXPECT_EQ(classified_.model_spec().version().value(), 4);
  EXPECT_EQ(classified_.model_spec().signature_name(), "digits");
  EXPECT_EQ(executions_, 1);

  ASSERT_TRUE(Call(RequestFor<ClassificationRequest>("m", "named", "pixels", {{1, 20}})).ok());
  EXPECT_THAT(Labels(0), ElementsAre("low", "high"));
  EXPECT_THAT(Scores(0), ElementsAre(1, 20));
  ASSERT_TRUE(Call(RequestFor<ClassificationRequest>("m", "names_only", "pixels", {{1, 20}})).ok());
  EXPECT_THAT(Labels(0), ElementsAre("low", "high"));
  EXPECT_THAT(Scores(0), ElementsAre(0, 0));
}

TEST_F(TfsInference, RegressAnswersOneValueForEachExample) {
  PublishDigits("m", kSignatures);
  RegressionRequest request = RequestFor<RegressionRequest>("m", "sum", "pixels", {{1, 2}, {3, 5}});
  request.mutable_input()->mutable_example_list()->add_examples();  // takes the default
  ASSERT_TRUE(Call(request).ok());
  ASSERT_EQ(regressed_.result().regressions_size(), 3);
  EXPECT_EQ(regressed_.result().regressions(0).value(), 3);
  EXPECT_EQ(regressed_.result().regressions(1).value(), 8);
  EXPECT_EQ(regressed_.result().regressions(2).value(), 3);
  EXPECT_EQ(regressed_.model_spec().signature_name(), "sum");
}

TEST_F(TfsInference, WithoutSignaturesInputsGoByTheirNamesAndClassesByTheirIndex) {
  auto servable =
      std::make_shared<TestServable>("m", 1,
                                     engine::Signature{{Info("x", DataType::kFloat, {-1, 2})},
                                                       {Info("y", DataType::kDouble, {-1, 2})}},
                                     8);
  servable->set_run([](const serving::Task& task) {
    const auto y = Tensor::From<double>({task.rows, 2}, {0.25, 0.75});
    const TensorView view = y.view();
    task.done(absl::OkStatus(), {&view, 1}, {});
  });
  Publish(servable);
  const auto request = RequestFor<ClassificationRequest>("m", "", "x", {{1, 2}});
  ASSERT_TRUE(Call(request).ok());
  EXPECT_THAT(Labels(0), ElementsAre("0", "1"));
  EXPECT_THAT(Scores(0), ElementsAre(0.25F, 0.75F));
  EXPECT_EQ(classified_.model_spec().signature_name(), "serving_default");
  ExpectRefused(
      RequestFor<RegressionRequest>("m", "", "x", {{1, 2}}), grpc::StatusCode::INVALID_ARGUMENT,
      "output \"y\" is DT_DOUBLE[1,2], expected one value for each example, [1] or [1,1]");
}

TEST_F(TfsInference, LabelsOfTheOutputAreTaken) {
  PublishDigits("m", R"({"d": {"method": "classify", "scores": "scores"}})")->set_config([] {
    repository::ModelConfig config;
    config.signatures =
        repository::ParseSignatures(R"({"d": {"method": "classify", "scores": "scores"}})").value();
    config.class_labels["scores"] = {"cat"};
    return config;
  }());
  ASSERT_TRUE(Call(RequestFor<ClassificationRequest>("m", "d", "x", {{1, 2}})).ok());
  EXPECT_THAT(Labels(0), ElementsAre("cat", "1")) << "a class without a label has its index";
}

TEST_F(TfsInference, WrongRequestsGetTheRightCodeAndAreNamed) {
  PublishDigits("m", kSignatures);
  const auto classify = [](const std::string& model, const std::string& signature) {
    return RequestFor<ClassificationRequest>(model, signature, "pixels", {{1, 2}});
  };
  ExpectRefused(classify("nope", ""), grpc::StatusCode::NOT_FOUND, "nope");
  ClassificationRequest request = classify("m", "digits");
  request.mutable_model_spec()->mutable_version()->set_value(9);
  ExpectRefused(request, grpc::StatusCode::NOT_FOUND, "version 9");
  ExpectRefused(classify("m", "digit"), grpc::StatusCode::INVALID_ARGUMENT,
                "no signature named \"digit\"; it has \"digits\"");
  ExpectRefused(classify("m", "sum"), grpc::StatusCode::INVALID_ARGUMENT,
                "signature \"sum\" has the method \"regress\", not \"classify\"; signatures with "
                "that: \"digits\", \"named\"");
  ExpectRefused(RequestFor<ClassificationRequest>("m", "digits", "x", {{1, 2}}),
                grpc::StatusCode::INVALID_ARGUMENT, "feature \"pixels\" is missing");
  ExpectRefused(RequestFor<ClassificationRequest>("m", "", "x", {{1, 2}}),
                grpc::StatusCode::INVALID_ARGUMENT,
                "the model has several outputs; name one with \"scores\"");
  request = classify("m", "digits");
  request.clear_input();
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "input has no examples");
  request = RequestFor<ClassificationRequest>("m", "digits", "pixels",
                                              std::vector<std::array<float, 2>>(9));
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "at most 8 are allowed");
  EXPECT_EQ(executions_, 0);
  EXPECT_TRUE(Call(classify("m", "digits")).ok()) << "the server goes on";
}

TEST_F(TfsInference, RefusalsOfTheQueueReachTheClient) {
  auto servable = std::make_shared<TestServable>("full", 1, baton::testing::AffineSignature(), 8);
  servable->set_refusal(absl::ResourceExhaustedError("4096 requests are waiting"));
  Publish(servable);
  ClassificationRequest request;
  request.mutable_model_spec()->set_name("full");
  auto& feature = *request.mutable_input()->mutable_example_list()->add_examples();
  auto& list = *(*feature.mutable_features()->mutable_feature())["x"].mutable_float_list();
  for (int i = 0; i < 4; ++i) list.add_value(1);
  ExpectRefused(request, grpc::StatusCode::RESOURCE_EXHAUSTED, "4096 requests");
  MultiInferenceRequest multiple;
  *multiple.mutable_input() = request.input();
  AddTask(multiple, "", "tensorflow/serving/classify");
  multiple.mutable_tasks(0)->mutable_model_spec()->set_name("full");
  ExpectRefused(multiple, grpc::StatusCode::RESOURCE_EXHAUSTED, "4096 requests");
}

TEST_F(TfsInference, MultiInferenceSharesOneExecutionWhereInputsAreTheSame) {
  PublishDigits("m", kSignatures);
  MultiInferenceRequest request;
  AddExamples("pixels", {{1, 2}, {30, 4}}, *request.mutable_input());
  AddTask(request, "digits", "tensorflow/serving/classify");
  AddTask(request, "named", "tensorflow/serving/classify");
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(executions_, 1);
  ASSERT_EQ(multiple_.results_size(), 2);
  EXPECT_EQ(multiple_.results(0).model_spec().signature_name(), "digits");
  EXPECT_EQ(multiple_.results(0).model_spec().version().value(), 4);
  const auto& digits = multiple_.results(0).classification_result().classifications();
  ASSERT_EQ(digits.size(), 2);
  EXPECT_EQ(digits[1].classes(0).label(), "zero");
  EXPECT_EQ(digits[1].classes(0).score(), 30);
  EXPECT_EQ(multiple_.results(1).classification_result().classifications(1).classes(0).label(),
            "high");

  AddTask(request, "other_feature", "tensorflow/serving/regress");
  AddTask(request, "sum", "tensorflow/serving/regress");
  ASSERT_TRUE(Call(request).ok());
  EXPECT_EQ(executions_, 4) << "three kinds of inputs";
  ASSERT_EQ(multiple_.results_size(), 4);
  EXPECT_EQ(multiple_.results(2).regression_result().regressions(0).value(), 10) << "defaults";
  EXPECT_EQ(multiple_.results(3).regression_result().regressions(1).value(), 34);
}

TEST_F(TfsInference, WrongMultiInferencesAreNamed) {
  PublishDigits("m", kSignatures);
  MultiInferenceRequest request;
  AddExamples("pixels", {{1, 2}}, *request.mutable_input());
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "without tasks");
  AddTask(request, "digits", "tensorflow/serving/predict");
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT,
                "method_name is \"tensorflow/serving/predict\"");
  request.mutable_tasks(0)->set_method_name("tensorflow/serving/classify");
  AddTask(request, "named", "tensorflow/serving/classify");
  request.mutable_tasks(1)->mutable_model_spec()->set_name("n");
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT,
                "the first is for \"m\", another for \"n\"");
  request.mutable_tasks(1)->mutable_model_spec()->set_name("m");
  request.mutable_tasks(1)->mutable_model_spec()->mutable_version()->set_value(3);
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "another for \"m\" version 3");
  EXPECT_EQ(executions_, 0);
}

TEST_F(TfsInference, PredictHonoursRenamedInputsAndOutputs) {
  PublishDigits("m", kSignatures);
  PredictRequest request;
  request.mutable_model_spec()->set_name("m");
  request.mutable_model_spec()->set_signature_name("renamed");
  auto& image = (*request.mutable_inputs())["image"];
  image.set_dtype(tensorflow::DT_FLOAT);
  for (const int64_t d : {1, 2}) image.mutable_tensor_shape()->add_dim()->set_size(d);
  image.add_float_val(4);
  const tensorflow::TensorProto sent = image;
  PredictResponse response;
  const auto call = [&] {
    grpc::ClientContext context;
    return prediction_->Predict(&context, request, &response);
  };
  ASSERT_TRUE(call().ok());
  EXPECT_EQ(response.outputs().size(), 1);
  EXPECT_THAT(response.outputs().at("total").float_val(), ElementsAre(8));
  EXPECT_EQ(response.model_spec().signature_name(), "renamed");

  request.add_output_filter("sum");
  EXPECT_THAT(call().error_message(), HasSubstr("no output named \"sum\" Its outputs: \"total\""));
  request.set_output_filter(0, "total");
  ASSERT_TRUE(call().ok());
  (*request.mutable_inputs())["x"] = sent;
  EXPECT_THAT(call().error_message(), HasSubstr("no input named \"x\" Its inputs: \"image\""));
  request.clear_inputs();
  ASSERT_TRUE(call().ok()) << "the default";
  EXPECT_THAT(response.outputs().at("total").float_val(), ElementsAre(6));

  request.clear_output_filter();
  request.mutable_model_spec()->set_signature_name("digits");
  (*request.mutable_inputs())["x"] = sent;
  ASSERT_TRUE(call().ok()) << "a signature for examples takes the model's own tensors";
  EXPECT_TRUE(response.outputs().contains("names"));
}

TEST_F(TfsInference, MetadataListsAllSignatures) {
  PublishDigits("m", kSignatures);
  tensorflow::serving::GetModelMetadataRequest request;
  tensorflow::serving::GetModelMetadataResponse response;
  request.mutable_model_spec()->set_name("m");
  request.add_metadata_field("signature_def");
  grpc::ClientContext context;
  ASSERT_TRUE(prediction_->GetModelMetadata(&context, request, &response).ok());
  tensorflow::serving::SignatureDefMap map;
  ASSERT_TRUE(response.metadata().at("signature_def").UnpackTo(&map));
  std::vector<std::string> methods;
  for (const auto& [name, signature] : map.signature_def()) {
    methods.push_back(name + " " + signature.method_name());
  }
  EXPECT_THAT(methods, UnorderedElementsAre("serving_default tensorflow/serving/predict",
                                            "digits tensorflow/serving/classify",
                                            "named tensorflow/serving/classify",
                                            "names_only tensorflow/serving/classify",
                                            "sum tensorflow/serving/regress",
                                            "other_feature tensorflow/serving/regress",
                                            "renamed tensorflow/serving/predict"));
  const auto& named = map.signature_def().at("named");
  EXPECT_EQ(named.inputs().at("inputs").dtype(), tensorflow::DT_STRING);
  EXPECT_EQ(named.outputs().at("scores").name(), "scores");
  EXPECT_EQ(named.outputs().at("classes").dtype(), tensorflow::DT_STRING);
  EXPECT_FALSE(map.signature_def().at("names_only").outputs().contains("scores"));
  EXPECT_EQ(map.signature_def().at("sum").outputs().at("outputs").name(), "sum");
  const auto& renamed = map.signature_def().at("renamed");
  EXPECT_EQ(renamed.inputs().at("image").name(), "x");
  EXPECT_EQ(renamed.outputs().at("total").name(), "sum");
  EXPECT_EQ(renamed.outputs().size(), 1U);
}

}  // namespace
}  // namespace baton::api

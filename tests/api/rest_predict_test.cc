#include "server/api/rest_predict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "server/api/tfs_codec.h"

namespace baton::api {
namespace {

using ::tensorflow::serving::PredictRequest;
using ::tensorflow::serving::PredictResponse;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Inputs = std::vector<NamedType>;

const Inputs kOne = {{"x", DataType::kFloat}};
const Inputs kTwo = {{"x", DataType::kFloat}, {"s", DataType::kString}};

class RestPredict : public ::testing::Test {
 protected:
  absl::StatusOr<PredictForm> Read(absl::string_view body, const Inputs& inputs = kOne) {
    request_.Clear();
    return ReadPredictBody(
        body, [&](const std::string&) { return inputs; }, 1 << 20, request_);
  }
  std::string Fault(absl::string_view body, const Inputs& inputs = kOne) {
    const auto form = Read(body, inputs);
    EXPECT_EQ(form.status().code(), absl::StatusCode::kInvalidArgument) << body;
    return std::string(form.status().message());
  }
  std::vector<int64_t> ShapeOf(const std::string& name) const {
    std::vector<int64_t> shape;
    for (const auto& dim : request_.inputs().at(name).tensor_shape().dim()) {
      shape.push_back(dim.size());
    }
    return shape;
  }
  std::vector<float> FloatsOf(const std::string& name) const {
    const std::string& bytes = request_.inputs().at(name).tensor_content();
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  PredictRequest request_;
};

TEST_F(RestPredict, RowsOfTheOnlyInputAreBareValues) {
  const auto form = Read(R"({"instances": [[1, 2], [3, 4.5], [5, 6]]})");
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_EQ(*form, PredictForm::kRows);
  EXPECT_EQ(request_.inputs().at("x").dtype(), tensorflow::DT_FLOAT);
  EXPECT_THAT(ShapeOf("x"), ElementsAre(3, 2));
  EXPECT_THAT(FloatsOf("x"), ElementsAre(1, 2, 3, 4.5, 5, 6));
  ASSERT_TRUE(Read(R"({"instances": [1, 2]})").ok());
  EXPECT_THAT(ShapeOf("x"), ElementsAre(2));
}

TEST_F(RestPredict, RowsOfSeveralInputsAreObjects) {
  const auto form = Read(
      R"({"signature_name": "sig", "instances": [{"x": [1], "s": "a"}, {"s": {"b64": "aGk="}, "x": [2]}]})",
      kTwo);
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_EQ(request_.model_spec().signature_name(), "sig");
  EXPECT_THAT(ShapeOf("x"), ElementsAre(2, 1));
  EXPECT_THAT(FloatsOf("x"), ElementsAre(1, 2));
  EXPECT_THAT(ShapeOf("s"), ElementsAre(2));
  EXPECT_THAT(request_.inputs().at("s").string_val(), ElementsAre("a", "hi"));
  ASSERT_TRUE(Read(R"({"instances": [{"x": 1}]})").ok()) << "a single input by name";
  EXPECT_THAT(ShapeOf("x"), ElementsAre(1));
}

TEST_F(RestPredict, ABase64ObjectIsAValue) {
  const Inputs strings = {{"s", DataType::kString}};
  ASSERT_TRUE(Read(R"({"instances": [{"b64": "aGk="}, "b"]})", strings).ok());
  EXPECT_THAT(request_.inputs().at("s").string_val(), ElementsAre("hi", "b"));
  ASSERT_TRUE(Read(R"({"inputs": {"b64": "aGk="}})", strings).ok());
  EXPECT_THAT(ShapeOf("s"), ElementsAre());
}

TEST_F(RestPredict, ColumnsAreWholeTensors) {
  auto form = Read(R"({"inputs": [[1, 2]]})");
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_EQ(*form, PredictForm::kColumns);
  EXPECT_THAT(ShapeOf("x"), ElementsAre(1, 2));
  form = Read(R"({"inputs": {"s": ["a", "b"], "x": [[1], [2]]}})", kTwo);
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_THAT(ShapeOf("x"), ElementsAre(2, 1));
  EXPECT_THAT(ShapeOf("s"), ElementsAre(2));
}

TEST_F(RestPredict, TheSignatureMayComeAfterTheTensors) {
  const auto form =
      ReadPredictBody(R"({"instances": [1], "more": {"a": [null]}, "signature_name": "ints"})",
                      [](const std::string& name) {
                        return Inputs{{"x", name == "ints" ? DataType::kInt64 : DataType::kFloat}};
                      },
                      1 << 20, request_);
  ASSERT_TRUE(form.ok()) << form.status();
  EXPECT_EQ(request_.inputs().at("x").dtype(), tensorflow::DT_INT64);
}

TEST_F(RestPredict, UnknownAndMissingInputsAreLeftToTheDecoder) {
  ASSERT_TRUE(Read(R"({"instances": [{"z": 1}, {"z": 2}]})").ok());
  EXPECT_EQ(request_.inputs().size(), 1u);
  EXPECT_TRUE(request_.inputs().contains("z"));
  ASSERT_TRUE(Read(R"({"inputs": {"x": [1]}})", kTwo).ok());
  EXPECT_FALSE(request_.inputs().contains("s"));
}

TEST_F(RestPredict, WrongBodiesAreNamedWithTheirPlace) {
  EXPECT_THAT(Fault(""), HasSubstr("malformed JSON"));
  EXPECT_THAT(Fault("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(Fault("{}"), HasSubstr("neither \"instances\""));
  EXPECT_THAT(Fault(R"({"instances": []})"), HasSubstr("\"instances\" is empty"));
  EXPECT_THAT(Fault(R"({"instances": 1})"), HasSubstr("expected an array"));
  EXPECT_THAT(Fault(R"({"instances": [1], "inputs": [1]})"), HasSubstr("send one"));
  EXPECT_THAT(Fault(R"({"instances": [1], "instances": [1]})"), HasSubstr("send one"));
  EXPECT_THAT(Fault(R"({"instances": [1]} x)"), HasSubstr("expected the end"));
  EXPECT_THAT(Fault(R"({"signature_name": 1, "instances": [1]})"), HasSubstr("expected a string"));
  EXPECT_THAT(Fault(R"({"instances": [[1], ["a"]]})"),
              AllOf(HasSubstr("instances[1]"), HasSubstr("input \"x\" (DT_FLOAT)"),
                    HasSubstr("column 22"), HasSubstr("found a string, expected a number")));
  EXPECT_THAT(Fault(R"({"instances": [[1, 2], [3]]})"),
              AllOf(HasSubstr("instances[1]"), HasSubstr("shape [1]"), HasSubstr("has [2]")));
  EXPECT_THAT(Fault(R"({"instances": [{"x": 1}, 2]})"),
              AllOf(HasSubstr("instances[1]"), HasSubstr("found a number")));
  EXPECT_THAT(Fault(R"({"instances": [1, {"x": 2}]})"), HasSubstr("found an object"));
  EXPECT_THAT(Fault(R"({"instances": [[1]]})", kTwo),
              AllOf(HasSubstr("there are 2 inputs"), HasSubstr("\"x\", \"s\"")));
  EXPECT_THAT(Fault(R"({"inputs": [[1]]})", kTwo), HasSubstr("there are 2 inputs"));
  EXPECT_THAT(Fault(R"({"instances": [{"x": 1, "x": 2}]})"), HasSubstr("twice"));
  EXPECT_THAT(Fault(R"({"inputs": {"x": 1, "x": 2}})"), HasSubstr("twice"));
  EXPECT_THAT(Fault(R"({"instances": [{"x": 1, "s": "a"}, {"x": 2}]})", kTwo),
              AllOf(HasSubstr("instances[1]"), HasSubstr("has 1 of the inputs")));
  EXPECT_THAT(Fault(R"({"instances": [{"x": 1}, {"s": "a"}]})", kTwo),
              HasSubstr("missing in an instance before"));
}

PredictResponse ResponseOf(const std::vector<std::pair<std::string, Tensor>>& outputs) {
  PredictResponse response;
  for (const auto& [name, tensor] : outputs) {
    EncodeTfTensor(tensor.view(), (*response.mutable_outputs())[name]);
  }
  return response;
}

TEST_F(RestPredict, RepliesRowsBareOrByName) {
  const Tensor a = Tensor::From<float>({2, 2}, {1, 2.5f, 0.1f, -4});
  const Tensor b = Tensor::From<int64_t>({2}, {7, -8});
  EXPECT_EQ(*PredictReply(ResponseOf({{"y", a}}), PredictForm::kRows),
            "{\"predictions\":[[1.0,2.5],[0.1,-4.0]]}\n");
  EXPECT_EQ(*PredictReply(ResponseOf({{"b", b}, {"a", a}}), PredictForm::kRows),
            "{\"predictions\":[{\"a\":[1.0,2.5],\"b\":7},{\"a\":[0.1,-4.0],\"b\":-8}]}\n");
}

TEST_F(RestPredict, RepliesColumnsBareOrByName) {
  const Tensor a = Tensor::From<double>({1, 2}, {0.5, 1e300});
  const Tensor b = Tensor::From<bool>({}, {true});
  EXPECT_EQ(*PredictReply(ResponseOf({{"y", a}}), PredictForm::kColumns),
            "{\"outputs\":[[0.5,1e+300]]}\n");
  EXPECT_EQ(*PredictReply(ResponseOf({{"b", b}, {"a", a}}), PredictForm::kColumns),
            "{\"outputs\":{\"a\":[[0.5,1e+300]],\"b\":true}}\n");
}

TEST_F(RestPredict, RepliesEveryType) {
  const auto columns = [](const std::string& name, const Tensor& tensor) {
    return *PredictReply(ResponseOf({{name, tensor}}), PredictForm::kColumns);
  };
  EXPECT_EQ(columns("y", Tensor::From<int8_t>({1}, {-5})), "{\"outputs\":[-5]}\n");
  EXPECT_EQ(columns("y", Tensor::From<uint16_t>({1}, {65535})), "{\"outputs\":[65535]}\n");
  EXPECT_EQ(columns("y", Tensor::From<int32_t>({1}, {-70000})), "{\"outputs\":[-70000]}\n");
  EXPECT_EQ(columns("y", Tensor::From<uint32_t>({1}, {4000000000u})),
            "{\"outputs\":[4000000000]}\n");
  EXPECT_EQ(columns("y", Tensor::From<uint64_t>({1}, {~uint64_t{0}})),
            "{\"outputs\":[18446744073709551615]}\n");
  EXPECT_EQ(columns("y", Tensor::From<Float16>({1}, {Float16::From(0.5f)})),
            "{\"outputs\":[0.5]}\n");
  EXPECT_EQ(columns("y", Tensor::From<Bfloat16>({1}, {Bfloat16::From(2)})),
            "{\"outputs\":[2.0]}\n");
  const Tensor text = Tensor::From<std::string>({1}, {"hi"});
  EXPECT_EQ(columns("y", text), "{\"outputs\":[\"hi\"]}\n");
  EXPECT_EQ(columns("y_bytes", text), "{\"outputs\":[{\"b64\":\"aGk=\"}]}\n");
}

TEST_F(RestPredict, RowsThatOutputsDoNotShareAreRefused) {
  const Tensor a = Tensor::From<float>({2}, {1, 2});
  const Tensor b = Tensor::From<float>({3}, {1, 2, 3});
  const auto uneven = PredictReply(ResponseOf({{"a", a}, {"b", b}}), PredictForm::kRows);
  EXPECT_THAT(std::string(uneven.status().message()),
              AllOf(HasSubstr("\"a\" [2]"), HasSubstr("\"b\" [3]"), HasSubstr("\"inputs\"")));
  EXPECT_FALSE(
      PredictReply(ResponseOf({{"a", Tensor::From<float>({}, {1})}}), PredictForm::kRows).ok());
}

}  // namespace
}  // namespace baton::api

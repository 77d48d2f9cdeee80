// Functions that a model brings with it (ONNX's FunctionProto): put in place of their calls.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "engine/model.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ModelBuilder;
using testing::RunModel;
using testing::SetFloat;

constexpr char kDomain[] = "test.local";

// x of float[?], to be given to calls; `functions` in protobuf's text form, opsets added.
class FunctionsTest : public ::testing::Test {
 protected:
  FunctionsTest() {
    m_.Input("x", DataType::kFloat, {-1});
    auto& local = *m_.proto().add_opset_import();
    local.set_domain(kDomain);
    local.set_version(1);
  }
  onnx::FunctionProto& Function(const std::string& text) {
    onnx::FunctionProto& function = *m_.proto().add_functions();
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &function)) << text;
    function.set_domain(kDomain);
    function.add_opset_import()->set_version(17);
    *function.add_opset_import() = m_.proto().opset_import(1);
    return function;
  }
  onnx::NodeProto& Call(const std::string& function, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs) {
    return m_.Node(function, inputs, outputs, kDomain);
  }
  // Of y, for x of -1, 0, 2.
  std::vector<float> Run() {
    const auto y = Outputs();
    EXPECT_TRUE(y.ok()) << y.status();
    if (!y.ok()) return {};
    return {(*y)[0].values<float>().begin(), (*y)[0].values<float>().end()};
  }
  std::string Error() {
    const auto y = Outputs();
    EXPECT_FALSE(y.ok());
    return std::string(y.status().message());
  }

  ModelBuilder m_;

 private:
  absl::StatusOr<std::vector<Tensor>> Outputs() {
    m_.Output("y", DataType::kFloat, {-1});
    return RunModel(m_.Build(), {Tensor::From<float>({3}, {-1, 0, 2})});
  }
};

constexpr char kLeaky[] = R"(
  name: "Leaky" input: "x" output: "y" attribute: "slope"
  node { op_type: "LeakyRelu" input: "x" output: "y"
         attribute { name: "alpha" ref_attr_name: "slope" type: FLOAT } })";

TEST_F(FunctionsTest, NamesWithinACallAreItsOwn) {
  Function(R"(name: "Square" input: "a" output: "x"
              node { op_type: "Mul" input: "a" input: "a" output: "t" }
              node { op_type: "Identity" input: "t" output: "x" })");
  Call("Square", {"x"}, {"t"});
  Call("Square", {"t"}, {"y"});
  EXPECT_THAT(Run(), ElementsAre(1, 0, 16));
}

TEST_F(FunctionsTest, GivesItsAttributesToNodes) {
  Function(kLeaky);
  SetFloat(Call("Leaky", {"x"}, {"y"}), "slope", 0.5F);
  EXPECT_THAT(Run(), ElementsAre(-0.5F, 0, 2));
}

TEST_F(FunctionsTest, AnAttributeThatIsNotGivenIsTheOperatorsDefault) {
  Function(kLeaky);
  Call("Leaky", {"x"}, {"y"});
  EXPECT_THAT(Run(), ElementsAre(-0.01F, 0, 2));
}

// The field `attribute_proto`, number 11: newer than the ONNX library that may be installed.
TEST_F(FunctionsTest, KnowsDefaultsOfAttributes) {
  onnx::AttributeProto slope;
  slope.set_name("slope");
  slope.set_type(onnx::AttributeProto::FLOAT);
  slope.set_f(0.25F);
  onnx::FunctionProto& leaky = Function(kLeaky);
  constexpr char kTag = 11 << 3 | 2;
  const std::string bytes = slope.SerializeAsString();
  ASSERT_TRUE(
      leaky.MergeFromString(kTag + std::string(1, static_cast<char>(bytes.size())) + bytes));
  Call("Leaky", {"x"}, {"t"});
  SetFloat(Call("Leaky", {"t"}, {"y"}), "slope", 2);
  EXPECT_THAT(Run(), ElementsAre(-0.5F, 0, 2));
}

TEST_F(FunctionsTest, CallEachOther) {
  Function(kLeaky);
  Function(R"(name: "Twice" input: "x" output: "y" attribute: "by"
              node { domain: "test.local" op_type: "Leaky" input: "x" output: "t"
                     attribute { name: "slope" ref_attr_name: "by" type: FLOAT } }
              node { domain: "test.local" op_type: "Leaky" input: "t" output: "y"
                     attribute { name: "slope" ref_attr_name: "by" type: FLOAT } })");
  SetFloat(Call("Twice", {"x"}, {"y"}), "by", 3);
  EXPECT_THAT(Run(), ElementsAre(-9, 0, 2));
}

TEST_F(FunctionsTest, HaveConstantsAndOptionalInputs) {
  Function(R"(name: "Bounded" input: "x" input: "low" input: "high" output: "y"
              node { op_type: "Constant" output: "one"
                     attribute { name: "value_float" ref_attr_name: "add" type: FLOAT } }
              node { op_type: "Clip" input: "x" input: "low" input: "high" output: "t" }
              node { op_type: "Add" input: "t" input: "one" output: "y" })");
  m_.Constant("limit", Tensor::From<float>({}, {0.5F}));
  SetFloat(Call("Bounded", {"x", "", "limit"}, {"t"}), "add", 1);
  SetFloat(Call("Bounded", {"t"}, {"y"}), "add", 10);
  EXPECT_THAT(Run(), ElementsAre(10, 11, 11.5F));
}

TEST_F(FunctionsTest, OutputsMayBeLeftOut) {
  Function(R"(name: "Both" input: "x" output: "plus" output: "minus"
              node { op_type: "Identity" input: "x" output: "plus" }
              node { op_type: "Neg" input: "x" output: "minus" })");
  Call("Both", {"x"}, {"", "y"});
  EXPECT_THAT(Run(), ElementsAre(1, 0, -2));
}

// Of the function, not of the model.
TEST_F(FunctionsTest, HaveOperatorSetsOfTheirOwn) {
  onnx::FunctionProto& clip = Function(R"(
      name: "Clip6" input: "x" output: "y"
      node { op_type: "Clip" input: "x" output: "y"
             attribute { name: "max" f: 1 type: FLOAT } })");
  clip.mutable_opset_import(0)->set_version(6);
  Call("Clip6", {"x"}, {"y"});
  EXPECT_THAT(Run(), ElementsAre(-1, 0, 1));
}

TEST_F(FunctionsTest, RefusesCallsInACircle) {
  Function(R"(name: "Odd" input: "x" output: "y"
              node { domain: "test.local" op_type: "Even" input: "x" output: "y" })");
  Function(R"(name: "Even" input: "x" output: "y"
              node { domain: "test.local" op_type: "Odd" input: "x" output: "y" })");
  Call("Odd", {"x"}, {"y"});
  EXPECT_THAT(Error(), HasSubstr("functions call each other more than 32 deep"));
}

TEST_F(FunctionsTest, RefusesCallsWithoutEnd) {
  for (int i = 0; i < 30; ++i) {
    std::string text = "name: \"F" + std::to_string(i) + "\" input: \"x\" output: \"y\"";
    for (const std::string edge : {R"(input: "x" output: "t")", R"(input: "t" output: "y")"}) {
      text += " node { domain: \"test.local\" op_type: \"F" + std::to_string(i + 1) + "\" " + edge +
              " }";
    }
    Function(text);
  }
  Function(R"(name: "F30" input: "x" output: "y" node { op_type: "Relu" input: "x" output: "y" })");
  Call("F0", {"x"}, {"y"});
  EXPECT_THAT(Error(), HasSubstr("calls of functions have more than 1048576 nodes altogether"));
}

TEST_F(FunctionsTest, NamesTheCallWithTooManyInputs) {
  Function(kLeaky);
  Call("Leaky", {"x", "x"}, {"y"}).set_name("call");
  EXPECT_THAT(
      Error(),
      HasSubstr(
          "node \"call\" (test.local.Leaky, opset 1): got 2 inputs and 1 outputs, the function "
          "has 1 and 1"));
}

TEST_F(FunctionsTest, NamesTheNodeWithinTheCall) {
  Function(R"(name: "Broken" input: "x" output: "y"
              node { name: "inner" op_type: "Relu" input: "outer" output: "y" })");
  Call("Broken", {"x"}, {"y"}).set_name("call");
  EXPECT_THAT(
      Error(),
      HasSubstr("node \"call/inner\" (Relu, opset 17): input \"outer\" is made by no node"));
}

TEST_F(FunctionsTest, NamesAnOutputThatIsNotMade) {
  Function(R"(name: "Empty" input: "x" output: "nothing")");
  Call("Empty", {"x"}, {"y"}).set_name("call");
  EXPECT_THAT(
      Error(),
      HasSubstr(
          "node \"call\" (test.local.Empty, opset 1): no node of the function makes its output "
          "\"nothing\""));
}

TEST_F(FunctionsTest, RefusesTwoOfOneName) {
  Function(kLeaky);
  Function(kLeaky);
  Call("Leaky", {"x"}, {"y"});
  EXPECT_THAT(Error(), HasSubstr("function \"Leaky\" of domain \"test.local\" is defined twice"));
}

}  // namespace
}  // namespace baton::engine

#include "server/api/rest_examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::api {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RestExamples : public ::testing::Test {
 protected:
  absl::Status Read(absl::string_view body) {
    input_.Clear();
    signature_.clear();
    return ReadExamplesBody(body, signature_, input_);
  }
  std::string Fault(absl::string_view body) {
    const absl::Status status = Read(body);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << body;
    return std::string(status.message());
  }
  const tensorflow::Feature& Feature(int example, const std::string& name) const {
    return input_.example_list().examples(example).features().feature().at(name);
  }

  tensorflow::serving::Input input_;
  std::string signature_;
};

TEST_F(RestExamples, FeaturesTakeTheTypeOfTheirValues) {
  ASSERT_TRUE(Read(R"({"signature_name": "s", "examples": [
      {"f": [1.0, 2e0, NaN], "i": [1, -2], "b": true, "s": ["a", {"b64": "aGk="}], "e": []},
      {"f": 0.5}], "more": 1})")
                  .ok());
  EXPECT_EQ(signature_, "s");
  ASSERT_EQ(input_.example_list().examples_size(), 2);
  EXPECT_EQ(Feature(0, "f").float_list().value(1), 2);
  EXPECT_THAT(Feature(0, "i").int64_list().value(), ElementsAre(1, -2));
  EXPECT_THAT(Feature(0, "b").int64_list().value(), ElementsAre(1));
  EXPECT_THAT(Feature(0, "s").bytes_list().value(), ElementsAre("a", "hi"));
  EXPECT_EQ(Feature(0, "e").kind_case(), tensorflow::Feature::KIND_NOT_SET);
  EXPECT_THAT(Feature(1, "f").float_list().value(), ElementsAre(0.5f));
}

TEST_F(RestExamples, AContextGoesWithAllExamples) {
  ASSERT_TRUE(Read(R"({"examples": [{"a": 1}, {"a": 2}], "context": {"c": "x"}})").ok());
  const auto& list = input_.example_list_with_context();
  EXPECT_EQ(list.examples_size(), 2);
  EXPECT_EQ(list.context().features().feature().at("c").bytes_list().value(0), "x");
}

TEST_F(RestExamples, WrongBodiesNameExampleFeatureAndPlace) {
  EXPECT_THAT(Fault("{}"), HasSubstr("no examples"));
  EXPECT_THAT(Fault(R"({"examples": []})"), HasSubstr("no examples"));
  EXPECT_THAT(Fault(R"({"examples": 1})"), HasSubstr("expected an array"));
  EXPECT_THAT(Fault(R"({"examples": [1]})"),
              AllOf(HasSubstr("examples[0]"), HasSubstr("expected an object")));
  EXPECT_THAT(Fault(R"({"examples": [{"a": 1}, {"a": [1, "b"]}]})"),
              AllOf(HasSubstr("examples[1]"), HasSubstr("feature \"a\""), HasSubstr("column 35"),
                    HasSubstr("a string after values of another type")));
  EXPECT_THAT(Fault(R"({"examples": [{"a": [1, 2.5]}]})"), HasSubstr("a number with a point"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": [2.5, 1]}]})"), HasSubstr("an integer after"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": ["x", true]}]})"), HasSubstr("a boolean after"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": null}]})"), HasSubstr("found null"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": [[1]]}]})"), HasSubstr("found an array"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": {"b": 1}}]})"), HasSubstr("found an object"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": 18446744073709551615}]})"), HasSubstr("can hold"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": 1, "a": 2}]})"), HasSubstr("twice"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": 1}], "context": 3})"), HasSubstr("context"));
  EXPECT_THAT(Fault(R"({"examples": [{"a": 1})"), HasSubstr("malformed JSON"));
}

TEST_F(RestExamples, Replies) {
  tensorflow::serving::ClassificationResponse classes;
  for (int i = 0; i < 2; ++i) {
    auto& example = *classes.mutable_result()->add_classifications();
    for (const char* label : {"cat\"", "["}) {
      auto& one = *example.add_classes();
      one.set_label(label);
      one.set_score(0.1f);
    }
  }
  EXPECT_EQ(ClassifyReply(classes),
            "{\"results\":[[[\"cat\\\"\",0.1],[\"[\",0.1]],[[\"cat\\\"\",0.1],[\"[\",0.1]]]}\n");
  tensorflow::serving::RegressionResponse values;
  for (const float value : {1.0f, 0.1f})
    values.mutable_result()->add_regressions()->set_value(value);
  EXPECT_EQ(RegressReply(values), "{\"results\":[1.0,0.1]}\n");
}

}  // namespace
}  // namespace baton::api

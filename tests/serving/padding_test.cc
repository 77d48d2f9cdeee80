#include "server/serving/padding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::serving {
namespace {

using Mode = repository::LengthOptions::Mode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

engine::ValueInfo Info(const std::string& name, DataType type, std::vector<engine::Dim> dims) {
  return {name, type, true, std::move(dims)};
}

// ids: int64[batch,seq], mask: float[batch,seq], image: float[batch,3,?]
// → tokens: float[batch,seq,2], pairs: float[batch,seq,seq], all: float[batch,5]
engine::Signature TwoLengths() {
  const engine::Dim batch{-1, "batch"}, seq{-1, "seq"};
  return {
      {Info("ids", DataType::kInt64, {batch, seq}), Info("mask", DataType::kFloat, {batch, seq}),
       Info("image", DataType::kFloat, {batch, {3, ""}, {-1, ""}})},
      {Info("tokens", DataType::kFloat, {batch, seq, {2, ""}}),
       Info("pairs", DataType::kFloat, {batch, seq, seq}),
       Info("all", DataType::kFloat, {batch, {5, ""}})}};
}

class PaddingTest : public ::testing::Test {
 protected:
  PaddingTest() {
    options_.mode = Mode::kBuckets;
    options_.buckets = {4, 8};
  }
  std::shared_ptr<const Padding> Make() {
    auto padding = Padding::Make(options_, TwoLengths());
    EXPECT_TRUE(padding.ok()) << padding.status();
    return *padding;
  }
  // Views without bytes, of inputs of these lengths.
  static std::vector<TensorView> Inputs(int64_t ids, int64_t mask, int64_t image,
                                        int64_t rows = 2) {
    return {{DataType::kInt64, {rows, ids}, nullptr},
            {DataType::kFloat, {rows, mask}, nullptr},
            {DataType::kFloat, {rows, 3, image}, nullptr}};
  }
  static ShapeKey Key(int64_t ids, int64_t mask, int64_t image) {
    return {1, ids, 1, mask, 2, 3, image};
  }

  repository::LengthOptions options_;
};

TEST_F(PaddingTest, RoundsEachLengthUpToItsBucket) {
  const auto padding = Make();
  EXPECT_FALSE(padding->joins_lengths());
  EXPECT_EQ(padding->KeyOf(Inputs(3, 3, 5)), Key(4, 4, 8));
  EXPECT_EQ(padding->KeyOf(Inputs(4, 4, 4)), Key(4, 4, 4));
  EXPECT_EQ(padding->KeyOf(Inputs(9, 9, 1)), Key(9, 9, 4)) << "longer than all buckets";
  EXPECT_EQ(padding->KeyOf(Inputs(0, 0, 1)), Key(0, 0, 4)) << "nothing to pad";
}

TEST_F(PaddingTest, RoundsUpToPowersOfTwo) {
  options_.mode = Mode::kPowersOfTwo;
  const auto padding = Make();
  EXPECT_EQ(padding->KeyOf(Inputs(1, 1, 2)), Key(1, 1, 2));
  EXPECT_EQ(padding->KeyOf(Inputs(5, 5, 1025)), Key(8, 8, 2048));
}

TEST_F(PaddingTest, LeavesTheModelToSayThatInputsDoNotFitTogether) {
  const auto padding = Make();
  EXPECT_EQ(padding->KeyOf(Inputs(3, 2, 5)), Key(3, 2, 5)) << "both are \"seq\"";
  std::vector<TensorView> inputs = Inputs(3, 3, 3);
  inputs[2].shape[1] = 4;
  EXPECT_EQ(padding->KeyOf(inputs), MakeShapeKey(inputs, true));
  inputs[1].shape = {2};
  EXPECT_EQ(padding->KeyOf(inputs), MakeShapeKey(inputs, true));
}

TEST_F(PaddingTest, PadsOnlyTheDimensionsThatAreNamed) {
  options_.dims = {"seq"};
  EXPECT_EQ(Make()->KeyOf(Inputs(3, 3, 5)), Key(4, 4, 5));
  EXPECT_THAT(Make()->BucketKeys(), IsEmpty()) << "the image's size is open";
}

TEST_F(PaddingTest, KnowsTheShapesOfItsBuckets) {
  EXPECT_THAT(Make()->BucketKeys(), ElementsAre(Key(4, 4, 4), Key(8, 8, 8)));
  options_.mode = Mode::kPowersOfTwo;
  options_.buckets = {};
  EXPECT_THAT(Make()->BucketKeys(), IsEmpty());
}

TEST_F(PaddingTest, JoinsLengthsToTheLongest) {
  options_.mode = Mode::kLongest;
  options_.buckets = {};
  const auto padding = Make();
  EXPECT_TRUE(padding->joins_lengths());
  EXPECT_EQ(padding->KeyOf(Inputs(3, 3, 5)), Key(3, 3, 5));
  EXPECT_EQ(padding->Join(Key(3, 3, 5), Key(7, 7, 2)), Key(7, 7, 5));
  EXPECT_EQ(padding->Join(Key(3, 3, 5), Key(0, 0, 5)), std::nullopt);
  ShapeKey other = Key(3, 3, 5);
  other[5] = 4;
  EXPECT_EQ(padding->Join(Key(3, 3, 5), other), std::nullopt) << "no length";
}

TEST_F(PaddingTest, TriesWhatIsPaddedToTheShortestAndToTheLongestBucket) {
  const auto trials = Make()->Trials();
  ASSERT_EQ(trials.size(), 2U);
  EXPECT_EQ(trials[0], std::make_pair(Key(3, 3, 3), Key(4, 4, 4)));
  EXPECT_EQ(trials[1], std::make_pair(Key(5, 5, 5), Key(8, 8, 8)));
  EXPECT_EQ(Make()->Longer(Key(4, 4, 9)), Key(8, 8, 9));
  EXPECT_EQ(Make()->Longer(Key(8, 8, 9)), std::nullopt);
}

TEST_F(PaddingTest, TriesLengthsOfItsOwnWithoutBuckets) {
  options_.buckets = {};
  for (const Mode mode : {Mode::kPowersOfTwo, Mode::kLongest}) {
    options_.mode = mode;
    const auto trials = Make()->Trials();
    ASSERT_GE(trials.size(), 2U);
    EXPECT_EQ(trials[0], std::make_pair(Key(5, 5, 5), Key(8, 8, 8)));
    EXPECT_NE(trials[1], trials[0]);
  }
}

TEST_F(PaddingTest, PadsWithZeroOrWhatIsGiven) {
  options_.pad_values = {{"ids", "-1"}};
  const auto padding = Make();
  const Tensor ids = Tensor::From<int64_t>({1, 3}, {5, 6, 7});
  const Tensor mask = Tensor::From<float>({1, 3}, {1, 1, 1});
  const Tensor image = Tensor::From<float>({1, 3, 1}, {1, 2, 3});
  const auto padded = padding->PadInputs(
      std::vector<TensorView>{ids.view(), mask.view(), image.view()}, Key(4, 4, 2));
  EXPECT_THAT(padded[0].values<int64_t>(), ElementsAre(5, 6, 7, -1));
  EXPECT_THAT(padded[1].values<float>(), ElementsAre(1, 1, 1, 0));
  EXPECT_THAT(padded[2].values<float>(), ElementsAre(1, 0, 2, 0, 3, 0));
}

TEST_F(PaddingTest, PadsWithTheFirstElementWhereAsked) {
  options_.pad_with_first_element = true;
  options_.pad_values = {{"mask", "0"}};
  const Tensor ids = Tensor::From<int64_t>({2, 1}, {5, 6});
  const Tensor mask = Tensor::From<float>({2, 1}, {1, 1});
  const Tensor image = Tensor::From<float>({2, 3, 1}, {1, 2, 3, 4, 5, 6});
  const auto padded = Make()->PadInputs(
      std::vector<TensorView>{ids.view(), mask.view(), image.view()}, Key(2, 2, 1));
  EXPECT_THAT(padded[0].values<int64_t>(), ElementsAre(5, 5, 6, 5)) << "of the whole tensor";
  EXPECT_THAT(padded[1].values<float>(), ElementsAre(1, 0, 1, 0));
}

TEST_F(PaddingTest, CutsOutputsThatHaveTheDimensionOfAnInput) {
  const auto padding = Make();
  const std::vector<Shape> plan = {{1, 4}, {1, 4}, {1, 3, 4}};
  const std::vector<TensorView> inputs = Inputs(2, 2, 3, 1);
  std::vector<Tensor> copies;

  const Tensor tokens = Tensor::From<float>({1, 4, 2}, {1, 2, 3, 4, 9, 9, 9, 9});
  TensorView output = tokens.view();
  ASSERT_TRUE(padding->CutOutput(0, inputs, plan, output, copies).ok());
  EXPECT_THAT(output.shape, ElementsAre(1, 2, 2));
  EXPECT_EQ(output.data, tokens.data()) << "its first bytes";
  EXPECT_THAT(copies, IsEmpty());

  Tensor pairs(DataType::kFloat, {1, 4, 4});
  for (size_t i = 0; i < 16; ++i) pairs.mutable_values<float>()[i] = static_cast<float>(i);
  output = pairs.view();
  ASSERT_TRUE(padding->CutOutput(1, inputs, plan, output, copies).ok());
  EXPECT_THAT(output.values<float>(), ElementsAre(0, 1, 4, 5));

  const Tensor all(DataType::kFloat, {1, 5});
  output = all.view();
  ASSERT_TRUE(padding->CutOutput(2, inputs, plan, output, copies).ok());
  EXPECT_THAT(output.shape, ElementsAre(1, 5));
  EXPECT_EQ(output.data, all.data());
}

TEST_F(PaddingTest, CutsEveryRow) {
  const std::vector<Shape> plan = {{2, 4}, {2, 4}, {2, 3, 4}};
  const Tensor tokens =
      Tensor::From<float>({2, 4, 2}, {1, 2, 9, 9, 9, 9, 9, 9, 3, 4, 9, 9, 9, 9, 9, 9});
  TensorView output = tokens.view();
  std::vector<Tensor> copies;
  ASSERT_TRUE(Make()->CutOutput(0, Inputs(1, 1, 4), plan, output, copies).ok());
  EXPECT_THAT(output.shape, ElementsAre(2, 1, 2));
  EXPECT_THAT(output.values<float>(), ElementsAre(1, 2, 3, 4));
}

TEST_F(PaddingTest, AnOutputOfAnotherLengthIsAnError) {
  const std::vector<Shape> plan = {{1, 4}, {1, 4}, {1, 3, 4}};
  const Tensor tokens(DataType::kFloat, {1, 3, 2});
  TensorView output = tokens.view();
  std::vector<Tensor> copies;
  const absl::Status status = Make()->CutOutput(0, Inputs(2, 2, 4, 1), plan, output, copies);
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_THAT(status.message(), HasSubstr("output \"tokens\" has shape [1,3,2], and not 4"));
}

TEST_F(PaddingTest, NamesOptionsThatDoNotFitTheModel) {
  const auto error = [this] {
    const absl::Status status = Padding::Make(options_, TwoLengths()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  options_.dims = {"seq", "words"};
  EXPECT_THAT(error(), HasSubstr("names \"words\"; the model's inputs leave open, by name: seq"));
  options_.dims = {"seq"};
  options_.pad_values = {{"words", "0"}};
  EXPECT_THAT(error(), HasSubstr("parameters[pad_value.words]"));
  options_.pad_values = {{"image", "0"}};
  EXPECT_THAT(error(), HasSubstr("parameters[pad_value.image]")) << "it is not padded";
  for (const char* wrong : {"", "a", "1.5", "99999999999999999999"}) {
    options_.pad_values = {{"ids", wrong}};
    EXPECT_THAT(error(), HasSubstr("expected a value of the input's type, int64"));
  }
  options_.pad_values = {{"mask", "nought"}};
  EXPECT_THAT(error(), HasSubstr("type, float"));
}

TEST_F(PaddingTest, ReadsPadValuesOfEveryType) {
  const auto pad_of = [this](DataType type, const std::string& text) {
    const engine::Dim open{-1, ""};
    options_.pad_values = {{"x", text}};
    auto padding =
        Padding::Make(options_, {{Info("x", type, {open, open})}, {Info("y", type, {open, open})}});
    if (!padding.ok()) return Tensor();
    const Tensor x(type, {1, 1});
    return (*padding)->PadInputs(std::vector<TensorView>{x.view()}, {1, 2})[0];
  };
  EXPECT_EQ(pad_of(DataType::kBool, "true").values<bool>()[1], true);
  EXPECT_EQ(pad_of(DataType::kInt8, "-128").values<int8_t>()[1], -128);
  EXPECT_TRUE(pad_of(DataType::kInt8, "-129").empty());
  EXPECT_TRUE(pad_of(DataType::kUint32, "-1").empty());
  EXPECT_EQ(pad_of(DataType::kUint64, "18446744073709551615").values<uint64_t>()[1], UINT64_MAX);
  EXPECT_EQ(pad_of(DataType::kFloat16, "-2.5").values<Float16>()[1].ToFloat(), -2.5f);
  EXPECT_EQ(pad_of(DataType::kDouble, "-inf").values<double>()[1],
            -std::numeric_limits<double>::infinity());
  EXPECT_EQ(pad_of(DataType::kString, "[PAD]").values<std::string>()[1], "[PAD]");
}

TEST_F(PaddingTest, AModelWithoutLengthsHasNothingToPad) {
  const engine::Dim batch{-1, "batch"}, four{4, ""};
  const auto fixed = Padding::Make(options_, {{Info("x", DataType::kFloat, {batch, four})},
                                              {Info("y", DataType::kFloat, {batch, four})}});
  EXPECT_TRUE(absl::IsFailedPrecondition(fixed.status())) << fixed.status();
  const auto no_batch = Padding::Make(options_, {{Info("x", DataType::kFloat, {four, batch})},
                                                 {Info("y", DataType::kFloat, {batch, four})}});
  EXPECT_TRUE(absl::IsFailedPrecondition(no_batch.status())) << no_batch.status();
}

}  // namespace
}  // namespace baton::serving

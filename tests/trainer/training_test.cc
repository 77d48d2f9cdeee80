#include "trainer/training.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/trainer/synthetic_digits.h"

namespace baton::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::SyntheticDigits;

constexpr Activation kRelu{Activation::Kind::kRelu};
constexpr Activation kTanh{Activation::Kind::kTanh};

class Recorder : public TrainingObserver {
 public:
  void OnBatch(const Progress& progress) override { batches.push_back(progress); }
  void OnEpoch(const Progress& progress) override { epochs.push_back(progress); }
  std::vector<Progress> batches, epochs;
};

// Asks to stop after some batches.
class Stopper : public TrainingObserver {
 public:
  Stopper(int after, std::atomic<bool>& stop) : after_(after), stop_(stop) {}
  void OnBatch(const Progress&) override { stop_ = ++seen == after_; }
  void OnEpoch(const Progress&) override {}
  int seen = 0;

 private:
  const int after_;
  std::atomic<bool>& stop_;
};

Network MakeNetwork(uint64_t seed = 1) {
  return *Network::Create({784}, {Dense{16}, kTanh, Dense{10}}, seed);
}

std::vector<float> Parameters(Network& network) {
  std::vector<float> all;
  for (const Parameter* parameter : network.parameters()) {
    const absl::Span<const float> values = parameter->value.values<float>();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

class TrainTest : public ::testing::Test {
 protected:
  const Dataset data_ = SyntheticDigits(230, 1);
  TrainingOptions options_{.epochs = 3, .batch_size = 32, .learning_rate = 0.01, .optimizer = {}};
  Recorder recorder_;
  std::atomic<bool> stop_ = false;
};

TEST_F(TrainTest, LossFallsAndTestDataIsRecognised) {
  Network network = MakeNetwork();
  const absl::StatusOr<Score> before = Evaluate(network, SyntheticDigits(100, 2), stop_);
  ASSERT_TRUE(before.ok()) << before.status();
  options_.epochs = 8;
  ASSERT_TRUE(Train(network, data_, options_, recorder_, stop_).ok());
  const absl::StatusOr<Score> after = Evaluate(network, SyntheticDigits(100, 2), stop_);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_LT(after->mean_loss(), before->mean_loss() / 4);
  EXPECT_GE(after->accuracy(), 0.97);
  EXPECT_LT(recorder_.epochs.back().score.mean_loss(), recorder_.epochs.front().score.mean_loss());
}

TEST_F(TrainTest, AConvolutionalNetLearns) {
  Network network =
      *Network::Create({1, 28, 28}, {Conv2D{4, 3}, kRelu, MaxPool{4}, Flatten{}, Dense{10}}, 1);
  options_.epochs = 8;
  ASSERT_TRUE(Train(network, data_, options_, recorder_, stop_).ok());
  const absl::StatusOr<Score> score = Evaluate(network, SyntheticDigits(100, 2), stop_);
  ASSERT_TRUE(score.ok()) << score.status();
  EXPECT_GE(score->accuracy(), 0.97);
}

TEST_F(TrainTest, SgdLearns) {
  Network network = MakeNetwork();
  options_.epochs = 8;
  options_.learning_rate = 0.05;
  options_.optimizer.kind = OptimizerKind::kSgd;
  ASSERT_TRUE(Train(network, data_, options_, recorder_, stop_).ok());
  const absl::StatusOr<Score> score = Evaluate(network, SyntheticDigits(100, 2), stop_);
  ASSERT_TRUE(score.ok()) << score.status();
  EXPECT_GE(score->accuracy(), 0.97);
}

TEST_F(TrainTest, TheSeedDecidesTheResult) {
  Network a = MakeNetwork(), b = MakeNetwork(), c = MakeNetwork();
  ASSERT_TRUE(Train(a, data_, options_, recorder_, stop_).ok());
  ASSERT_TRUE(Train(b, data_, options_, recorder_, stop_).ok());
  options_.seed = 2;
  ASSERT_TRUE(Train(c, data_, options_, recorder_, stop_).ok());
  EXPECT_EQ(Parameters(a), Parameters(b));
  EXPECT_NE(Parameters(a), Parameters(c));
}

TEST_F(TrainTest, ReportsEveryBatchAndEpochAndCountsTheRest) {
  Network network = MakeNetwork();
  ASSERT_TRUE(Train(network, data_, options_, recorder_, stop_).ok());
  ASSERT_EQ(recorder_.epochs.size(), 3u);
  ASSERT_EQ(recorder_.batches.size(), 3u * 8);  // 230 = 7·32 + 6
  EXPECT_EQ(recorder_.batches[6].score.items, 7 * 32);
  EXPECT_EQ(recorder_.batches[7].score.items, 230);
  EXPECT_EQ(recorder_.batches[8].score.items, 32);
  EXPECT_EQ(recorder_.epochs[2].epoch, 3);
  EXPECT_EQ(recorder_.epochs[2].score.items, 230);
}

TEST_F(TrainTest, ABatchLargerThanTheDataIsAllOfIt) {
  Network network = MakeNetwork();
  options_.batch_size = 1000;
  ASSERT_TRUE(Train(network, data_, options_, recorder_, stop_).ok());
  EXPECT_EQ(recorder_.batches.size(), 3u);
}

TEST_F(TrainTest, StopsWhenAsked) {
  Network network = MakeNetwork();
  Stopper stopper(10, stop_);
  const absl::Status status = Train(network, data_, options_, stopper, stop_);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(stopper.seen, 10);
  EXPECT_EQ(Evaluate(network, data_, stop_).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(TrainTest, ALossThatIsNoNumberIsAnError) {
  Network network = MakeNetwork();
  options_.learning_rate = 1e38;
  const absl::Status status = Train(network, data_, options_, recorder_, stop_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("loss is"), HasSubstr("epoch 1"), HasSubstr("learning rate")));
}

TEST_F(TrainTest, RejectsImagesOfAnotherSize) {
  Network network = *Network::Create({100}, {Dense{10}}, 1);
  const absl::Status status = Train(network, data_, options_, recorder_, stop_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("28x28"), HasSubstr("[100]")));
}

TEST(TrainingOptionsTest, NamesTheOptionThatIsWrong) {
  const auto error = [](auto change) {
    TrainingOptions options;
    change(options);
    return std::string(options.Validate().message());
  };
  EXPECT_THAT(error([](TrainingOptions& o) { o.epochs = 0; }), HasSubstr("epochs is 0"));
  EXPECT_THAT(error([](TrainingOptions& o) { o.batch_size = -1; }), HasSubstr("batch size is -1"));
  EXPECT_THAT(error([](TrainingOptions& o) { o.learning_rate = 0; }),
              HasSubstr("learning rate is 0"));
  EXPECT_THAT(error([](TrainingOptions& o) { o.learning_rate = std::nan(""); }),
              HasSubstr("learning rate is nan"));
  EXPECT_THAT(error([](TrainingOptions& o) { o.optimizer.weight_decay = -1; }),
              HasSubstr("weight decay is -1"));
  EXPECT_EQ(error([](TrainingOptions&) {}), "");
}

}  // namespace
}  // namespace baton::trainer

#include "trainer/progress_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/support/fake_clock.h"

namespace baton::trainer {
namespace {

using baton::testing::FakeClock;
using std::chrono::milliseconds;
using std::chrono::seconds;

Progress At(int epoch, int64_t batch) {
  return {
      .epoch = epoch,
      .epochs = 2,
      .batch = batch,
      .batches = 10,
      .score = {
          .loss = 8.0 * static_cast<double>(batch), .correct = 12 * batch, .items = 16 * batch}};
}

TEST(ProgressLineTest, ALogGetsALineEveryFewSecondsAndOneForEachEpoch) {
  FakeClock clock;
  std::ostringstream out;
  {
    ProgressLine line(out, false, clock);
    clock.Advance(seconds(60));  // reading data
    line.OnBatch(At(1, 1));
    EXPECT_EQ(out.str(), "");
    clock.Advance(seconds(4));
    line.OnBatch(At(1, 2));
    EXPECT_EQ(out.str(), "");
    clock.Advance(seconds(4));
    line.OnBatch(At(1, 3));
    clock.Advance(seconds(2));
    line.OnBatch(At(1, 10));
    line.OnEpoch(At(1, 10));
  }
  EXPECT_EQ(out.str(),
            "epoch 1/2  batch 3/10  loss 0.5000  accuracy 75.00 %  6 images/s\n"
            "epoch 1/2  batch 10/10  loss 0.5000  accuracy 75.00 %  16 images/s\n");
}

TEST(ProgressLineTest, ATerminalsLineIsRewrittenAndKeptForEachEpoch) {
  FakeClock clock;
  std::ostringstream out;
  {
    ProgressLine line(out, true, clock);
    line.OnBatch(At(2, 1));
    clock.Advance(milliseconds(200));
    line.OnBatch(At(2, 2));
    clock.Advance(milliseconds(200));
    line.OnBatch(At(2, 10));
    line.OnEpoch(At(2, 10));
  }
  EXPECT_EQ(out.str(),
            "\r\x1b[Kepoch 2/2  batch 2/10  loss 0.5000  accuracy 75.00 %  160 images/s"
            "\r\x1b[Kepoch 2/2  batch 10/10  loss 0.5000  accuracy 75.00 %  400 images/s"
            "\r\x1b[Kepoch 2/2  batch 10/10  loss 0.5000  accuracy 75.00 %  400 images/s\n");
}

TEST(ProgressLineTest, ALineLeftOpenIsEnded) {
  FakeClock clock;
  std::ostringstream out;
  {
    ProgressLine line(out, true, clock);
    clock.Advance(seconds(1));
    line.OnBatch(At(1, 1));
    clock.Advance(seconds(1));
    line.OnBatch(At(1, 5));
  }
  EXPECT_THAT(out.str(), ::testing::EndsWith("images/s\n"));
}

}  // namespace
}  // namespace baton::trainer

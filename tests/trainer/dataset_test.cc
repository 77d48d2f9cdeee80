#include "trainer/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/temp_dir.h"
#include "tests/trainer/synthetic_digits.h"

namespace baton::trainer {
namespace {

using baton::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Idx;
using testing::kImagesMagic;
using testing::kLabelsMagic;
using testing::SyntheticDigits;
using testing::WriteFile;
using testing::WriteMnist;

class ReadIdxTest : public ::testing::Test {
 protected:
  absl::StatusOr<Dataset> Read(const std::string& images, const std::string& labels) {
    WriteFile(dir_ / "images", images);
    WriteFile(dir_ / "labels", labels);
    return ReadIdx(dir_ / "images", dir_ / "labels", 10);
  }
  // What reading says about files that it must reject.
  std::string Error(const std::string& images, const std::string& labels) {
    const absl::Status status = Read(images, labels).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  const std::string images_ = Idx(kImagesMagic, {2, 2, 3}, std::string("\1\2\3\4\5\6abcdef"));
  const std::string labels_ = Idx(kLabelsMagic, {2}, "\7\1");
  TempDir dir_;
};

TEST_F(ReadIdxTest, ReadsImagesAndLabels) {
  const absl::StatusOr<Dataset> data = Read(images_, labels_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->rows, 2);
  EXPECT_EQ(data->columns, 3);
  EXPECT_THAT(data->labels, ElementsAre(7, 1));
  EXPECT_THAT(data->image(0), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(data->image(1), ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
}

TEST_F(ReadIdxTest, RejectsEveryTruncation) {
  for (size_t size = 0; size < images_.size(); ++size) {
    EXPECT_THAT(Error(images_.substr(0, size), labels_), HasSubstr("images")) << size;
  }
  for (size_t size = 0; size < labels_.size(); ++size) {
    EXPECT_THAT(Error(images_, labels_.substr(0, size)), HasSubstr("labels")) << size;
  }
}

TEST_F(ReadIdxTest, SaysWhatATruncatedFileShouldHold) {
  EXPECT_THAT(Error(images_.substr(0, images_.size() - 1), labels_),
              AllOf(HasSubstr("[2,2,3] = 12 bytes"), HasSubstr("holds 11")));
}

TEST_F(ReadIdxTest, RejectsBytesBehindTheEnd) {
  EXPECT_THAT(Error(images_ + "x", labels_), HasSubstr("holds 13"));
}

TEST_F(ReadIdxTest, RejectsAnotherMagicNumber) {
  EXPECT_THAT(Error(labels_, labels_), AllOf(HasSubstr("0x00000801"), HasSubstr("0x00000803")));
  EXPECT_THAT(Error(Idx(0x00000d03, {2, 2, 3}, std::string(12, 'x')), labels_),
              HasSubstr("unsigned bytes"));
}

TEST_F(ReadIdxTest, AdvisesToUnpackACompressedFile) {
  EXPECT_THAT(Error(std::string("\x1f\x8b\x08\x00", 4) + std::string(20, 'x'), labels_),
              HasSubstr("gunzip"));
}

TEST_F(ReadIdxTest, RejectsSizesWhoseProductOverflows) {
  EXPECT_THAT(Error(Idx(kImagesMagic, {0xffffffff, 0xffffffff, 0xffffffff}, "x"), labels_),
              HasSubstr("images"));
  EXPECT_THAT(Error(Idx(kImagesMagic, {0x80000000, 0x80000000, 4}, ""), labels_),
              HasSubstr("images"));
}

TEST_F(ReadIdxTest, RejectsAnotherNumberOfLabelsThanImages) {
  EXPECT_THAT(Error(images_, Idx(kLabelsMagic, {3}, "\1\1\1")),
              AllOf(HasSubstr("2 images"), HasSubstr("3 labels")));
}

TEST_F(ReadIdxTest, RejectsALabelThatIsNoClass) {
  EXPECT_THAT(Error(images_, Idx(kLabelsMagic, {2}, "\1\x0a")),
              AllOf(HasSubstr("label 1 is 10"), HasSubstr("0 to 9")));
}

TEST_F(ReadIdxTest, RejectsNoImages) {
  EXPECT_THAT(Error(Idx(kImagesMagic, {0, 2, 3}, ""), Idx(kLabelsMagic, {0}, "")),
              HasSubstr("no images"));
  EXPECT_THAT(Error(Idx(kImagesMagic, {2, 0, 3}, ""), labels_), HasSubstr("no images"));
}

TEST_F(ReadIdxTest, NamesAMissingFile) {
  const absl::Status status = ReadIdx(dir_ / "nothing", dir_ / "labels", 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nothing"));
}

TEST(ReadMnistTest, ReadsBothParts) {
  TempDir dir;
  const Dataset train = SyntheticDigits(5, 1), test = SyntheticDigits(3, 2);
  WriteMnist(dir.path(), train, test);
  const absl::StatusOr<Mnist> mnist = ReadMnist(dir.path(), 10);
  ASSERT_TRUE(mnist.ok()) << mnist.status();
  EXPECT_EQ(mnist->train.pixels, train.pixels);
  EXPECT_EQ(mnist->train.labels, train.labels);
  EXPECT_EQ(mnist->test.pixels, test.pixels);
  EXPECT_EQ(mnist->test.labels, test.labels);
}

TEST(ReadMnistTest, SaysHowToGetMissingFiles) {
  TempDir dir;
  const absl::Status status = ReadMnist(dir.path(), 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("train-images-idx3-ubyte"), HasSubstr("fetch-mnist.sh")));
}

TEST(ReadMnistTest, RejectsTestImagesOfAnotherSize) {
  TempDir dir;
  Dataset small{.rows = 1, .columns = 2, .pixels = {1, 2}, .labels = {0}};
  WriteMnist(dir.path(), SyntheticDigits(2, 1), small);
  const absl::Status status = ReadMnist(dir.path(), 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("1x2"), HasSubstr("28x28")));
}

TEST(ShuffledIndicesTest, IsAPermutationThatSeedAndEpochDecide) {
  const std::vector<int64_t> order = ShuffledIndices(100, 1, 0);
  EXPECT_EQ(order, ShuffledIndices(100, 1, 0));
  EXPECT_NE(order, ShuffledIndices(100, 1, 1));
  EXPECT_NE(order, ShuffledIndices(100, 2, 0));
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace baton::trainer

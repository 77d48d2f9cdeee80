#include "client/idx_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace baton {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Header(uint8_t type, const std::vector<uint32_t>& dims) {
  std::string bytes{'\0', '\0', static_cast<char>(type), static_cast<char>(dims.size())};
  for (const uint32_t dim : dims) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(dim >> shift);
  }
  return bytes;
}

class IdxFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<IdxFile> ReadBytes(const std::string& bytes) {
    std::ofstream(dir_ / "data", std::ios::binary) << bytes;
    return IdxFile::Read(dir_ / "data");
  }
  std::string MessageFor(const std::string& bytes) {
    const auto file = ReadBytes(bytes);
    return file.ok() ? "read" : std::string(file.status().message());
  }
  testing::TempDir dir_;
};

TEST_F(IdxFileTest, ReadsImagesAndLabels) {
  const auto images = ReadBytes(Header(8, {2, 2, 3}) + "abcdefghijkl");
  ASSERT_TRUE(images.ok()) << images.status();
  EXPECT_EQ(images->size(), 2);
  const auto second = images->ImageAt(1);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->width, 3);
  EXPECT_EQ(second->height, 2);
  EXPECT_THAT(second->pixels, ElementsAre('g', 'h', 'i', 'j', 'k', 'l'));

  const auto labels = ReadBytes(Header(8, {3}) + "\x07\x02\x01");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_THAT(*labels->Labels(), ElementsAre(7, 2, 1));
}

TEST_F(IdxFileTest, ReadsGzip) {
  const std::string bytes = Header(8, {1, 1, 2}) + "xy";
  gzFile out = gzopen((dir_ / "data.gz").c_str(), "wb");
  gzwrite(out, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(out);
  const auto file = IdxFile::Read(dir_ / "data.gz");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->ImageAt(0)->pixels, ElementsAre('x', 'y'));
  // Cut off, it is an error, not a shorter file.
  std::filesystem::resize_file(dir_ / "data.gz", std::filesystem::file_size(dir_ / "data.gz") - 9);
  EXPECT_FALSE(IdxFile::Read(dir_ / "data.gz").ok());
}

TEST_F(IdxFileTest, RefusesWhatIsNotWholeAndRight) {
  EXPECT_THAT(MessageFor(""), HasSubstr("not an idx file"));
  EXPECT_THAT(MessageFor("\x89PNG"), HasSubstr("not an idx file"));
  EXPECT_THAT(MessageFor(Header(0x0D, {1}) + "abcd"), HasSubstr("type 13; expected 8"));
  EXPECT_THAT(MessageFor(Header(8, {})), HasSubstr("0 dimensions"));
  EXPECT_THAT(MessageFor(Header(8, {1, 1, 1, 1, 1}) + "a"), HasSubstr("5 dimensions"));
  EXPECT_THAT(MessageFor(Header(8, {2, 2, 2}).substr(0, 9)), HasSubstr("ends in its header"));
  EXPECT_THAT(MessageFor(Header(8, {2, 2, 2}) + "abcdefg"), HasSubstr("holds 7 bytes"));
  EXPECT_THAT(MessageFor(Header(8, {2, 2, 2}) + "abcdefghi"), HasSubstr("more data"));
  EXPECT_THAT(MessageFor(Header(8, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF})),
              HasSubstr("at most"));
  EXPECT_THAT(MessageFor(Header(8, {1000, 1000, 1000}) + "abc"), HasSubstr("holds 3 bytes"));
}

TEST_F(IdxFileTest, RefusesWhatIsNotThere) {
  const auto images = ReadBytes(Header(8, {2, 1, 1}) + "ab");
  EXPECT_TRUE(absl::IsOutOfRange(images->ImageAt(2).status()));
  EXPECT_TRUE(absl::IsOutOfRange(images->ImageAt(-1).status()));
  EXPECT_THAT(std::string(images->ImageAt(2).status().message()), HasSubstr("(0 to 1)"));
  EXPECT_FALSE(images->Labels().ok());
  const auto labels = ReadBytes(Header(8, {2}) + "ab");
  EXPECT_THAT(std::string(labels->ImageAt(0).status().message()), HasSubstr("file of labels"));
  const auto none = ReadBytes(Header(8, {0, 28, 28}));
  EXPECT_TRUE(absl::IsOutOfRange(none->ImageAt(0).status()));
  EXPECT_TRUE(absl::IsNotFound(IdxFile::Read(dir_ / "nothing").status()));
  EXPECT_FALSE(IdxFile::Read(dir_.path()).ok());
}

}  // namespace
}  // namespace baton

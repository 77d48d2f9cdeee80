#include "server/api/tf_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/tf_record_file.h"

namespace baton::api {
namespace {

using ::baton::testing::LittleEndian;
using ::baton::testing::TfRecord;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Error(const std::string& contents) {
  const auto records = ParseTfRecords(contents);
  EXPECT_EQ(records.status().code(), absl::StatusCode::kDataLoss) << records.status();
  return std::string(records.status().message());
}

// 0xe3069283 is CRC-32C's published check value, 0x8a9136aa that of 32 zero bytes (RFC 3720);
// masked: rotated right by 15, and 0xa282ead8 added.
TEST(MaskedCrc32c, GivesPublishedValues) {
  EXPECT_EQ(MaskedCrc32c("123456789"), 0xc78ab0e5);
  EXPECT_EQ(MaskedCrc32c(std::string(32, '\0')), 0x0fd7fffau);
  EXPECT_EQ(MaskedCrc32c(""), 0xa282ead8);
}

TEST(ParseTfRecords, ReadsWhatTensorFlowWrites) {
  EXPECT_THAT(*ParseTfRecords(""), IsEmpty());
  // An empty record, as it is at the beginning of many a file.
  const std::string empty("\0\0\0\0\0\0\0\0\x29\x03\x98\x07\xd8\xea\x82\xa2", 16);
  EXPECT_THAT(*ParseTfRecords(empty), ElementsAre(""));
  EXPECT_THAT(*ParseTfRecords(TfRecord("abc") + empty + TfRecord("d")),
              ElementsAre("abc", "", "d"));
}

TEST(ParseTfRecords, SaysWhichRecordIsBrokenAndHow) {
  const std::string good = TfRecord("abc");
  EXPECT_THAT(Error(good + "x"), HasSubstr("record 2: the file ends inside its length"));
  EXPECT_THAT(Error(std::string(100, 'x')), HasSubstr("record 1: the checksum of its length"));
  EXPECT_THAT(Error(good + good.substr(0, good.size() - 1)),
              HasSubstr("record 2: its length is 3 bytes, but the file has 6 after it"));
  std::string other = good;
  other[12] = 'x';
  EXPECT_THAT(Error(other), HasSubstr("record 1: the checksum of its bytes is wrong"));
  const std::string huge = LittleEndian(~uint64_t{0}, 8);
  EXPECT_THAT(Error(huge + LittleEndian(MaskedCrc32c(huge), 4) + "abcdefgh"),
              HasSubstr("its length is 18446744073709551615 bytes"));
}

}  // namespace
}  // namespace baton::api

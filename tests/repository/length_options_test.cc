#include "server/repository/length_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace baton::repository {
namespace {

using Mode = LengthOptions::Mode;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

LengthOptions Set(const std::string& key, const std::string& value) {
  LengthOptions options;
  EXPECT_TRUE(IsLengthOption(key)) << key;
  const absl::Status status = SetLengthOption(key, value, options);
  EXPECT_TRUE(status.ok()) << status;
  return options;
}

TEST(LengthOptionsTest, KnowsItsKeys) {
  for (const char* key : {"length_buckets", "length_dims", "pad_value.ids"}) {
    EXPECT_TRUE(IsLengthOption(key)) << key;
  }
  for (const char* key : {"length_bucket", "pad_value", "length_dims.x", ""}) {
    EXPECT_FALSE(IsLengthOption(key)) << key;
  }
}

TEST(LengthOptionsTest, ReadsEveryMode) {
  EXPECT_EQ(LengthOptions().mode, std::nullopt);
  EXPECT_EQ(Set("length_buckets", "none").mode, Mode::kExact);
  EXPECT_EQ(Set("length_buckets", "pow2").mode, Mode::kPowersOfTwo);
  EXPECT_EQ(Set("length_buckets", "longest").mode, Mode::kLongest);
  const LengthOptions buckets = Set("length_buckets", "16, 32,128");
  EXPECT_EQ(buckets.mode, Mode::kBuckets);
  EXPECT_THAT(buckets.buckets, ElementsAre(16, 32, 128));
}

TEST(LengthOptionsTest, ReadsDimensionsAndPadValues) {
  EXPECT_THAT(Set("length_dims", "seq, words").dims, ElementsAre("seq", "words"));
  EXPECT_THAT(LengthOptions().dims, IsEmpty());
  EXPECT_THAT(Set("pad_value.ids", "-1").pad_values, ElementsAre(Pair("ids", "-1")));
}

TEST(LengthOptionsTest, RefusesWhatCannotBe) {
  std::string many = "1";
  for (int i = 2; i <= 33; ++i) absl::StrAppend(&many, ",", i);
  for (const std::string& wrong : {std::string(""), std::string("powers"), std::string("16,"),
                                   std::string("32,16"), std::string("16,16"), std::string("0,16"),
                                   std::string("-4"), std::string("99999999999"), many}) {
    LengthOptions options;
    const absl::Status status = SetLengthOption("length_buckets", wrong, options);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << wrong;
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("parameters[length_buckets] is \"" + wrong + "\""),
                      HasSubstr("\"16,32,64\"")));
  }
  LengthOptions options;
  EXPECT_TRUE(absl::IsInvalidArgument(SetLengthOption("length_dims", "seq,,n", options)));
}

}  // namespace
}  // namespace baton::repository

#include "server/repository/batching_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::repository {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<BatchingParameters> Parse(const std::string& text) {
  return ParseBatchingParameters(text, "/etc/batching.config");
}

TEST(ParseBatchingParameters, ReadsTensorFlowServingsExample) {
  const auto parameters = Parse(R"(
    max_batch_size { value: 128 }
    batch_timeout_micros { value: 0 }
    max_enqueued_batches { value: 1000000 }
    num_batch_threads { value: 8 }
    allowed_batch_sizes: [ 1, 32, 128 ]
    pad_variable_length_inputs: true)");
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  EXPECT_EQ(parameters->max_batch_rows, 128);
  EXPECT_EQ(parameters->max_delay_us, 0);
  EXPECT_EQ(parameters->max_waiting_batches, 1000000);
  EXPECT_EQ(parameters->max_running_batches, 8);
  EXPECT_THAT(parameters->preferred_rows, ElementsAre(1, 32, 128));
  EXPECT_TRUE(parameters->pad_to_longest);
  EXPECT_THAT(parameters->warnings, IsEmpty());
}

TEST(ParseBatchingParameters, NamesWhatHasNoEffect) {
  const auto parameters = Parse("thread_pool_name { value: \"t\" }");
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  EXPECT_THAT(parameters->warnings,
              ElementsAre(AllOf(HasSubstr("/etc/batching.config"), HasSubstr("thread_pool_name"))));
  EXPECT_FALSE(parameters->pad_to_longest);
}

TEST(ParseBatchingParameters, RefusesWhatCannotBe) {
  const std::pair<const char*, const char*> kCases[] = {
      {"max_batch_size: 3", ":1:"},
      {"max_batch { value: 3 }", "max_batch"},
      {"max_batch_size { value: 0 }", "max_batch_size is 0"},
      {"batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1"},
      {"allowed_batch_sizes: 4", "allowed_batch_sizes"},
      {"max_batch_size { value: 8 } allowed_batch_sizes: [ 8, 4 ]", "ascending"},
      {"max_batch_size { value: 8 } allowed_batch_sizes: [ 2, 4 ]", "end with max_batch_size"},
  };
  for (const auto& [text, complaint] : kCases) {
    const absl::Status status = Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("/etc/batching.config"), HasSubstr(complaint)));
  }
}

TEST(Merge, TakesWhatIsGivenFirst) {
  const auto model = Parse("max_batch_size { value: 4 } num_batch_threads { value: 1 }");
  const auto server = Parse(
      "max_batch_size { value: 8 } allowed_batch_sizes: [ 2, 8 ] batch_timeout_micros { value: 5 "
      "}");
  const BatchingParameters merged = Merge(*model, *server);
  EXPECT_EQ(merged.max_batch_rows, 4);
  EXPECT_THAT(merged.preferred_rows, IsEmpty());
  EXPECT_EQ(merged.max_delay_us, 5);
  EXPECT_EQ(merged.max_running_batches, 1);
  EXPECT_THAT(Merge({}, *server).preferred_rows, ElementsAre(2, 8));
  const auto padding = Parse("pad_variable_length_inputs: true");
  EXPECT_TRUE(Merge({}, *padding).pad_to_longest);
  EXPECT_TRUE(Merge(*padding, {}).pad_to_longest);
  EXPECT_FALSE(merged.pad_to_longest);
}

}  // namespace
}  // namespace baton::repository

#include "server/repository/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "tests/repository/write_file.h"
#include "tests/support/temp_dir.h"

namespace baton::repository {
namespace {

using ::baton::testing::TempDir;
using ::baton::testing::WriteAt;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

absl::StatusOr<ModelConfig> Parse(const std::string& text) {
  return ParseModelConfig(text, "/r/m/config.pbtxt", "m");
}

TEST(ParseModelConfig, AnEmptyTextLeavesEverythingToTheModel) {
  const auto config = Parse("");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->max_batch_size.has_value());
  EXPECT_FALSE(config->version_policy.has_value());
  EXPECT_FALSE(config->precision.has_value());
  EXPECT_THAT(config->inputs, IsEmpty());
  EXPECT_THAT(config->dynamic_batching.preferred_batch_sizes, IsEmpty());
  EXPECT_THAT(config->warnings, IsEmpty());
}

TEST(ParseModelConfigJson, ReadsWhatARequestToLoadSends) {
  const auto config = ParseModelConfigJson(
      R"({"max_batch_size": 8, "version_policy": {"specific": {"versions": ["2", 3]}}})",
      "the request's config", "m");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_batch_size, 8);
  EXPECT_THAT(config->version_policy->specific, ElementsAre(2, 3));
  for (const char* wrong : {"{", R"({"max_batch_sizes": 8})", R"({"max_batch_size": -1})"}) {
    const auto status = ParseModelConfigJson(wrong, "the request's config", "m").status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr("the request's config: ")) << wrong;
  }
}

TEST(ParseModelConfig, ReadsEveryFieldThatIsHonoured) {
  const auto config = Parse(R"(
    # as Triton's own examples write it
    name: "m"
    platform: "onnxruntime_onnx"
    backend: "onnxruntime"
    max_batch_size: 8
    default_model_filename: "model.onnx"
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1, 224 ] } ]
    output [
      { name: "y" data_type: TYPE_INT64 dims: [ 10 ] },
      { name: "s" data_type: TYPE_STRING dims: [ ] }
    ]
    version_policy: { latest { num_versions: 2 } }
    dynamic_batching {
      preferred_batch_size: [ 8, 4 ]
      max_queue_delay_microseconds: 100
      priority_levels: 3
      default_priority_level: 2
      default_queue_policy {
        max_queue_size: 16
        default_timeout_microseconds: 5000
        allow_timeout_override: false
        timeout_action: DELAY
      }
      priority_queue_policy { key: 1 value { max_queue_size: 4 } }
    }
    instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 } ]
    parameters { key: "precision" value { string_value: "bf16" } }
    parameters { key: "label.stable" value { string_value: "4" } }
    parameters { key: "latency_target_ms" value { string_value: "12.5" } }
    parameters { key: "length_buckets" value { string_value: "pow2" } }
  )");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_batch_size, 8);
  ASSERT_EQ(config->inputs.size(), 1u);
  EXPECT_EQ(config->inputs[0].name, "x");
  EXPECT_EQ(config->inputs[0].type, DataType::kFloat);
  EXPECT_THAT(config->inputs[0].dims, ElementsAre(3, -1, 224));
  ASSERT_EQ(config->outputs.size(), 2u);
  EXPECT_EQ(config->outputs[0].type, DataType::kInt64);
  EXPECT_EQ(config->outputs[1].type, DataType::kString);
  EXPECT_THAT(config->outputs[1].dims, IsEmpty());
  EXPECT_EQ(config->version_policy, (VersionPolicy{VersionPolicy::Kind::kLatest, 2, {}}));
  EXPECT_THAT(config->dynamic_batching.preferred_batch_sizes, ElementsAre(4, 8));
  EXPECT_EQ(config->dynamic_batching.max_queue_delay_us, 100);
  EXPECT_EQ(config->dynamic_batching.queue.max_queue_size, 16);
  EXPECT_EQ(config->dynamic_batching.queue.default_timeout_us, 5000);
  EXPECT_EQ(config->precision, "bf16");
  EXPECT_EQ(config->dynamic_batching.priority_levels, 3);
  EXPECT_EQ(config->dynamic_batching.default_priority_level, 2);
  EXPECT_FALSE(config->dynamic_batching.queue.allow_timeout_override);
  EXPECT_TRUE(config->dynamic_batching.queue.delay);
  EXPECT_EQ(config->dynamic_batching.level_queues.at(1).max_queue_size, 4);
  EXPECT_FALSE(config->dynamic_batching.level_queues.at(1).delay);
  EXPECT_EQ(config->latency_target_ms, 12.5);
  EXPECT_EQ(config->lengths.mode, LengthOptions::Mode::kPowersOfTwo);
  EXPECT_EQ(config->instance_count, 3);
  EXPECT_THAT(config->labels, ElementsAre(Pair("stable", 4)));
  EXPECT_THAT(config->parameters,
              ElementsAre(Pair("label.stable", "4"), Pair("latency_target_ms", "12.5"),
                          Pair("length_buckets", "pow2"), Pair("precision", "bf16")));
  EXPECT_THAT(config->warnings, IsEmpty());
}

TEST(ParseModelConfig, TellsZeroFromNotGiven) {
  EXPECT_EQ(Parse("max_batch_size: 0")->max_batch_size, 0);
  EXPECT_EQ(Parse("")->max_batch_size, std::nullopt);
}

TEST(ParseModelConfig, ReadsEveryVersionPolicy) {
  using Kind = VersionPolicy::Kind;
  EXPECT_EQ(Parse("version_policy { all {} }")->version_policy, (VersionPolicy{Kind::kAll, 1, {}}));
  EXPECT_EQ(Parse("version_policy { specific { versions: [ 4, 1, 4 ] } }")->version_policy,
            (VersionPolicy{Kind::kSpecific, 1, {1, 4}}));
  EXPECT_EQ(Parse("version_policy { latest {} }")->version_policy, VersionPolicy());
  EXPECT_EQ(Parse("version_policy {}")->version_policy, VersionPolicy());
}

TEST(ParseModelConfig, KnowsEveryDataType) {
  const std::pair<const char*, DataType> types[] = {
      {"TYPE_BOOL", DataType::kBool},     {"TYPE_UINT8", DataType::kUint8},
      {"TYPE_UINT16", DataType::kUint16}, {"TYPE_UINT32", DataType::kUint32},
      {"TYPE_UINT64", DataType::kUint64}, {"TYPE_INT8", DataType::kInt8},
      {"TYPE_INT16", DataType::kInt16},   {"TYPE_INT32", DataType::kInt32},
      {"TYPE_INT64", DataType::kInt64},   {"TYPE_FP16", DataType::kFloat16},
      {"TYPE_FP32", DataType::kFloat},    {"TYPE_FP64", DataType::kDouble},
      {"TYPE_STRING", DataType::kString}, {"TYPE_BF16", DataType::kBfloat16}};
  for (const auto& [name, type] : types) {
    const auto config = Parse(std::string("input { name: \"x\" dims: 1 data_type: ") + name + " }");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->inputs[0].type, type) << name;
  }
}

struct BadConfig {
  std::string name;
  std::string text;
  std::vector<std::string> said;  // all of them are in the message
};

class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefusedAndSaysWhy) {
  const auto config = Parse(GetParam().text);
  ASSERT_TRUE(absl::IsInvalidArgument(config.status())) << config.status();
  EXPECT_THAT(std::string(config.status().message()), ::testing::StartsWith("/r/m/config.pbtxt:"));
  for (const std::string& part : GetParam().said) {
    EXPECT_THAT(config.status().message(), HasSubstr(part));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadConfigTest,
    ::testing::Values(
        BadConfig{"Syntax", "name: \"m\"\nmax_batch_size 8\n", {"config.pbtxt:2:16: "}},
        BadConfig{"UnknownField", "\n\nmax_batchsize: 8", {"config.pbtxt:3:", "max_batchsize"}},
        BadConfig{"UnknownNestedField",
                  "dynamic_batching {\n  preferred_size: 4\n}",
                  {"config.pbtxt:2:", "preferred_size"}},
        // The parser points behind the value, so to the next line where it ends its own.
        BadConfig{"UnknownEnum",
                  "input {\n name: \"x\" data_type: FLOAT dims: 1\n}",
                  {"config.pbtxt:2:", "FLOAT", "data_type"}},
        BadConfig{"WrongType", "max_batch_size: \"8\"", {"config.pbtxt:1:"}},
        BadConfig{"Unterminated", "input { name: \"x\"", {"config.pbtxt:1:"}},
        BadConfig{"TwoSchedulers",
                  "dynamic_batching {}\nsequence_batching {}",
                  {"config.pbtxt:2:", "scheduling_choice"}},
        BadConfig{"Binary", std::string("\x08\x96\x01\0\xff", 5), {"config.pbtxt:1:"}},
        BadConfig{"OtherName", "name: \"other\"", {"\"other\"", "\"m\""}},
        BadConfig{"Platform", "platform: \"tensorrt_plan\"", {"tensorrt_plan", "onnxruntime_onnx"}},
        BadConfig{"Backend", "backend: \"python\"", {"backend", "python", "onnxruntime"}},
        BadConfig{"NegativeBatch", "max_batch_size: -1", {"max_batch_size is -1"}},
        BadConfig{"InputWithoutName", "input { data_type: TYPE_FP32 }", {"input[0] has no name"}},
        BadConfig{"OutputWithoutType", "output { name: \"y\" }", {"output \"y\"", "data_type"}},
        BadConfig{"InputTwice",
                  "input { name: \"x\" data_type: TYPE_FP32 dims: 1 }"
                  "input { name: \"x\" data_type: TYPE_FP32 dims: 1 }",
                  {"input \"x\" is listed twice"}},
        BadConfig{"BadDimension",
                  "input { name: \"x\" data_type: TYPE_FP32 dims: [ 3, 0 ] }",
                  {"input \"x\"", "dimension 0"}},
        BadConfig{"WarmUpWithoutType",
                  "model_warmup { name: \"w\" inputs { key: \"x\" value { zero_data: true } } }",
                  {"model_warmup \"w\"", "input \"x\"", "data_type"}},
        BadConfig{"WarmUpOfAnySize",
                  "model_warmup { name: \"w\" inputs { key: \"x\" value "
                  "{ data_type: TYPE_FP32 dims: [ 3, -1 ] zero_data: true } } }",
                  {"model_warmup \"w\"", "input \"x\"", "dimension -1"}},
        BadConfig{"WarmUpWithoutData",
                  "model_warmup { name: \"w\" inputs { key: \"x\" value "
                  "{ data_type: TYPE_FP32 dims: 3 } } }",
                  {"model_warmup \"w\"", "input \"x\"", "zero_data", "input_data_file"}},
        BadConfig{"NoSpecificVersion", "version_policy { specific {} }", {"specific"}},
        BadConfig{"BadSpecificVersion",
                  "version_policy { specific { versions: 0 } }",
                  {"specific version 0"}},
        BadConfig{"PreferredOverMax",
                  "max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }",
                  {"preferred_batch_size is 8", "max_batch_size, 4"}},
        BadConfig{"PreferredNotPositive",
                  "dynamic_batching { preferred_batch_size: 0 }",
                  {"preferred_batch_size is 0"}},
        BadConfig{"DelayTooLarge",
                  "dynamic_batching { max_queue_delay_microseconds: 18446744073709551615 }",
                  {"max_queue_delay_microseconds is 18446744073709551615"}},
        BadConfig{"PolicyOfNoLevel",
                  "dynamic_batching { priority_levels: 2 default_priority_level: 1"
                  " priority_queue_policy { key: 3 value {} } }",
                  {"priority_queue_policy[3]", "1 to priority_levels, 2"}},
        BadConfig{"TimeoutOfALevelTooLarge",
                  "dynamic_batching { priority_levels: 2 default_priority_level: 1"
                  " priority_queue_policy { key: 2 value {"
                  "   default_timeout_microseconds: 18446744073709551615 } } }",
                  {"priority_queue_policy[2].default_timeout_microseconds is 184467"}},
        BadConfig{"LatencyTarget",
                  "parameters { key: \"latency_target_ms\" value { string_value: \"0\" } }",
                  {"parameters[latency_target_ms] is \"0\"", "milliseconds"}},
        BadConfig{"LengthBuckets",
                  "parameters { key: \"length_buckets\" value { string_value: \"big\" } }",
                  {"parameters[length_buckets] is \"big\"", "\"pow2\""}},
        BadConfig{"Precision",
                  "parameters { key: \"precision\" value { string_value: \"fp16\" } }",
                  {"parameters[precision]", "fp16", "bf16"}}),
    [](const auto& info) { return info.param.name; });

struct IgnoredField {
  std::string field;
  std::string text;
};

class IgnoredFieldTest : public ::testing::TestWithParam<IgnoredField> {};

TEST_P(IgnoredFieldTest, IsNamedInOneWarning) {
  const auto config = Parse(GetParam().text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->warnings, ElementsAre(AllOf(HasSubstr("/r/m/config.pbtxt"),
                                                  HasSubstr("\"" + GetParam().field + "\""))));
}

INSTANTIATE_TEST_SUITE_P(
    Table, IgnoredFieldTest,
    ::testing::Values(
        IgnoredField{"instance_group.kind", "instance_group [ { count: 2 kind: KIND_GPU } ]"},
        IgnoredField{"optimization", "optimization { graph { level: 1 } }"},
        IgnoredField{"default_model_filename", "default_model_filename: \"net.onnx\""},
        IgnoredField{"cc_model_filenames", "cc_model_filenames { key: \"7.5\" value: \"a\" }"},
        IgnoredField{"metric_tags", "metric_tags { key: \"a\" value: \"b\" }"},
        IgnoredField{"runtime", "runtime: \"x\""},
        IgnoredField{"sequence_batching", "sequence_batching {}"},
        IgnoredField{"ensemble_scheduling", "ensemble_scheduling { step { model_name: \"a\" } }"},
        IgnoredField{"batch_input", "batch_input { kind: BATCH_ELEMENT_COUNT }"},
        IgnoredField{"batch_output", "batch_output { target_name: \"y\" }"},
        IgnoredField{"model_operations", "model_operations { op_library_filename: \"a.so\" }"},
        IgnoredField{"model_transaction_policy", "model_transaction_policy { decoupled: true }"},
        IgnoredField{"model_repository_agents",
                     "model_repository_agents { agents { name: \"c\" }}"},
        IgnoredField{"response_cache", "response_cache { enable: true }"},
        IgnoredField{"model_metrics", "model_metrics { metric_control {} }"},
        IgnoredField{"input.format",
                     "input [ { name: \"x\" data_type: TYPE_FP32 dims: 1 format: FORMAT_NCHW },"
                     "        { name: \"z\" data_type: TYPE_FP32 dims: 1 format: FORMAT_NCHW } ]"},
        IgnoredField{"input.optional",
                     "input { name: \"x\" data_type: TYPE_FP32 dims: 1 optional: true }"},
        IgnoredField{"input.reshape",
                     "input { name: \"x\" data_type: TYPE_FP32 dims: 1 reshape { shape: [] } "
                     "allow_ragged_batch: false }"
                     "input { name: \"z\" data_type: TYPE_FP32 dims: 1 reshape { shape: [ 1 ] } }"},
        IgnoredField{"output.reshape",
                     "output { name: \"y\" data_type: TYPE_FP32 dims: 1 reshape { shape: 1 } }"},
        IgnoredField{"dynamic_batching.preserve_ordering",
                     "dynamic_batching { preserve_ordering: true }"},
        IgnoredField{"dynamic_batching.priority_queue_policy",
                     "dynamic_batching { priority_queue_policy { key: 1 value {} } }"},
        IgnoredField{"parameters[execution_mode]",
                     "parameters { key: \"execution_mode\" value { string_value: \"1\" } }"}),
    [](const auto& info) {
      std::string name = info.param.field;
      std::replace_if(
          name.begin(), name.end(), [](char c) { return !isalnum(c); }, '_');
      return name;
    });

TEST(ParseModelConfig, DoesNotWarnOfWhatAsksForNothing) {
  const auto config = Parse(
      "dynamic_batching { preserve_ordering: false default_queue_policy { timeout_action: REJECT } "
      "} response_cache { enable: false } model_transaction_policy { decoupled: false } "
      "optimization {}");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->warnings, IsEmpty());
}

TEST(ParseModelConfig, ReadsWarmUps) {
  const auto config = Parse(R"(
    model_warmup [
      { name: "a" batch_size: 4 count: 2
        inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3, 2 ] zero_data: false } }
        inputs { key: "n" value { data_type: TYPE_INT64 dims: [] random_data: true } } },
      { inputs { key: "s" value { data_type: TYPE_STRING dims: 1 input_data_file: "f" } } }
    ])");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->warnings, IsEmpty());
  ASSERT_EQ(config->warm_ups.size(), 2u);
  const WarmUpSample& a = config->warm_ups[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.batch_size, 4);
  EXPECT_EQ(a.count, 2);
  EXPECT_EQ(a.inputs.at("x").type, DataType::kFloat);
  EXPECT_THAT(a.inputs.at("x").dims, ElementsAre(3, 2));
  EXPECT_EQ(a.inputs.at("x").data, WarmUpInput::Data::kZero);  // whatever its value is
  EXPECT_THAT(a.inputs.at("n").dims, IsEmpty());
  EXPECT_EQ(a.inputs.at("n").data, WarmUpInput::Data::kRandom);
  const WarmUpSample& b = config->warm_ups[1];
  EXPECT_EQ(b.batch_size, 0);
  EXPECT_EQ(b.count, 1);  // 0 is once
  EXPECT_EQ(b.inputs.at("s").data, WarmUpInput::Data::kFile);
  EXPECT_EQ(b.inputs.at("s").file, "f");
}

TEST(ReadModelConfig, DefaultsWhereThereIsNoFile) {
  TempDir dir;
  const auto config = ReadModelConfig(dir.path(), "m");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->max_batch_size.has_value());
}

TEST(ReadModelConfig, ReadsTheFileAndNamesItInErrors) {
  TempDir dir;
  WriteAt(dir / "config.pbtxt", "max_batch_size: 4");
  EXPECT_EQ(ReadModelConfig(dir.path(), "m")->max_batch_size, 4);
  WriteAt(dir / "config.pbtxt", "max_batch_size 4");
  EXPECT_THAT(ReadModelConfig(dir.path(), "m").status().message(),
              HasSubstr(dir / "config.pbtxt:1:"));
}

TEST(ReadModelConfig, ADirectoryInItsPlaceIsAnError) {
  TempDir dir;
  std::filesystem::create_directory(dir / "config.pbtxt");
  EXPECT_THAT(ReadModelConfig(dir.path(), "m").status().message(), HasSubstr(dir / "config.pbtxt"));
}

TensorSpec Spec(const std::string& name, DataType type, std::vector<int64_t> dims) {
  return {name, type, true, std::move(dims)};
}

// A model x:[?,3] float, n:[?] int64 → y:[?,2] float.
class CheckAgainstSignatureTest : public ::testing::Test {
 protected:
  absl::Status Check(const std::string& text) const {
    const auto config = Parse(text);
    if (!config.ok()) return config.status();
    return CheckAgainstSignature(*config, inputs_, outputs_);
  }

  std::vector<TensorSpec> inputs_ = {Spec("x", DataType::kFloat, {-1, 3}),
                                     Spec("n", DataType::kInt64, {-1})};
  std::vector<TensorSpec> outputs_ = {Spec("y", DataType::kFloat, {-1, 2}),
                                      Spec("z", DataType::kFloat, {-1, 2})};
};

TEST_F(CheckAgainstSignatureTest, AcceptsWhatFits) {
  for (const char* text : {
           "",
           "max_batch_size: 8",
           "max_batch_size: 0",
           // Without the batch dimension where there is batching; outputs in part.
           "max_batch_size: 8 input { name: \"n\" data_type: TYPE_INT64 dims: [] }"
           "input { name: \"x\" data_type: TYPE_FP32 dims: 3 }"
           "output { name: \"y\" data_type: TYPE_FP32 dims: 2 }",
           // With it where there is none: any size or one.
           "max_batch_size: 0 output { name: \"y\" data_type: TYPE_FP32 dims: [ -1, 2 ] }",
           "max_batch_size: 0 output { name: \"y\" data_type: TYPE_FP32 dims: [ 1, 2 ] }",
           // Either way where max_batch_size is left to the model.
           "output { name: \"y\" data_type: TYPE_FP32 dims: [ -1, 2 ] }",
           "output { name: \"y\" data_type: TYPE_FP32 dims: 2 }",
       }) {
    EXPECT_TRUE(Check(text).ok()) << text << Check(text);
  }
}

TEST_F(CheckAgainstSignatureTest, NamesWhatDiffers) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"output { name: \"out\" data_type: TYPE_FP32 dims: 2 }",
       {"no output \"out\"", "\"y\", \"z\""}},
      {"output { name: \"y\" data_type: TYPE_FP64 dims: 2 }",
       {"output \"y\"", "TYPE_FP64 [2]", "TYPE_FP32 [?,2]"}},
      {"output { name: \"y\" data_type: TYPE_FP32 dims: 5 }", {"[5]", "[?,2]"}},
      {"output { name: \"y\" data_type: TYPE_FP32 dims: -1 }", {"output \"y\""}},
      {"max_batch_size: 8 output { name: \"y\" data_type: TYPE_FP32 dims: [ -1, 2 ] }",
       {"without the batch dimension"}},
      {"max_batch_size: 0 output { name: \"y\" data_type: TYPE_FP32 dims: 2 }", {"output \"y\""}},
      {"input { name: \"x\" data_type: TYPE_FP32 dims: 3 }",
       {"input \"n\"", "TYPE_INT64", "missing"}},
  };
  for (const auto& [text, said] : cases) {
    const absl::Status status = Check(text);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(status.message(), HasSubstr("config.pbtxt"));
    for (const std::string& part : said) EXPECT_THAT(status.message(), HasSubstr(part)) << text;
  }
}

TEST_F(CheckAgainstSignatureTest, BatchingNeedsABatchDimensionOfAnySize) {
  inputs_[0].dims = {1, 3};
  EXPECT_THAT(Check("max_batch_size: 8").message(),
              AllOf(HasSubstr("max_batch_size is 8"), HasSubstr("input \"x\""),
                    HasSubstr("max_batch_size: 0")));
  EXPECT_TRUE(Check("max_batch_size: 0").ok());
  inputs_[0].dims = {};
  EXPECT_FALSE(Check("max_batch_size: 8").ok());
  inputs_[0].has_rank = false;
  EXPECT_TRUE(Check("max_batch_size: 8").ok());
}

TEST_F(CheckAgainstSignatureTest, AnyDimsFitATensorOfUnknownRank) {
  outputs_[0] = {"y", DataType::kFloat, false, {}};
  EXPECT_TRUE(Check("output { name: \"y\" data_type: TYPE_FP32 dims: [ 7, 7 ] }").ok());
  EXPECT_THAT(Check("output { name: \"y\" data_type: TYPE_INT8 dims: 1 }").message(),
              HasSubstr("of any shape"));
}

}  // namespace
}  // namespace baton::repository

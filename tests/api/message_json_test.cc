#include "server/api/message_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "proto/grpc_service.pb.h"
#include "proto/model_config.pb.h"

namespace baton::api {
namespace {

using nlohmann::json;

json Print(const google::protobuf::Message& message) {
  std::string out;
  AppendMessageJson(message, out);
  return json::parse(out);
}

TEST(MessageJson, PrintsAllFieldsAndWideIntegersAsNumbers) {
  inference::ModelMetadataResponse metadata;
  metadata.set_name("m\"");
  metadata.add_versions(std::to_string(3));
  auto& input = *metadata.add_inputs();
  input.set_name("x");
  input.set_datatype("FP32");
  input.add_shape(-1);
  input.add_shape(int64_t{1} << 40);
  EXPECT_EQ(Print(metadata), json::parse(R"({
      "name": "m\"", "versions": ["3"], "platform": "",
      "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1099511627776]}],
      "outputs": []})"));
}

TEST(MessageJson, LeavesOutUnsetChoicesAndPrintsMapsAndEnums) {
  inference::ModelConfig config;
  config.set_name("m");
  config.mutable_version_policy()->mutable_specific()->add_versions(7);
  config.add_input()->set_data_type(inference::TYPE_FP32);
  (*config.mutable_parameters())["b"].set_string_value("2");
  (*config.mutable_parameters())["a"].set_string_value("1");
  const json out = Print(config);
  EXPECT_EQ(out["version_policy"], json::parse(R"({"specific": {"versions": [7]}})"));
  EXPECT_EQ(out["input"][0]["data_type"], "TYPE_FP32");
  EXPECT_EQ(out["parameters"],
            json::parse(R"({"a": {"string_value": "1"}, "b": {"string_value": "2"}})"));
  EXPECT_EQ(out["platform"], "");
  EXPECT_FALSE(out.contains("dynamic_batching"));
}

TEST(MessageJson, PrintsCounters) {
  inference::StatisticDuration duration;
  duration.set_count(~uint64_t{0});
  EXPECT_EQ(Print(duration)["count"], ~uint64_t{0});
  EXPECT_EQ(Print(duration)["ns"], 0);
}

}  // namespace
}  // namespace baton::api

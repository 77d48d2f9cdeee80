#include "server/repository/server_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::repository {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

absl::StatusOr<ServerConfig> Parse(const std::string& text) {
  return ParseServerConfig(text, "/etc/models.config");
}

TEST(ParseServerConfig, ReadsTensorFlowServingsExample) {
  const auto config = Parse(R"(
    model_config_list {
      config {
        name: "first"
        base_path: "/models/first"
        model_platform: "tensorflow"
        model_version_policy { specific { versions: 42 versions: 43 } }
        version_labels { key: "stable" value: 43 }
        version_labels { key: "canary" value: 42 }
      }
      config { name: "second" base_path: "/models/second" }
      config { name: "third" base_path: "/3" model_version_policy { latest { num_versions: 3 } } }
    })");
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->models.size(), 3u);
  const ModelSource& first = config->models[0];
  EXPECT_EQ(first.name, "first");
  EXPECT_EQ(first.base_path, "/models/first");
  EXPECT_THAT(first.settings.version_policy->specific, ElementsAre(42, 43));
  EXPECT_THAT(first.settings.labels, ElementsAre(Pair("canary", 42), Pair("stable", 43)));
  EXPECT_FALSE(config->models[1].settings.version_policy.has_value());
  EXPECT_EQ(config->models[2].settings.version_policy->latest, 3);
  EXPECT_THAT(config->warnings, ElementsAre(AllOf(HasSubstr("first"), HasSubstr("tensorflow"))));
}

TEST(ParseServerConfig, AnEmptyTextHasNoModels) {
  const auto config = Parse("");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->models, IsEmpty());
}

struct Wrong {
  const char* text;
  const char* complaint;
};
class WrongServerConfigTest : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongServerConfigTest, IsRefusedWhole) {
  const absl::Status status = Parse(GetParam().text).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("/etc/models.config"), HasSubstr(GetParam().complaint)));
}

INSTANTIATE_TEST_SUITE_P(
    Table, WrongServerConfigTest,
    ::testing::Values(
        Wrong{"model_config_list {", ":1:"}, Wrong{"models {}", ":1:"},
        Wrong{"model_config_list { config { base_path: \"/a\" } }", "name"},
        Wrong{"model_config_list { config { name: \"../a\" base_path: \"/a\" } }", "../a"},
        Wrong{"model_config_list { config { name: \"a\" } }", "base_path is missing"},
        Wrong{"model_config_list { config { name: \"a\" base_path: \"/a\" }"
              "                    config { name: \"a\" base_path: \"/b\" } }",
              "listed twice"},
        Wrong{"model_config_list { config { name: \"a\" base_path: \"/a\" "
              "                             model_platform: \"caffe\" } }",
              "caffe"},
        Wrong{"model_config_list { config { name: \"a\" base_path: \"/a\" "
              "                             model_version_policy { specific {} } } }",
              "model \"a\""},
        Wrong{"model_config_list { config { name: \"a\" base_path: \"/a\" "
              "                             version_labels { key: \"x\" value: -1 } } }",
              "version_labels"},
        Wrong{"custom_model_config {}", "custom_model_config"}));

}  // namespace
}  // namespace baton::repository

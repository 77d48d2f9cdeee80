#include "tests/engine/node_suite/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace baton::testing {
namespace {

using ::testing::HasSubstr;

TEST(ManifestTest, ReadsWhatItWrites) {
  const std::string text =
      "exempt node/c: its outputs are random\n"
      "pass node/a\n"
      "skip node/b: operator Foo: mode \"x\" is not supported\n";
  const auto manifest = ParseManifest("# comment\n\n" + text);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->at("node/b").reason, "operator Foo: mode \"x\" is not supported");
  EXPECT_EQ(manifest->at("node/c").kind, ManifestEntry::Kind::kExempt);
  EXPECT_EQ(FormatManifest(*manifest),
            "pass node/a\n"
            "skip node/b: operator Foo: mode \"x\" is not supported\n"
            "exempt node/c: its outputs are random\n");
}

TEST(ManifestTest, NamesTheLineThatIsWrong) {
  for (const char* line : {"skip node/a", "skip node/a:", "exempt node/a: ", "pass",
                           "fail node/a: x", "pass node/b"}) {
    const auto manifest = ParseManifest(std::string("pass node/b\n") + line + "\n");
    ASSERT_FALSE(manifest.ok()) << line;
    EXPECT_THAT(std::string(manifest.status().message()), HasSubstr("line 2"));
  }
}

}  // namespace
}  // namespace baton::testing

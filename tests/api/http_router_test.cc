#include "server/api/http_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace baton::api {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class HttpRouter : public ::testing::Test {
 protected:
  HttpRouter() {
    for (const char* pattern : {"/", "/v1/models/{model}", "/v1/models/{model}/labels/{label}"}) {
      router_.Add("GET", pattern, [](HttpCall&) {});
    }
    router_.Add("POST", "/v1/models/{model}:predict", [](HttpCall&) {});
    router_.Add("GET", "/v2/models/stats", [](HttpCall&) {});
    router_.Add("GET", "/v2/models/{model}", [](HttpCall&) {});
    router_.Add("POST", "/both", [](HttpCall&) {});
    router_.Add("GET", "/both", [](HttpCall&) {});
  }
  bool Has(absl::string_view method, absl::string_view path) const {
    return router_.Find(method, path).handler != nullptr;
  }
  api::HttpRouter router_;
};

TEST_F(HttpRouter, FindsWordsAndVariables) {
  EXPECT_TRUE(Has("GET", "/"));
  EXPECT_TRUE(Has("HEAD", "/"));
  const auto found = router_.Find("GET", "/v1/models/a.b-c/labels/stable");
  ASSERT_NE(found.handler, nullptr);
  EXPECT_THAT(found.variables, ElementsAre(Pair("model", "a.b-c"), Pair("label", "stable")));
  EXPECT_THAT(router_.Find("POST", "/v1/models/m:predict").variables,
              ElementsAre(Pair("model", "m")));
  EXPECT_THAT(router_.Find("GET", "/v2/models/stats").variables, IsEmpty());
}

TEST_F(HttpRouter, SaysWhichMethodsAPathTakes) {
  EXPECT_EQ(router_.Find("POST", "/v1/models/m").allowed, "GET");
  EXPECT_EQ(router_.Find("GET", "/v1/models/m:predict").allowed, "POST");
  EXPECT_EQ(router_.Find("PUT", "/both").allowed, "POST, GET");
  EXPECT_TRUE(Has("POST", "/both"));
  EXPECT_TRUE(Has("GET", "/both"));
}

TEST_F(HttpRouter, OtherPathsAreUnknown) {
  for (const char* path :
       {"", "//", "/v1", "/v1/models/", "/v1/models/:predict", "/v1/models/m/", "/v1/models/a:b",
        "/v1/models/m:regress", "/v1/models/m/labels", "/v1/models/m/labels/a/b", "/V1/models/m"}) {
    const auto found = router_.Find("GET", path);
    EXPECT_EQ(found.handler, nullptr) << path;
    EXPECT_EQ(found.allowed, "") << path;
  }
}

}  // namespace
}  // namespace baton::api

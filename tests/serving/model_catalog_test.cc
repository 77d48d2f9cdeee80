#include "server/serving/model_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::serving {
namespace {

using repository::ModelSource;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using Owner = ModelCatalog::Owner;

std::vector<std::string> Places(const ModelCatalog& catalog) {
  std::vector<std::string> places;
  for (const ModelSource& model : catalog.Models()) {
    places.push_back(model.name + "@" + model.base_path);
  }
  return places;
}

TEST(ModelCatalog, AListTakesNothingFromAnotherOwner) {
  ModelCatalog catalog;
  EXPECT_THAT(catalog.SetAll(Owner::kFile, {{"a", "/file/a"}, {"b", "/file/b"}}), IsEmpty());
  EXPECT_THAT(catalog.SetAll(Owner::kRequest, {{"a", "/request/a"}, {"c", "/request/c"}}),
              IsEmpty());
  EXPECT_THAT(Places(catalog), ElementsAre("a@/request/a", "b@/file/b", "c@/request/c"));

  EXPECT_THAT(catalog.SetAll(Owner::kRequest, {}), ElementsAre("c"));
  EXPECT_THAT(Places(catalog), ElementsAre("a@/file/a", "b@/file/b"));
  EXPECT_THAT(catalog.SetAll(Owner::kFile, {{"b", "/file/b2"}}), ElementsAre("a"));
  EXPECT_THAT(Places(catalog), ElementsAre("b@/file/b2"));
}

TEST(ModelCatalog, RemoveMakesEveryOwnerForget) {
  ModelCatalog catalog;
  catalog.Set(Owner::kCommandLine, {"a", "/a"});
  catalog.Set(Owner::kControl, {"a", "/b"});
  EXPECT_TRUE(catalog.contains("a"));
  EXPECT_TRUE(catalog.Remove("a"));
  EXPECT_FALSE(catalog.contains("a"));
  EXPECT_FALSE(catalog.Remove("a"));
  EXPECT_THAT(catalog.Models(), IsEmpty());
}

TEST(ModelCatalog, LabelsSetByRequestCountMostAndMakeNoModel) {
  ModelCatalog catalog;
  ModelSource named{"a", "/a"};
  named.settings.labels = {{"canary", 1}, {"stable", 1}};
  catalog.Set(Owner::kFile, named);
  catalog.SetLabel("a", "stable", 2);
  catalog.SetLabel("b", "stable", 3);
  const std::vector<ModelSource> models = catalog.Models();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_THAT(models[0].settings.labels, ElementsAre(Pair("canary", 1), Pair("stable", 2)));
  EXPECT_FALSE(models[0].overlay);
  EXPECT_THAT(models[1].settings.labels, ElementsAre(Pair("stable", 3)));
  EXPECT_TRUE(models[1].overlay);
  EXPECT_FALSE(catalog.contains("b"));
}

}  // namespace
}  // namespace baton::serving

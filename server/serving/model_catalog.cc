#include "server/serving/model_catalog.h"

#include <algorithm>
#include <utility>

namespace baton::serving {

using repository::ModelSource;

std::vector<std::string> ModelCatalog::SetAll(Owner owner, std::vector<ModelSource> models) {
  std::map<std::string, ModelSource> before = std::move(owned_[owner]);
  auto& now = owned_[owner];
  now.clear();
  for (ModelSource& model : models) now[model.name] = std::move(model);
  std::vector<std::string> gone;
  for (const auto& [name, model] : before) {
    if (!contains(name)) gone.push_back(name);
  }
  return gone;
}

void ModelCatalog::Set(Owner owner, ModelSource model) {
  const std::string name = model.name;
  owned_[owner][name] = std::move(model);
}

bool ModelCatalog::Remove(const std::string& name) {
  bool known = false;
  for (auto& [owner, models] : owned_) known = models.erase(name) > 0 || known;
  return known;
}

void ModelCatalog::SetLabel(const std::string& model, const std::string& label, int64_t version) {
  labels_[model][label] = version;
}

bool ModelCatalog::contains(const std::string& name) const {
  return std::any_of(owned_.begin(), owned_.end(),
                     [&name](const auto& entry) { return entry.second.contains(name); });
}

std::vector<ModelSource> ModelCatalog::Models() const {
  std::map<std::string, ModelSource> all;
  for (const auto& [owner, models] : owned_) {
    for (const auto& [name, model] : models) all[name] = model;
  }
  for (const auto& [name, labels] : labels_) {
    const auto [entry, is_new] = all.try_emplace(name);
    ModelSource& model = entry->second;
    if (is_new) {
      model.name = name;
      model.overlay = true;
    }
    for (const auto& [label, version] : labels) model.settings.labels[label] = version;
  }
  std::vector<ModelSource> models;
  models.reserve(all.size());
  for (auto& [name, model] : all) models.push_back(std::move(model));
  return models;
}

}  // namespace baton::serving

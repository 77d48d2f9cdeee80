// ModelCatalog: which models are to be served besides those of a repository that is followed, by
// who said so. A plain value; not thread-safe.
//
// Each owner lists its own models, and a list takes nothing from another owner: a model is there as
// long as one names it. Where several do, the one named last in Owner counts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/repository/model_settings.h"

namespace baton::serving {

class ModelCatalog {
 public:
  enum class Owner {
    kCommandLine,  // --model_name, --load_model
    kFile,         // --model_config_file
    kRequest,      // HandleReloadConfigRequest
    kControl,      // RepositoryModelLoad
  };

  // All models of an owner from now on. Returns those that no one names any more.
  std::vector<std::string> SetAll(Owner owner, std::vector<repository::ModelSource> models);
  // One more of an owner's, or another in its place.
  void Set(Owner owner, repository::ModelSource model);
  // False if no owner names it. All forget it.
  bool Remove(const std::string& name);

  // Labels set by request, over those of settings and config files, for any model. 0: the label is
  // taken away.
  void SetLabel(const std::string& model, const std::string& label, int64_t version);

  bool contains(const std::string& name) const;
  // What is to be watched; models that only have labels are overlays.
  std::vector<repository::ModelSource> Models() const;

 private:
  std::map<Owner, std::map<std::string, repository::ModelSource>> owned_;
  std::map<std::string, std::map<std::string, int64_t>> labels_;
};

}  // namespace baton::serving

#include "server/serving/registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"

namespace baton::serving {
namespace {

constexpr int kGoneVersionsKept = 8;  // for a model, in its status

// "version 3 is loading", "version 2 failed: …".
std::string Describe(int64_t version, VersionState state, const absl::Status& error) {
  std::string text = absl::StrCat("version ", version);
  if (state == VersionState::kFailed) {
    return absl::StrCat(text, " failed: ", error.message());
  }
  if (state == VersionState::kAbsent) {
    return absl::StrCat(text, " is not taken: ", error.message());
  }
  return absl::StrCat(text, " is ", VersionStateName(state));
}

// Shares no reference with `status`. Copies count references within libabsl, which is not
// instrumented: ThreadSanitizer would see the last one freed without seeing what ordered it.
absl::Status Detached(const absl::Status& status) {
  return absl::Status(status.code(), status.message());
}

std::string Quoted(absl::string_view name) { return absl::StrCat("\"", name, "\""); }

template <typename Map>
std::string Keys(const Map& map) {
  return map.empty() ? "none" : absl::StrJoin(map, ", ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.first);
  });
}

}  // namespace

absl::StatusOr<std::shared_ptr<Servable>> Registry::Acquire(absl::string_view model,
                                                            const VersionChoice& choice) const {
  std::shared_ptr<Rollout> rollout;
  {
    MutexLock lock(mu_);
    auto found = Find(model, choice, rollout);
    if (rollout == nullptr) return found;
  }
  return rollout->Pick();
}

absl::StatusOr<std::shared_ptr<Servable>> Registry::Find(absl::string_view model,
                                                         const VersionChoice& choice,
                                                         std::shared_ptr<Rollout>& rollout) const {
  if (closed_) return absl::UnavailableError("the server is shutting down");
  const auto found = models_.find(model);
  if (found == models_.end()) {
    return UnknownModel(model);
  }
  const Model& m = found->second;

  std::optional<int64_t> wanted = choice.version;
  if (!wanted && !choice.label.empty()) {
    const auto label = m.labels.find(choice.label);
    if (label == m.labels.end()) {
      return absl::NotFoundError(absl::StrCat("model ", Quoted(model), " has no label ",
                                              Quoted(choice.label), "; labels: ", Keys(m.labels)));
    }
    wanted = label->second;
  }
  if (wanted) {
    const auto version = m.versions.find(*wanted);
    if (version == m.versions.end() || version->second.state == VersionState::kGone) {
      std::vector<int64_t> known;
      for (const auto& [number, v] : m.versions) {
        if (v.state != VersionState::kGone) known.push_back(number);
      }
      return absl::NotFoundError(absl::StrCat(
          "model ", Quoted(model), " version ", *wanted,
          " not found; versions: ", known.empty() ? "none" : absl::StrJoin(known, ", ")));
    }
    const Version& v = version->second;
    if (v.servable != nullptr) return v.servable;
    return absl::UnavailableError(
        absl::StrCat("model ", Quoted(model), " ", Describe(*wanted, v.state, v.error)));
  }

  if (m.rollout != nullptr) {
    rollout = m.rollout;
    return nullptr;
  }
  for (const auto& [number, v] : m.versions) {
    if (v.servable != nullptr) return v.servable;
  }
  std::vector<std::string> states;
  if (!m.error.ok()) states.emplace_back(m.error.message());
  for (const auto& [number, v] : m.versions) {
    if (v.state != VersionState::kGone) states.push_back(Describe(number, v.state, v.error));
  }
  return absl::UnavailableError(
      absl::StrCat("model ", Quoted(model), " has no version that is ready: ",
                   states.empty() ? "no version found" : absl::StrJoin(states, "; ")));
}

absl::Status Registry::UnknownModel(absl::string_view model) const {
  if (model.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request names no model; models: ", Keys(models_)));
  }
  return absl::NotFoundError(
      absl::StrCat("model ", Quoted(model), " not found; models: ", Keys(models_)));
}

void Registry::Close() {
  MutexLock lock(mu_);
  closed_ = true;
}

bool Registry::Knows(absl::string_view model) const {
  MutexLock lock(mu_);
  return models_.find(model) != models_.end();
}

absl::StatusOr<ModelStatus> Registry::Status(absl::string_view model) const {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  if (found == models_.end()) {
    return UnknownModel(model);
  }
  return StatusOf(found->first, found->second);
}

std::vector<ModelStatus> Registry::StatusOfAll() const {
  MutexLock lock(mu_);
  std::vector<ModelStatus> all;
  all.reserve(models_.size());
  for (const auto& [name, model] : models_) all.push_back(StatusOf(name, model));
  return all;
}

ModelStatus Registry::StatusOf(const std::string& name, const Model& model) {
  ModelStatus status;
  status.name = name;
  status.error = Detached(model.error);
  for (const auto& [number, v] : model.versions) {
    status.versions.push_back({number, v.state, Detached(v.error), {}});
    if (v.servable != nullptr) status.versions.back().note = v.servable->note();
    if (model.rollout != nullptr && model.rollout->candidate_version() == number) {
      status.versions.back().note = model.rollout->Describe();
    }
  }
  return status;
}

void Registry::AddModel(const std::string& model) {
  MutexLock lock(mu_);
  models_.try_emplace(model);
}

void Registry::RemoveModel(const std::string& model) {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  if (found == models_.end()) return;
  for (const auto& [number, v] : found->second.versions) BATON_CHECK(v.servable == nullptr);
  models_.erase(found);
}

void Registry::SetModelError(const std::string& model, const absl::Status& error) {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  BATON_CHECK(found != models_.end());
  found->second.error = error;
}

std::shared_ptr<Servable> Registry::SetState(const std::string& model, int64_t version,
                                             VersionState state, const absl::Status& error,
                                             std::shared_ptr<Servable> servable) {
  BATON_CHECK((servable != nullptr) == (state == VersionState::kReady));
  BATON_CHECK(error.ok() == (state != VersionState::kFailed));
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  BATON_CHECK_MSG(found != models_.end(), model);
  auto& versions = found->second.versions;
  Version& v = versions[version];
  BATON_CHECK_MSG(MayChange(v.state, state),
                  absl::StrCat(model, " version ", version, ": ", VersionStateName(v.state), " to ",
                               VersionStateName(state)));
  v.state = state;
  v.error = error;
  v.servable.swap(servable);
  if (state == VersionState::kGone) {
    int gone = 0;
    for (auto it = versions.begin(); it != versions.end();) {  // highest version first
      const bool forget = it->second.state == VersionState::kGone && ++gone > kGoneVersionsKept;
      it = forget ? versions.erase(it) : std::next(it);
    }
  }
  return servable;
}

std::shared_ptr<Servable> Registry::Replace(const std::string& model, int64_t version,
                                            std::shared_ptr<Servable> servable) {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  BATON_CHECK_MSG(found != models_.end(), model);
  Version& v = found->second.versions[version];
  BATON_CHECK_MSG(v.state == VersionState::kReady, absl::StrCat(model, " version ", version));
  v.servable.swap(servable);
  return servable;
}

void Registry::SetRollout(const std::string& model, std::shared_ptr<Rollout> rollout) {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  BATON_CHECK_MSG(found != models_.end(), model);
  found->second.rollout.swap(rollout);  // the former one ends after the lock
}

void Registry::SetAbsent(const std::string& model, const std::map<int64_t, absl::Status>& why) {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  BATON_CHECK(found != models_.end());
  auto& versions = found->second.versions;
  std::erase_if(versions, [&](const auto& entry) {
    return entry.second.state == VersionState::kAbsent && !why.contains(entry.first);
  });
  for (const auto& [number, error] : why) {
    Version& v = versions[number];
    if (v.state == VersionState::kGone) v = Version{};
    if (v.state == VersionState::kAbsent) v.error = error;
  }
}

void Registry::SetLabels(const std::string& model, std::map<std::string, int64_t> labels) {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  BATON_CHECK(found != models_.end());
  found->second.labels = std::move(labels);
}

absl::StatusOr<std::map<std::string, int64_t>> Registry::Labels(absl::string_view model) const {
  MutexLock lock(mu_);
  const auto found = models_.find(model);
  if (found == models_.end()) {
    return UnknownModel(model);
  }
  return found->second.labels;
}

}  // namespace baton::serving

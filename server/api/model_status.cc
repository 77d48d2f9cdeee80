#include "server/api/model_status.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"

namespace baton::api {
namespace {

using tensorflow::serving::ModelVersionStatus;

ModelVersionStatus::State TfState(serving::VersionState state) {
  switch (state) {
    case serving::VersionState::kAbsent:
    case serving::VersionState::kVerifying:
      return ModelVersionStatus::START;
    case serving::VersionState::kLoading:
    case serving::VersionState::kWarming:
      return ModelVersionStatus::LOADING;
    case serving::VersionState::kReady:
      return ModelVersionStatus::AVAILABLE;
    case serving::VersionState::kDraining:
      return ModelVersionStatus::UNLOADING;
    case serving::VersionState::kGone:
    case serving::VersionState::kFailed:
      return ModelVersionStatus::END;
  }
  return ModelVersionStatus::UNKNOWN;
}

std::string VersionList(const serving::ModelStatus& status) {
  return absl::StrJoin(
      status.versions, ", ", [](std::string* out, const serving::VersionStatus& version) {
        absl::StrAppend(out, version.version, " (", serving::VersionStateName(version.state), ")");
      });
}

}  // namespace

serving::VersionChoice ChoiceOf(const tensorflow::serving::ModelSpec& spec) {
  serving::VersionChoice choice;
  if (spec.has_version()) choice.version = spec.version().value();
  choice.label = spec.version_label();
  return choice;
}

absl::StatusOr<tensorflow::serving::GetModelStatusResponse> ModelStatusResponse(
    const serving::Registry& registry, const tensorflow::serving::ModelSpec& spec) {
  ASSIGN_OR_RETURN(const serving::ModelStatus status, registry.Status(spec.name()));
  serving::VersionChoice choice = ChoiceOf(spec);
  if (!choice.label.empty()) {
    ASSIGN_OR_RETURN(const auto servable, registry.Acquire(spec.name(), choice));
    choice.version = servable->version();
  }
  if (status.versions.empty()) {
    return absl::UnavailableError(absl::StrCat("model \"", spec.name(), "\" has no versions",
                                               status.error.ok() ? "" : ": ",
                                               status.error.ok() ? "" : status.error.message()));
  }
  tensorflow::serving::GetModelStatusResponse response;
  for (const serving::VersionStatus& version : status.versions) {
    if (choice.version.has_value() && *choice.version != version.version) continue;
    ModelVersionStatus& out = *response.add_model_version_status();
    out.set_version(version.version);
    out.set_state(TfState(version.state));
    out.mutable_status()->set_error_code(
        static_cast<tensorflow::error::Code>(version.error.raw_code()));
    out.mutable_status()->set_error_message(std::string(version.error.message()));
  }
  if (response.model_version_status().empty()) {
    return absl::NotFoundError(absl::StrCat("model \"", spec.name(), "\" has no version ",
                                            *choice.version, "; it has: ", VersionList(status)));
  }
  return response;
}

}  // namespace baton::api

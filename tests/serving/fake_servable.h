// A servable that answers nothing: for tests that only look at who it is.
#pragma once

#include <string>
#include <utility>

#include "engine/base/check.h"
#include "server/serving/servable.h"

namespace baton::testing {

class FakeServable final : public serving::Servable {
 public:
  FakeServable(std::string model, int64_t version, std::string note = "")
      : model_(std::move(model)), version_(version), note_(std::move(note)) {}
  const std::string& model() const override { return model_; }
  int64_t version() const override { return version_; }
  const engine::Signature& signature() const override { return signature_; }
  const repository::ModelConfig& config() const override { return config_; }
  int64_t max_batch_size() const override { return 0; }
  std::string note() const override { return note_; }
  serving::VersionMetrics& metrics() override {
    BATON_CHECK_MSG(false, "a fake servable has no metrics");
    __builtin_unreachable();
  }
  absl::Status Submit(serving::Task) override { return absl::UnavailableError("a fake"); }

 private:
  const std::string model_;
  const int64_t version_;
  const std::string note_;
  const engine::Signature signature_;
  const repository::ModelConfig config_;
};

}  // namespace baton::testing

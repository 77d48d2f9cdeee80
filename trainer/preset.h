// Presets: networks with the options that train them well, chosen by name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/network.h"
#include "trainer/training.h"

namespace baton::trainer {

struct Preset {
  std::string name;
  std::string description;  // one line
  std::string model;        // the name it is published under unless told otherwise
  int64_t classes;
  Shape input_shape;
  std::vector<LayerSpec> layers;
  TrainingOptions training;
};

const std::vector<Preset>& Presets();

// kNotFound, naming the nearest one and all there are, for an unknown name.
absl::StatusOr<Preset> FindPreset(const std::string& name);

}  // namespace baton::trainer

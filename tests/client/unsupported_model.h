// A model with an operator that Baton does not have, for the tests of what is said of it.
#pragma once

#include <string>

#include "tests/support/model_builder.h"

namespace baton::testing {

inline std::string UnsupportedModel() {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 4});
  m.Node("Frobnicate", {"x"}, {"y"}, "com.example");
  m.Output("y", DataType::kFloat, {-1, 4});
  return m.Build();
}

}  // namespace baton::testing

// make_net NET FILE: writes one of the networks that the benchmarks run, as ONNX.
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include "tests/support/model_builder.h"
#include "tests/support/nets.h"

namespace {

using baton::DataType;

// A photo of 600 KB in, three numbers out, hardly any work: what is left is the request itself.
std::string MeanColour() {
  baton::testing::ModelBuilder model;
  model.Input("x", DataType::kFloat, {-1, 3, 224, 224});
  model.Node("GlobalAveragePool", {"x"}, {"means"});
  model.Node("Flatten", {"means"}, {"y"});
  model.Output("y", DataType::kFloat, {-1, 3});
  return model.Build();
}

const std::map<std::string, std::function<std::string()>> kNets = {
    {"mean_colour", &MeanColour},
    {"mlp", [] { return baton::testing::MlpModel(); }},
    {"mobilenetv2", [] { return baton::testing::MobileNetV2Model(); }},
    {"resnet50", [] { return baton::testing::ResNet50Model(); }},
    {"squeezenet", [] { return baton::testing::SqueezeNetModel(); }},
};

}  // namespace

int main(int argc, char** argv) {
  const auto net = argc == 3 ? kNets.find(argv[1]) : kNets.end();
  if (net == kNets.end()) {
    std::cerr << "usage: make_net NET FILE, NET one of:";
    for (const auto& [name, make] : kNets) std::cerr << " " << name;
    std::cerr << "\n";
    return 2;
  }
  std::ofstream file(argv[2], std::ios::binary);
  file << net->second();
  file.close();
  if (!file) {
    std::cerr << "make_net: cannot write " << argv[2] << "\n";
    return 1;
  }
}

#include "engine/onnx_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/model.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"
#include "tests/support/temp_dir.h"

namespace baton::engine {
namespace {

using ::testing::HasSubstr;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;

constexpr int64_t kSide = 64;  // the weights have 16 KiB

// y = x · w + b
std::string ProductModel() {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, kSide});
  m.Constant("w", RandomTensor({kSide, kSide}, 1));
  m.Constant("b", RandomTensor({kSide}, 2));
  m.Node("MatMul", {"x", "w"}, {"p"});
  m.Node("Add", {"p", "b"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, kSide});
  return m.Build();
}

std::string LengthDelimited(int field, const std::string& bytes) {
  std::string result(1, static_cast<char>(field << 3 | 2));
  for (size_t rest = bytes.size(); true; rest >>= 7) {
    result += static_cast<char>(rest < 128 ? rest : rest % 128 + 128);
    if (rest < 128) return result + bytes;
  }
}

// The model with other bytes for its first initializer.
std::string WithInitializer(const std::string& onnx, const std::string& bytes) {
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(onnx));
  onnx::GraphProto graph = model.graph();
  graph.mutable_initializer()->DeleteSubrange(0, 1);
  model.clear_graph();
  // Fields of a message may come in any order.
  return model.SerializeAsString() +
         LengthDelimited(onnx::ModelProto::kGraphFieldNumber,
                         LengthDelimited(onnx::GraphProto::kInitializerFieldNumber, bytes) +
                             graph.SerializeAsString());
}

onnx::TensorProto FirstInitializer(const std::string& onnx) {
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(onnx));
  return model.graph().initializer(0);
}

TEST(OnnxReader, LargeWeightsAreApartFromTheMessage) {
  const std::string onnx = ProductModel();
  const testing::TempDir directory;
  ASSERT_TRUE(WriteFileDurably(directory / "model.onnx", onnx).ok());
  for (const auto& file : {ParseOnnx(onnx), ReadOnnx(directory / "model.onnx")}) {
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_EQ(file->model.graph().initializer_size(), 2);
    ASSERT_EQ(file->weights.size(), 2u);
    EXPECT_FALSE(file->model.graph().initializer(0).has_raw_data());
    EXPECT_EQ(file->model.graph().initializer(0).name(), "w");
    EXPECT_EQ(file->weights[0].shape(), (Shape{kSide, kSide}));
    const Tensor w = RandomTensor({kSide, kSide}, 1);
    EXPECT_TRUE(std::ranges::equal(file->weights[0].values<float>(), w.values<float>()));
    EXPECT_TRUE(file->weights[1].empty()) << "small ones stay";
    EXPECT_EQ(file->model.graph().node_size(), 2);
  }
}

TEST(OnnxReader, FieldsMayComeInAnyOrder) {
  const std::string onnx = ProductModel();
  onnx::TensorProto data, rest = FirstInitializer(onnx);
  data.set_raw_data(rest.raw_data());
  rest.clear_raw_data();
  const std::string reordered =
      WithInitializer(onnx, data.SerializeAsString() + rest.SerializeAsString());
  const Tensor x = RandomTensor({3, kSide}, 3);
  const auto expected = RunModel(onnx, {x}), got = RunModel(reordered, {x});
  ASSERT_TRUE(expected.ok() && got.ok()) << expected.status() << got.status();
  EXPECT_TRUE(std::ranges::equal((*got)[0].values<float>(), (*expected)[0].values<float>()));
}

TEST(OnnxReader, WhatContradictsTheDataIsAnError) {
  const std::string onnx = ProductModel();
  const onnx::TensorProto tensor = FirstInitializer(onnx);
  onnx::TensorProto more;
  more.add_dims(2);
  const std::string with_dimension =
      WithInitializer(onnx, tensor.SerializeAsString() + more.SerializeAsString());
  const auto model = Model::Parse(with_dimension, "", {});
  EXPECT_TRUE(absl::IsInvalidArgument(model.status())) << model.status();
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("\"w\""));
  // Too little for the shape.
  onnx::TensorProto less = tensor;
  less.mutable_raw_data()->resize(less.raw_data().size() - 4);
  const auto short_model = Model::Parse(WithInitializer(onnx, less.SerializeAsString()), "", {});
  EXPECT_THAT(std::string(short_model.status().message()), HasSubstr("needs 16384"));
}

TEST(OnnxReader, WhatIsNotWholeIsAnError) {
  const std::string onnx = ProductModel();
  const testing::TempDir directory;
  for (size_t size = 0; size < onnx.size(); size += 97) {
    const auto file = ParseOnnx(onnx.substr(0, size));
    if (size > 0 && file.ok()) {
      EXPECT_EQ(file->model.graph().node_size(), 0) << "ends between two fields";
    }
  }
  const std::string half = onnx.substr(0, onnx.size() / 2);
  ASSERT_TRUE(WriteFileDurably(directory / "half.onnx", half).ok());
  for (const auto& file : {ParseOnnx(half), ReadOnnx(directory / "half.onnx")}) {
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("not a whole ONNX file"));
  }
  // A length beyond what holds it: 2 GiB less one byte.
  EXPECT_TRUE(absl::IsInvalidArgument(ParseOnnx("\x3A\xFF\xFF\xFF\xFF\x07").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseOnnx("\x3A\x05\x2A\x7F\x4A\x7F\x01").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseOnnx("\x0B\x0C").status())) << "a group";
  EXPECT_TRUE(absl::IsNotFound(ReadOnnx(directory / "none.onnx").status()));
  EXPECT_FALSE(ReadOnnx(directory.path()).ok());
}

TEST(OnnxReader, BrokenBytesBreakNothing) {
  const std::string onnx = ProductModel();
  std::minstd_rand random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string broken = onnx;
    for (int change = 0; change < 3; ++change) {
      // Most of the file is weights: half of the changes are in its first bytes.
      broken[random() % (change % 2 == 0 ? broken.size() : 64)] = static_cast<char>(random());
    }
    onnx::ModelProto model;
    if (ParseOnnx(broken).ok()) {
      EXPECT_TRUE(model.ParseFromString(broken)) << i;
    }
  }
}

}  // namespace
}  // namespace baton::engine

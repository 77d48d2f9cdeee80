#include "engine/tensor_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "engine/base/file.h"
#include "tests/support/temp_dir.h"

namespace baton {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

onnx::TensorProto Proto(DataType type, const std::vector<int64_t>& dims) {
  onnx::TensorProto proto;
  proto.set_name("w");
  proto.set_data_type(static_cast<int32_t>(type));
  for (const int64_t d : dims) proto.add_dims(d);
  return proto;
}

// A tensor of each type with the bit patterns of 0, 1, 2, …
std::vector<Tensor> OneOfEachType() {
  std::vector<Tensor> tensors;
  for (const int type : {1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 16}) {
    Tensor t(static_cast<DataType>(type), {2, 3});
    auto* bytes = static_cast<uint8_t*>(t.mutable_data());
    for (size_t i = 0; i < t.bytes(); ++i) bytes[i] = static_cast<uint8_t>(i % 64);
    tensors.push_back(t);
  }
  tensors.push_back(Tensor::From<bool>({3}, {true, false, true}));
  return tensors;
}

void ExpectSame(const Tensor& actual, const Tensor& expected) {
  ASSERT_EQ(actual.type(), expected.type());
  ASSERT_EQ(actual.shape(), expected.shape());
  EXPECT_EQ(std::memcmp(actual.data(), expected.data(), expected.bytes()), 0)
      << DataTypeName(expected.type());
}

TEST(TensorProtoTest, RoundTripsEveryType) {
  for (const Tensor& t : OneOfEachType()) {
    const auto back = TensorFromProto(TensorToProto(t.view(), "w"), "");
    ASSERT_TRUE(back.ok()) << back.status();
    ExpectSame(*back, t);
  }
  const Tensor strings = Tensor::From<std::string>({2}, {"a", std::string("\0b", 2)});
  const auto back = TensorFromProto(TensorToProto(strings.view(), "s"), "");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_THAT(back->values<std::string>(), ElementsAre("a", std::string("\0b", 2)));
}

TEST(TensorProtoTest, RoundTripsScalarsAndEmptyTensors) {
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{3, 0, 2}}) {
    const Tensor t(DataType::kFloat, shape);
    const auto back = TensorFromProto(TensorToProto(t.view(), ""), "");
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->shape(), shape);
  }
}

TEST(TensorProtoTest, ReadsTypedFields) {
  auto f = Proto(DataType::kFloat, {2});
  f.add_float_data(1.5f);
  f.add_float_data(-2);
  EXPECT_THAT(TensorFromProto(f, "")->values<float>(), ElementsAre(1.5f, -2));

  auto d = Proto(DataType::kDouble, {1});
  d.add_double_data(0.1);
  EXPECT_THAT(TensorFromProto(d, "")->values<double>(), ElementsAre(0.1));

  auto i64 = Proto(DataType::kInt64, {});
  i64.add_int64_data(-5);
  EXPECT_THAT(TensorFromProto(i64, "")->values<int64_t>(), ElementsAre(-5));

  auto u64 = Proto(DataType::kUint64, {1});
  u64.add_uint64_data(~uint64_t{0});
  EXPECT_THAT(TensorFromProto(u64, "")->values<uint64_t>(), ElementsAre(~uint64_t{0}));

  auto u32 = Proto(DataType::kUint32, {1});
  u32.add_uint64_data(0xffffffffu);
  EXPECT_THAT(TensorFromProto(u32, "")->values<uint32_t>(), ElementsAre(0xffffffffu));

  auto i8 = Proto(DataType::kInt8, {2});
  i8.add_int32_data(-128);
  i8.add_int32_data(127);
  EXPECT_THAT(TensorFromProto(i8, "")->values<int8_t>(), ElementsAre(-128, 127));

  auto u16 = Proto(DataType::kUint16, {1});
  u16.add_int32_data(65535);
  EXPECT_THAT(TensorFromProto(u16, "")->values<uint16_t>(), ElementsAre(65535));

  auto b = Proto(DataType::kBool, {3});
  for (const int value : {0, 1, 256}) b.add_int32_data(value);
  EXPECT_THAT(TensorFromProto(b, "")->values<bool>(), ElementsAre(false, true, true));

  auto half = Proto(DataType::kFloat16, {2});
  half.add_int32_data(0x3c00);
  half.add_int32_data(0xc000 - 0x10000);  // sign-extended
  const auto halves = TensorFromProto(half, "");
  ASSERT_TRUE(halves.ok()) << halves.status();
  EXPECT_EQ(halves->values<Float16>()[0].ToFloat(), 1.0f);
  EXPECT_EQ(halves->values<Float16>()[1].ToFloat(), -2.0f);

  auto bf = Proto(DataType::kBfloat16, {1});
  bf.add_int32_data(0x3f80);
  EXPECT_EQ(TensorFromProto(bf, "")->values<Bfloat16>()[0].ToFloat(), 1.0f);
}

TEST(TensorProtoTest, NormalizesBoolsInRawData) {
  auto b = Proto(DataType::kBool, {3});
  b.set_raw_data(std::string("\x00\x01\x80", 3));
  EXPECT_THAT(TensorFromProto(b, "")->values<bool>(), ElementsAre(false, true, true));
}

TEST(TensorProtoTest, RefusesValuesThatDoNotFit) {
  auto u8 = Proto(DataType::kUint8, {1});
  u8.add_int32_data(300);
  const auto t = TensorFromProto(u8, "");
  EXPECT_EQ(t.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(t.status()), "tensor \"w\": int32_data[0] is 300, which does not fit uint8");
}

TEST(TensorProtoTest, RefusesWrongSizes) {
  auto raw = Proto(DataType::kFloat, {2, 2});
  raw.set_raw_data(std::string(12, '\0'));
  EXPECT_EQ(Message(TensorFromProto(raw, "").status()),
            "tensor \"w\": raw_data has 12 bytes, but float[2,2] needs 16");
  auto typed = Proto(DataType::kInt32, {3});
  typed.add_int32_data(1);
  EXPECT_EQ(Message(TensorFromProto(typed, "").status()),
            "tensor \"w\": it has 1 values, but int32[3] needs 3");
}

TEST(TensorProtoTest, RefusesShapesThatOverflowOrOutsizeTheirData) {
  for (const std::vector<int64_t>& dims : {std::vector<int64_t>{-1},
                                           {int64_t{1} << 40, int64_t{1} << 40},
                                           {int64_t{1} << 62, 4},
                                           {int64_t{1} << 47}}) {
    auto proto = Proto(DataType::kDouble, dims);
    EXPECT_FALSE(TensorFromProto(proto, "").ok());
    proto.set_raw_data("12345678");
    EXPECT_FALSE(TensorFromProto(proto, "").ok());
  }
}

TEST(TensorProtoTest, RefusesUnknownTypesSegmentsAndRawStrings) {
  for (const int type : {0, 14, 17, 99, -1}) {
    auto proto = Proto(static_cast<DataType>(type), {0});
    EXPECT_THAT(Message(TensorFromProto(proto, "").status()), HasSubstr("is not supported"));
  }
  auto segment = Proto(DataType::kFloat, {0});
  segment.mutable_segment()->set_begin(0);
  EXPECT_THAT(Message(TensorFromProto(segment, "").status()), HasSubstr("segments"));
  auto strings = Proto(DataType::kString, {1});
  strings.set_raw_data("abc");
  EXPECT_THAT(Message(TensorFromProto(strings, "").status()), HasSubstr("string_data"));
}

class ExternalDataTest : public ::testing::Test {
 protected:
  ExternalDataTest() {
    const float values[] = {1, 2, 3, 4};
    fs::create_directories(dir_ / "model/sub");
    for (const char* name : {"model/weights.bin", "model/sub/weights.bin", "secret.bin"}) {
      EXPECT_TRUE(
          WriteFileDurably(dir_ / name,
                           absl::string_view(reinterpret_cast<const char*>(values), sizeof(values)))
              .ok());
    }
  }
  absl::StatusOr<Tensor> Read(const std::string& location, const std::string& offset,
                              const std::string& length, const std::vector<int64_t>& dims = {2}) {
    auto proto = Proto(DataType::kFloat, dims);
    proto.set_data_location(onnx::TensorProto::EXTERNAL);
    const auto add = [&](const std::string& key, const std::string& value) {
      if (value.empty()) return;
      auto* entry = proto.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    };
    add("location", location);
    add("offset", offset);
    add("length", length);
    return TensorFromProto(proto, dir_ / "model");
  }
  TempDir dir_;
};

TEST_F(ExternalDataTest, ReadsAtOffset) {
  for (const char* location : {"weights.bin", "sub/weights.bin", "./sub/weights.bin"}) {
    const auto t = Read(location, "4", "8");
    ASSERT_TRUE(t.ok()) << t.status();
    EXPECT_THAT(t->values<float>(), ElementsAre(2, 3));
  }
  EXPECT_THAT(Read("weights.bin", "", "")->values<float>(), ElementsAre(1, 2));
}

TEST_F(ExternalDataTest, RefusesRangesOutsideTheFile) {
  for (const char* offset : {"12", "17", "9223372036854775807", "18446744073709551615"}) {
    EXPECT_THAT(Message(Read("weights.bin", offset, "8").status()), HasSubstr("has 16 bytes"))
        << offset;
  }
  EXPECT_THAT(Message(Read("weights.bin", "0", "12").status()), HasSubstr("needs 8 bytes"));
  EXPECT_THAT(Message(Read("weights.bin", "-4", "8").status()), HasSubstr("offset \"-4\""));
  EXPECT_THAT(Message(Read("weights.bin", "0", "many").status()), HasSubstr("length \"many\""));
  EXPECT_THAT(Message(Read("weights.bin", "99999999999999999999999", "8").status()),
              HasSubstr("offset"));
}

TEST_F(ExternalDataTest, RefusesPathsThatLeaveTheDirectory) {
  fs::create_symlink(dir_ / "secret.bin", dir_ / "model/link.bin");
  fs::create_directory_symlink(dir_.path(), dir_ / "model/up");
  for (const std::string& location :
       {std::string("../secret.bin"), std::string("sub/../../secret.bin"), dir_ / "secret.bin",
        std::string("link.bin"), std::string("up/secret.bin"), std::string()}) {
    EXPECT_EQ(Read(location, "0", "8").status().code(), absl::StatusCode::kInvalidArgument)
        << location;
  }
}

TEST_F(ExternalDataTest, FollowsLinksThatStayInside) {
  fs::create_symlink("sub/weights.bin", dir_ / "model/inside.bin");
  EXPECT_TRUE(Read("inside.bin", "0", "8").ok());
}

TEST_F(ExternalDataTest, RefusesMissingFilesAndDirectories) {
  EXPECT_THAT(Message(Read("none.bin", "0", "8").status()), HasSubstr("none.bin"));
  EXPECT_THAT(Message(Read("sub", "0", "8").status()), HasSubstr("not a regular file"));
}

TEST_F(ExternalDataTest, IsRefusedWithoutADirectory) {
  auto proto = Proto(DataType::kFloat, {1});
  proto.set_data_location(onnx::TensorProto::EXTERNAL);
  EXPECT_THAT(Message(TensorFromProto(proto, "").status()), HasSubstr("not allowed here"));
}

TEST_F(ExternalDataTest, RefusesMoreThanMemoryFromASparseFile) {
  fs::resize_file(dir_ / "model/weights.bin", uintmax_t{1} << 43);
  EXPECT_EQ(Read("weights.bin", "0", "", {int64_t{1} << 41}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TensorFileTest, RoundTripsProtoFilesWithNames) {
  const TempDir dir;
  const Tensor t = Tensor::From<int64_t>({3}, {1, -2, 3});
  ASSERT_TRUE(WriteTensorProtoFile(dir / "x.pb", t.view(), "x").ok());
  const auto back = ReadTensorProtoFile(dir / "x.pb");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->name, "x");
  ExpectSame(back->tensor, t);
}

TEST(TensorFileTest, ErrorsNameTheFile) {
  const TempDir dir;
  EXPECT_EQ(ReadTensorProtoFile(dir / "none.pb").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileDurably(dir / "bad.pb", "this is not a tensor").ok());
  for (const absl::Status& status :
       {ReadTensorProtoFile(dir / "bad.pb").status(), ReadNpyFile(dir / "bad.pb").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(status), HasSubstr(dir / "bad.pb"));
  }
}

// A file as numpy.save writes it, with a header of our choice.
std::string Npy(const std::string& header, const std::string& values, char version = 1) {
  std::string text = "\x93NUMPY";
  text += version;
  text += '\0';
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8);
  if (version > 1) text += std::string(2, '\0');
  return text + header + values;
}

std::string Bytes(std::initializer_list<int> bytes) {
  std::string text;
  for (const int b : bytes) text += static_cast<char>(b);
  return text;
}

TEST(NpyTest, RoundTripsEveryTypeItHas) {
  for (const Tensor& t : OneOfEachType()) {
    const auto npy = ToNpy(t.view());
    if (t.type() == DataType::kBfloat16) {
      EXPECT_EQ(npy.status().code(), absl::StatusCode::kUnimplemented);
      continue;
    }
    ASSERT_TRUE(npy.ok()) << npy.status();
    EXPECT_EQ((npy->size() - t.bytes()) % 64, 0u) << "values are aligned as NumPy does it";
    const auto back = ParseNpy(*npy);
    ASSERT_TRUE(back.ok()) << back.status();
    ExpectSame(*back, t);
  }
  EXPECT_EQ(ToNpy(Tensor::From<std::string>({1}, {"a"}).view()).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(NpyTest, WritesNumpysHeader) {
  const auto header = [](const Shape& shape) {
    const std::string npy = *ToNpy(Tensor(DataType::kFloat, shape).view());
    return npy.substr(10, npy.find('}') - 9);
  };
  EXPECT_EQ(header({}), "{'descr': '<f4', 'fortran_order': False, 'shape': (), }");
  EXPECT_EQ(header({3}), "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }");
  EXPECT_EQ(header({3, 0}), "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0), }");
}

TEST(NpyTest, ReadsVersionsOneToThree) {
  for (const char version : {1, 2, 3}) {
    const auto t = ParseNpy(Npy("{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }   \n",
                                Bytes({1, 0, 0, 1}), version));
    ASSERT_TRUE(t.ok()) << t.status();
    EXPECT_THAT(t->values<int16_t>(), ElementsAre(1, 256));
  }
  EXPECT_THAT(Message(ParseNpy(Npy("{}", "", 4)).status()), HasSubstr("version 4"));
}

TEST(NpyTest, ReadsKeysInAnyOrder) {
  const auto t =
      ParseNpy(Npy("{\"shape\":(1L,2),\"fortran_order\":False,\"descr\":\"|u1\"}", Bytes({7, 8})));
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_EQ(t->shape(), (Shape{1, 2}));
  EXPECT_THAT(t->values<uint8_t>(), ElementsAre(7, 8));
}

TEST(NpyTest, TransposesColumnMajorValues) {
  const auto t = ParseNpy(
      Npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", Bytes({1, 4, 2, 5, 3, 6})));
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->values<uint8_t>(), ElementsAre(1, 2, 3, 4, 5, 6));
  // v[i][j][k] = 100 i + 10 j + k, stored with i fastest.
  std::string values;
  for (int k = 0; k < 2; ++k) {
    for (int j = 0; j < 2; ++j) {
      for (int i = 0; i < 2; ++i) values += static_cast<char>(100 * i + 10 * j + k);
    }
  }
  const auto cube =
      ParseNpy(Npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2), }", values));
  ASSERT_TRUE(cube.ok()) << cube.status();
  EXPECT_THAT(cube->values<uint8_t>(), ElementsAre(0, 1, 10, 11, 100, 101, 110, 111));
}

TEST(NpyTest, NormalizesBools) {
  const auto t =
      ParseNpy(Npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", Bytes({0, 0x80})));
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->values<bool>(), ElementsAre(false, true));
}

struct BadNpy {
  const char* header;
  size_t value_bytes;
  const char* message;
};

TEST(NpyTest, RefusesWhatItCannotRead) {
  for (const BadNpy& bad : {
           BadNpy{"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, "big-endian"},
           BadNpy{"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, "\"<c8\""},
           BadNpy{"{'descr': '', 'fortran_order': False, 'shape': (1,), }", 8, "not supported"},
           BadNpy{"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, "\"|O\""},
           BadNpy{"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4,
                  "records"},
           BadNpy{"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4,
                  "has 4 bytes of values, but float[2] needs 8"},
           BadNpy{"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 8, "needs 4"},
           BadNpy{"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, "tuple"},
           BadNpy{"{'descr': '<f4', 'fortran_order': False, 'shape': 3, }", 12, "tuple"},
           BadNpy{"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
                  4, "2^48"},
           BadNpy{"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4,
                  "tuple"},
           BadNpy{"{'descr': '<f4', 'fortran_order': False, }", 4, "lacks"},
           BadNpy{"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, "True or False"},
           BadNpy{"{'colour': 'red'}", 4, "\"colour\""},
           BadNpy{"{'descr': '<f4'", 4, "expected"},
           BadNpy{"{'descr", 4, "expected"},
           BadNpy{"", 4, "expected"},
       }) {
    const auto t = ParseNpy(Npy(bad.header, std::string(bad.value_bytes, '\0')));
    EXPECT_EQ(t.status().code(), absl::StatusCode::kInvalidArgument) << bad.header;
    EXPECT_THAT(Message(t.status()), HasSubstr(bad.message)) << bad.header;
  }
}

TEST(NpyTest, SurvivesTruncationAndNoise) {
  const std::string whole = *ToNpy(Tensor::From<float>({2, 3}, {1, 2, 3, 4, 5, 6}).view());
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(ParseNpy(absl::string_view(whole).substr(0, n)).ok()) << n;
  }
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string noisy = whole;
    for (int i = 0; i < 3; ++i) noisy[random() % 80] = static_cast<char>(random());
    const auto t = ParseNpy(noisy);
    if (t.ok()) {
      EXPECT_LE(t->bytes(), whole.size());
    }
  }
}

}  // namespace
}  // namespace baton

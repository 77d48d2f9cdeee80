#include "engine/tensor_io.h"

#include <fcntl.h>
#include <onnx/onnx_pb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/cpu.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton {
namespace {

static_assert(std::endian::native == std::endian::little, "raw_data and .npy are read in place");

// Any byte but 0 and 1 in a bool is undefined behaviour, so bytes from files are made one of them.
void NormalizeBools(Tensor& tensor) {
  auto* bytes = static_cast<uint8_t*>(tensor.mutable_data());
  for (size_t i = 0; i < tensor.bytes(); ++i) bytes[i] = bytes[i] != 0;
}

struct ExternalData {
  std::string location;
  uint64_t offset = 0;
  int64_t length = -1;  // -1: not given
};

absl::StatusOr<ExternalData> ParseExternalData(const onnx::TensorProto& proto) {
  ExternalData data;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") data.location = entry.value();
    if (entry.key() == "offset" && !absl::SimpleAtoi(entry.value(), &data.offset)) {
      return absl::InvalidArgumentError(
          absl::StrCat("external data offset \"", entry.value(), "\" is not a number of bytes"));
    }
    if (entry.key() == "length" &&
        (!absl::SimpleAtoi(entry.value(), &data.length) || data.length < 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("external data length \"", entry.value(), "\" is not a number of bytes"));
    }
  }
  return data;
}

// Reads `size` bytes at `offset`, rather than mapping them: a file that shrinks under a mapping
// would kill the process.
absl::Status ReadAt(const std::string& path, uint64_t offset, size_t size, char* out) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus("open", path);
  absl::Status status;
  while (size > 0 && status.ok()) {
    const ssize_t n = pread(fd, out, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      status = ErrnoStatus("read", path);
    } else if (n == 0) {
      status = absl::InvalidArgumentError(absl::StrCat(path, ": ends while it is read"));
    } else {
      out += n;
      offset += static_cast<uint64_t>(n);
      size -= static_cast<size_t>(n);
    }
  }
  close(fd);
  return status;
}

absl::StatusOr<Tensor> FromExternalData(const onnx::TensorProto& proto, DataType type,
                                        const Shape& shape, uint64_t bytes,
                                        const std::string& directory) {
  if (directory.empty()) {
    return absl::InvalidArgumentError(
        "its values are external data, which is not allowed here; store them in the tensor");
  }
  if (type == DataType::kString) {
    return absl::InvalidArgumentError("strings cannot be external data");
  }
  ASSIGN_OR_RETURN(const ExternalData data, ParseExternalData(proto));
  if (data.length >= 0 && static_cast<uint64_t>(data.length) != bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("external data length is ", data.length, ", but ", DataTypeName(type),
                     ShapeToString(shape), " needs ", bytes, " bytes"));
  }
  const absl::StatusOr<std::string> resolved = ResolveInside(directory, data.location);
  if (!resolved.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("external data: ", resolved.status().message()));
  }
  const std::string& path = *resolved;
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus("stat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  const uint64_t file_size = static_cast<uint64_t>(info.st_size);
  if (data.offset > file_size || bytes > file_size - data.offset) {
    return absl::InvalidArgumentError(absl::StrCat("external data file ", path, " has ", file_size,
                                                   " bytes, but ", bytes,
                                                   " are expected at offset ", data.offset));
  }
  // A sparse file can be of any size.
  if (bytes > static_cast<uint64_t>(MemoryLimitBytes())) {
    return absl::ResourceExhaustedError(absl::StrCat("external data of ", bytes,
                                                     " bytes is more than the memory limit of ",
                                                     MemoryLimitBytes(), " bytes"));
  }
  Tensor tensor(type, shape);
  RETURN_IF_ERROR(ReadAt(path, data.offset, bytes, static_cast<char*>(tensor.mutable_data())));
  if (type == DataType::kBool) NormalizeBools(tensor);
  return tensor;
}

// Fills `tensor` from a typed field, whose values are the bits of a 16-bit float and the number
// itself otherwise. A value outside [low, high] is an error. REQUIRES: as many values as elements.
template <typename T, typename Field>
absl::Status FillChecked(const Field& field, absl::string_view field_name, int64_t low,
                         int64_t high, Tensor& tensor) {
  auto out = tensor.mutable_values<T>();
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t value = static_cast<int64_t>(field[static_cast<int>(i)]);
    if (value < low || value > high) {
      return absl::InvalidArgumentError(absl::StrCat(field_name, "[", i, "] is ", value,
                                                     ", which does not fit ",
                                                     DataTypeName(tensor.type())));
    }
    if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>) {
      out[i].bits = static_cast<uint16_t>(value);
    } else {
      out[i] = static_cast<T>(value);
    }
  }
  return absl::OkStatus();
}

template <typename T, typename Field>
absl::Status FillIntegers(const Field& field, absl::string_view field_name, Tensor& tensor) {
  return FillChecked<T>(field, field_name, int64_t{std::numeric_limits<T>::min()},
                        int64_t{std::numeric_limits<T>::max()}, tensor);
}

template <typename T, typename Field>
absl::Status FillCopied(const Field& field, Tensor& tensor) {
  std::copy(field.begin(), field.end(), tensor.mutable_values<T>().begin());
  return absl::OkStatus();
}

// REQUIRES: as many values as elements.
absl::Status FillFromTypedField(const onnx::TensorProto& proto, Tensor& tensor) {
  // Some writers sign-extend the bits of 16-bit floats, others do not.
  constexpr int64_t kLow16 = std::numeric_limits<int16_t>::min();
  constexpr int64_t kHigh16 = std::numeric_limits<uint16_t>::max();
  constexpr int64_t kLow64 = std::numeric_limits<int64_t>::min();
  constexpr int64_t kHigh64 = std::numeric_limits<int64_t>::max();
  switch (tensor.type()) {
    case DataType::kFloat:
      return FillCopied<float>(proto.float_data(), tensor);
    case DataType::kDouble:
      return FillCopied<double>(proto.double_data(), tensor);
    case DataType::kInt64:
      return FillCopied<int64_t>(proto.int64_data(), tensor);
    case DataType::kUint64:
      return FillCopied<uint64_t>(proto.uint64_data(), tensor);
    case DataType::kString:
      return FillCopied<std::string>(proto.string_data(), tensor);
    case DataType::kInt32:
      return FillCopied<int32_t>(proto.int32_data(), tensor);
    case DataType::kUint32:
      return FillIntegers<uint32_t>(proto.uint64_data(), "uint64_data", tensor);
    case DataType::kUint8:
      return FillIntegers<uint8_t>(proto.int32_data(), "int32_data", tensor);
    case DataType::kInt8:
      return FillIntegers<int8_t>(proto.int32_data(), "int32_data", tensor);
    case DataType::kUint16:
      return FillIntegers<uint16_t>(proto.int32_data(), "int32_data", tensor);
    case DataType::kInt16:
      return FillIntegers<int16_t>(proto.int32_data(), "int32_data", tensor);
    case DataType::kBool:
      return FillChecked<bool>(proto.int32_data(), "int32_data", kLow64, kHigh64, tensor);
    case DataType::kFloat16:
      return FillChecked<Float16>(proto.int32_data(), "int32_data", kLow16, kHigh16, tensor);
    case DataType::kBfloat16:
      return FillChecked<Bfloat16>(proto.int32_data(), "int32_data", kLow16, kHigh16, tensor);
    case DataType::kUndefined:
      break;
  }
  return absl::InvalidArgumentError("its data type is not supported");
}

// Values in the typed field that `type` uses; checked before memory is allocated for them.
int64_t TypedFieldSize(const onnx::TensorProto& proto, DataType type) {
  switch (type) {
    case DataType::kFloat:
      return proto.float_data_size();
    case DataType::kDouble:
      return proto.double_data_size();
    case DataType::kInt64:
      return proto.int64_data_size();
    case DataType::kUint32:
    case DataType::kUint64:
      return proto.uint64_data_size();
    case DataType::kString:
      return proto.string_data_size();
    default:
      return proto.int32_data_size();
  }
}

absl::StatusOr<Tensor> FromProto(const onnx::TensorProto& proto, const std::string& directory) {
  const DataType type = static_cast<DataType>(proto.data_type());
  if (DataTypeSize(type) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("data type ", proto.data_type(), " is not supported"));
  }
  if (proto.has_segment()) {
    return absl::InvalidArgumentError("tensors in segments are not supported; store it whole");
  }
  const Shape shape(proto.dims().begin(), proto.dims().end());
  ASSIGN_OR_RETURN(const int64_t count, CheckedNumElements(shape));
  const uint64_t bytes = static_cast<uint64_t>(count) * DataTypeSize(type);  // below 2^54

  if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
    return FromExternalData(proto, type, shape, bytes, directory);
  }
  if (proto.has_raw_data()) {
    if (type == DataType::kString) {
      return absl::InvalidArgumentError("strings are in raw_data; they belong into string_data");
    }
    if (proto.raw_data().size() != bytes) {
      return absl::InvalidArgumentError(absl::StrCat("raw_data has ", proto.raw_data().size(),
                                                     " bytes, but ", DataTypeName(type),
                                                     ShapeToString(shape), " needs ", bytes));
    }
    Tensor tensor(type, shape);
    if (bytes > 0) std::memcpy(tensor.mutable_data(), proto.raw_data().data(), bytes);
    if (type == DataType::kBool) NormalizeBools(tensor);
    return tensor;
  }
  if (const int64_t found = TypedFieldSize(proto, type); found != count) {
    return absl::InvalidArgumentError(absl::StrCat("it has ", found, " values, but ",
                                                   DataTypeName(type), ShapeToString(shape),
                                                   " needs ", count));
  }
  Tensor tensor(type, shape);
  RETURN_IF_ERROR(FillFromTypedField(proto, tensor));
  return tensor;
}

}  // namespace

absl::StatusOr<Tensor> TensorFromProto(const onnx::TensorProto& proto,
                                       const std::string& directory) {
  absl::StatusOr<Tensor> tensor = FromProto(proto, directory);
  if (!tensor.ok() && !proto.name().empty()) {
    return Annotate(tensor.status(), absl::StrCat("tensor \"", proto.name(), "\""));
  }
  return tensor;
}

onnx::TensorProto TensorToProto(const TensorView& tensor, const std::string& name) {
  onnx::TensorProto proto;
  proto.set_name(name);
  proto.set_data_type(static_cast<int32_t>(tensor.type));
  for (const int64_t d : tensor.shape) proto.add_dims(d);
  if (tensor.type == DataType::kString) {
    for (const std::string& value : tensor.values<std::string>()) proto.add_string_data(value);
  } else if (tensor.bytes() == 0) {
    proto.set_raw_data("");
  } else {
    proto.set_raw_data(tensor.data, tensor.bytes());
  }
  return proto;
}

absl::StatusOr<NamedTensor> ReadTensorProtoFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  onnx::TensorProto proto;
  if (!proto.ParseFromString(contents)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not an ONNX tensor (", contents.size(), " bytes)"));
  }
  absl::StatusOr<Tensor> tensor = TensorFromProto(proto, "");
  if (!tensor.ok()) return Annotate(tensor.status(), path);
  return NamedTensor{proto.name(), *std::move(tensor)};
}

absl::Status WriteTensorProtoFile(const std::string& path, const TensorView& tensor,
                                  const std::string& name) {
  // Protocol messages end at 2 GiB; a part of it is left for name and shape.
  constexpr size_t kMaxBytes = (size_t{1} << 31) - (size_t{1} << 20);
  if (tensor.type != DataType::kString && tensor.bytes() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a tensor of ", tensor.bytes(),
                                                   " bytes is too large for an ONNX tensor file"));
  }
  std::string contents;
  if (!TensorToProto(tensor, name).SerializeToString(&contents)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor too large for its file"));
  }
  return WriteFileDurably(path, contents);
}

}  // namespace baton

// NumPy's .npy format, versions 1 to 3 (numpy.lib.format): magic, version, length of the header,
// a Python dictionary literal, then the values.
#include <array>
#include <cstring>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/tensor_io.h"

namespace baton {
namespace {

constexpr absl::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;  // of the values, as NumPy writes them
constexpr size_t kMaxRank = 64;    // NumPy's own limit

struct NpyType {
  absl::string_view code;  // without the byte order
  DataType type;
};
constexpr std::array<NpyType, 12> kTypes = {{{"f4", DataType::kFloat},
                                             {"f8", DataType::kDouble},
                                             {"f2", DataType::kFloat16},
                                             {"i1", DataType::kInt8},
                                             {"i2", DataType::kInt16},
                                             {"i4", DataType::kInt32},
                                             {"i8", DataType::kInt64},
                                             {"u1", DataType::kUint8},
                                             {"u2", DataType::kUint16},
                                             {"u4", DataType::kUint32},
                                             {"u8", DataType::kUint64},
                                             {"b1", DataType::kBool}}};

struct NpyHeader {
  std::string descr;
  bool fortran_order = false;
  Shape shape;
};

// Reads the dictionary literal, which may have its keys in any order.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<NpyHeader> Parse() {
    NpyHeader header;
    bool has_descr = false, has_order = false, has_shape = false;
    if (!Skip('{')) return Malformed("\"{\"");
    while (!Skip('}')) {
      const std::optional<std::string> key = String();
      if (!key || !Skip(':')) return Malformed("a key and \":\"");
      if (*key == "descr") {
        const std::optional<std::string> descr = String();
        if (!descr) return Malformed("one data type as a string (records are not supported)");
        header.descr = *descr;
        has_descr = true;
      } else if (*key == "fortran_order") {
        const std::optional<bool> order = Bool();
        if (!order) return Malformed("True or False");
        header.fortran_order = *order;
        has_order = true;
      } else if (*key == "shape") {
        if (!ReadShape(header.shape)) return Malformed("a tuple of sizes");
        has_shape = true;
      } else {
        return absl::InvalidArgumentError(absl::StrCat(".npy header: unknown key \"", *key, "\""));
      }
      if (!Skip(',') && !Peek('}')) return Malformed("\",\" or \"}\"");
    }
    if (!has_descr || !has_order || !has_shape) {
      return absl::InvalidArgumentError(
          ".npy header lacks one of \"descr\", \"fortran_order\", \"shape\"");
    }
    return header;
  }

 private:
  absl::Status Malformed(absl::string_view expected) const {
    return absl::InvalidArgumentError(
        absl::StrCat(".npy header: expected ", expected, " at \"", rest_.substr(0, 20), "\""));
  }
  void SkipSpace() {
    while (!rest_.empty() && absl::ascii_isspace(static_cast<unsigned char>(rest_.front()))) {
      rest_.remove_prefix(1);
    }
  }
  bool Peek(char c) {
    SkipSpace();
    return !rest_.empty() && rest_.front() == c;
  }
  bool Skip(char c) {
    if (!Peek(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::optional<std::string> String() {
    SkipSpace();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return std::nullopt;
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == absl::string_view::npos) return std::nullopt;
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::optional<bool> Bool() {
    SkipSpace();
    for (const bool value : {true, false}) {
      const absl::string_view word = value ? "True" : "False";
      if (absl::StartsWith(rest_, word)) {
        rest_.remove_prefix(word.size());
        return value;
      }
    }
    return std::nullopt;
  }
  bool ReadShape(Shape& shape) {
    if (!Skip('(')) return false;
    while (!Skip(')')) {
      SkipSpace();
      size_t digits = 0;
      while (digits < rest_.size() && absl::ascii_isdigit(rest_[digits])) ++digits;
      int64_t size = 0;
      if (!absl::SimpleAtoi(rest_.substr(0, digits), &size)) return false;
      rest_.remove_prefix(digits);
      Skip('L');  // as Python 2 wrote long integers
      shape.push_back(size);
      if (shape.size() > kMaxRank) return false;
      if (!Skip(',') && !Peek(')')) return false;
    }
    return true;
  }

  absl::string_view rest_;
};

uint64_t LittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) {
    value = value << 8 | static_cast<uint8_t>(bytes[i - 1]);
  }
  return value;
}

absl::StatusOr<DataType> TypeOf(absl::string_view descr) {
  if (descr.size() >= 2) {
    const char order = descr.front();
    const absl::string_view code =
        absl::string_view("<>=|").find(order) != absl::string_view::npos ? descr.substr(1) : descr;
    for (const NpyType& known : kTypes) {
      if (known.code != code) continue;
      if (order == '>' && DataTypeSize(known.type) > 1) {
        return absl::InvalidArgumentError(absl::StrCat(".npy values are big-endian (\"", descr,
                                                       "\"); save them as \"<", code, "\""));
      }
      return known.type;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(".npy data type \"", descr,
                   "\" is not supported; expected bool, an integer or float of up to 8 bytes"));
}

// Copies `source`, whose first index runs fastest, to row-major order.
void CopyColumnMajor(const char* source, size_t element, Tensor& tensor) {
  const Shape& shape = tensor.shape();
  char* out = static_cast<char*>(tensor.mutable_data());
  Shape strides(shape.size()), index(shape.size(), 0);
  int64_t stride = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    strides[d] = stride;
    stride *= shape[d];
  }
  int64_t from = 0;
  for (int64_t i = 0; i < tensor.size(); ++i) {
    std::memcpy(out + static_cast<size_t>(i) * element,
                source + static_cast<size_t>(from) * element, element);
    for (size_t d = shape.size(); d > 0; --d) {
      from += strides[d - 1];
      if (++index[d - 1] < shape[d - 1]) break;
      from -= strides[d - 1] * shape[d - 1];
      index[d - 1] = 0;
    }
  }
}

}  // namespace

absl::StatusOr<Tensor> ParseNpy(absl::string_view contents) {
  if (!absl::StartsWith(contents, kMagic) || contents.size() < kMagic.size() + 4) {
    return absl::InvalidArgumentError("not a .npy file: it does not begin as one");
  }
  const int version = contents[kMagic.size()];
  if (version < 1 || version > 3) {
    return absl::InvalidArgumentError(
        absl::StrCat(".npy version ", version, " is not supported; expected 1, 2 or 3"));
  }
  contents.remove_prefix(kMagic.size() + 2);
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (contents.size() < length_bytes) return absl::InvalidArgumentError(".npy header is cut off");
  const uint64_t header_bytes = LittleEndian(contents.substr(0, length_bytes));
  contents.remove_prefix(length_bytes);
  if (header_bytes > contents.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(".npy header is cut off: ", contents.size(), " of ", header_bytes, " bytes"));
  }
  ASSIGN_OR_RETURN(const NpyHeader header, HeaderParser(contents.substr(0, header_bytes)).Parse());
  contents.remove_prefix(header_bytes);

  ASSIGN_OR_RETURN(const DataType type, TypeOf(header.descr));
  ASSIGN_OR_RETURN(const int64_t count, CheckedNumElements(header.shape));
  const uint64_t expected = static_cast<uint64_t>(count) * DataTypeSize(type);
  if (contents.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(".npy has ", contents.size(), " bytes of values, but ", DataTypeName(type),
                     ShapeToString(header.shape), " needs ", expected));
  }
  Tensor tensor(type, header.shape);
  if (header.fortran_order) {
    CopyColumnMajor(contents.data(), DataTypeSize(type), tensor);
  } else if (expected > 0) {
    std::memcpy(tensor.mutable_data(), contents.data(), expected);
  }
  if (type == DataType::kBool) {
    auto* bytes = static_cast<uint8_t*>(tensor.mutable_data());
    for (size_t i = 0; i < tensor.bytes(); ++i) bytes[i] = bytes[i] != 0;
  }
  return tensor;
}

absl::StatusOr<Tensor> ReadNpyFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  absl::StatusOr<Tensor> tensor = ParseNpy(contents);
  if (!tensor.ok()) return Annotate(tensor.status(), path);
  return tensor;
}

absl::StatusOr<std::string> ToNpy(const TensorView& tensor) {
  absl::string_view code;
  for (const NpyType& known : kTypes) {
    if (known.type == tensor.type) code = known.code;
  }
  if (code.empty()) {
    return absl::UnimplementedError(absl::StrCat(".npy has no type for ", DataTypeName(tensor.type),
                                                 "; use an ONNX tensor file (.pb)"));
  }
  std::string shape;
  for (const int64_t d : tensor.shape) absl::StrAppend(&shape, d, ", ");
  if (tensor.shape.size() > 1) shape.resize(shape.size() - 2);  // only "(3,)" keeps its comma
  if (tensor.shape.size() == 1) shape.resize(shape.size() - 1);
  const char order = DataTypeSize(tensor.type) == 1 ? '|' : '<';
  std::string header = absl::StrCat("{'descr': '", absl::string_view(&order, 1), code,
                                    "', 'fortran_order': False, 'shape': (", shape, "), }");
  const size_t prefix = kMagic.size() + 2 + 2;
  const size_t unpadded = prefix + header.size() + 1;
  header.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  header += '\n';
  if (header.size() > 0xffff) {
    return absl::InvalidArgumentError(
        absl::StrCat(".npy cannot hold a tensor of rank ", tensor.shape.size()));
  }

  std::string contents(kMagic);
  contents += '\1';
  contents += '\0';
  contents += static_cast<char>(header.size() & 0xff);
  contents += static_cast<char>(header.size() >> 8);
  contents += header;
  if (tensor.bytes() > 0) contents.append(static_cast<const char*>(tensor.data), tensor.bytes());
  return contents;
}

absl::Status WriteNpyFile(const std::string& path, const TensorView& tensor) {
  ASSIGN_OR_RETURN(const std::string contents, ToNpy(tensor));
  return WriteFileDurably(path, contents);
}

}  // namespace baton

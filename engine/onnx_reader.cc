#include "engine/onnx_reader.h"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton::engine {
namespace {

using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

// Weights of fewer bytes stay in the message.
constexpr uint32_t kLarge = 4096;

// A field's tag: its number and how it is written (protobuf's wire types).
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };
constexpr uint32_t Tag(int field, WireType type) {
  return static_cast<uint32_t>(field) << 3 | type;
}

// Takes messages apart and puts them together again without large weights. All functions return
// false where the bytes are no message.
class Splitter {
 public:
  explicit Splitter(CodedInputStream& in) : in_(in) {}

  // A message of `size` bytes, appended to `to`.
  bool SplitModel(uint32_t size, std::string& to) {
    return Split(size, to, [this](uint32_t tag, CodedOutputStream& out) {
      if (tag != Tag(onnx::ModelProto::kGraphFieldNumber, kLengthDelimited)) {
        return CopyField(tag, out);
      }
      return SplitPart(tag, out,
                       [this](uint32_t n, std::string& part) { return SplitGraph(n, part); });
    });
  }
  std::vector<Tensor> TakeWeights() { return std::move(weights_); }

 private:
  bool SplitGraph(uint32_t size, std::string& to) {
    return Split(size, to, [this](uint32_t tag, CodedOutputStream& out) {
      if (tag != Tag(onnx::GraphProto::kInitializerFieldNumber, kLengthDelimited)) {
        return CopyField(tag, out);
      }
      weights_.emplace_back();
      return SplitPart(tag, out,
                       [this](uint32_t n, std::string& part) { return SplitTensor(n, part); });
    });
  }

  // Writers put type and shape before the data; where one does not, the data stays in the message.
  bool SplitTensor(uint32_t size, std::string& to) {
    DataType type = DataType::kUndefined;
    Shape shape;
    return Split(size, to, [&](uint32_t tag, CodedOutputStream& out) {
      if (tag == Tag(onnx::TensorProto::kRawDataFieldNumber, kLengthDelimited)) {
        return SplitRawData(type, shape, out);
      }
      if (tag == Tag(onnx::TensorProto::kDimsFieldNumber, kVarint) ||
          tag == Tag(onnx::TensorProto::kDataTypeFieldNumber, kVarint)) {
        uint64_t value = 0;
        if (!in_.ReadVarint64(&value)) return false;
        out.WriteTag(tag);
        out.WriteVarint64(value);
        if (tag == Tag(onnx::TensorProto::kDimsFieldNumber, kVarint)) {
          shape.push_back(static_cast<int64_t>(value));
        } else {
          type = static_cast<DataType>(value);
        }
        return true;
      }
      return CopyField(tag, out);
    });
  }

  bool SplitRawData(DataType type, const Shape& shape, CodedOutputStream& out) {
    constexpr uint32_t kTag = Tag(onnx::TensorProto::kRawDataFieldNumber, kLengthDelimited);
    uint32_t size = 0;
    if (!ReadSize(size)) return false;
    const size_t element = DataTypeSize(type);
    const absl::StatusOr<int64_t> count = CheckedNumElements(shape);
    const bool fits = element > 0 && type != DataType::kString && type != DataType::kBool &&
                      count.ok() && static_cast<uint64_t>(*count) * element == size;
    if (size < kLarge || !fits) return CopyBytes(kTag, size, out);
    weights_.back() = Tensor(type, shape);
    return in_.ReadRaw(weights_.back().mutable_data(), static_cast<int>(size));
  }

  // Calls `field(tag, output)` for each field of the next `size` bytes.
  template <typename Field>
  bool Split(uint32_t size, std::string& to, const Field& field) {
    StringOutputStream stream(&to);
    CodedOutputStream out(&stream);
    const auto outer = in_.PushLimit(static_cast<int>(size));
    while (const uint32_t tag = in_.ReadTag()) {
      if (!field(tag, out)) return false;
    }
    if (in_.BytesUntilLimit() != 0) return false;  // a tag of 0, or the end of the file
    in_.PopLimit(outer);
    return true;
  }

  // A field that is a message; `split(size, string)` appends what stays of it.
  template <typename SplitMessage>
  bool SplitPart(uint32_t tag, CodedOutputStream& out, const SplitMessage& split) {
    uint32_t size = 0;
    std::string part;
    if (!ReadSize(size) || !split(size, part)) return false;
    out.WriteTag(tag);
    out.WriteVarint32(static_cast<uint32_t>(part.size()));
    out.WriteString(part);
    return true;
  }

  bool ReadSize(uint32_t& size) {
    return in_.ReadVarint32(&size) && static_cast<int64_t>(size) <= in_.BytesUntilLimit();
  }

  bool CopyField(uint32_t tag, CodedOutputStream& out) {
    uint64_t fixed64 = 0;
    uint32_t fixed32 = 0;
    switch (tag & 7) {
      case kVarint:
        if (!in_.ReadVarint64(&fixed64)) return false;
        out.WriteTag(tag);
        out.WriteVarint64(fixed64);
        return true;
      case kFixed64:
        if (!in_.ReadLittleEndian64(&fixed64)) return false;
        out.WriteTag(tag);
        out.WriteLittleEndian64(fixed64);
        return true;
      case kFixed32:
        if (!in_.ReadLittleEndian32(&fixed32)) return false;
        out.WriteTag(tag);
        out.WriteLittleEndian32(fixed32);
        return true;
      case kLengthDelimited:
        return ReadSize(fixed32) && CopyBytes(tag, fixed32, out);
      default:
        return false;  // groups, which ONNX has nowhere
    }
  }

  bool CopyBytes(uint32_t tag, uint32_t size, CodedOutputStream& out) {
    std::string bytes;
    if (!in_.ReadString(&bytes, static_cast<int>(size))) return false;
    out.WriteTag(tag);
    out.WriteVarint32(size);
    out.WriteString(bytes);
    return true;
  }

  CodedInputStream& in_;
  std::vector<Tensor> weights_;
};

absl::StatusOr<OnnxFile> Read(google::protobuf::io::ZeroCopyInputStream& stream, uint64_t size) {
  if (size > static_cast<uint64_t>(std::numeric_limits<int>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file has ", size,
                     " bytes; ONNX files end at 2 GiB, larger weights belong in external data"));
  }
  CodedInputStream in(&stream);
  in.SetTotalBytesLimit(std::numeric_limits<int>::max());
  Splitter splitter(in);
  std::string message;
  OnnxFile file;
  if (!splitter.SplitModel(static_cast<uint32_t>(size), message) ||
      !file.model.ParseFromString(message)) {
    return absl::InvalidArgumentError(absl::StrCat("not a whole ONNX file (", size,
                                                   " bytes do not parse as an ONNX ModelProto)"));
  }
  file.weights = splitter.TakeWeights();
  return file;
}

}  // namespace

absl::StatusOr<OnnxFile> ParseOnnx(absl::string_view onnx) {
  const int size =
      static_cast<int>(std::min(onnx.size(), static_cast<size_t>(std::numeric_limits<int>::max())));
  google::protobuf::io::ArrayInputStream stream(onnx.data(), size);
  return Read(stream, onnx.size());
}

absl::StatusOr<OnnxFile> ReadOnnx(const std::string& path) {
  // Read, not mapped: a publisher that truncates a mapped file would stop the process.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus("open", path);
  google::protobuf::io::FileInputStream stream(fd, /*block_size=*/1 << 20);
  stream.SetCloseOnDelete(true);
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus("read", path);
  if (S_ISDIR(info.st_mode)) {
    errno = EISDIR;
    return ErrnoStatus("read", path);
  }
  absl::StatusOr<OnnxFile> file = Read(stream, static_cast<uint64_t>(info.st_size));
  if (!file.ok() && stream.GetErrno() != 0) {
    errno = stream.GetErrno();
    return ErrnoStatus("read", path);
  }
  return file;
}

}  // namespace baton::engine

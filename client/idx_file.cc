#include "client/idx_file.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_join.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 30;
constexpr unsigned char kUnsignedByte = 0x08;

// Reads a file that may be compressed; zlib passes other files through unchanged.
class GzReader {
 public:
  explicit GzReader(const std::string& path) : file_(gzopen(path.c_str(), "rb"), &gzclose) {}
  bool is_open() const { return file_ != nullptr; }

  // Up to `size` bytes; fewer only at the end of the file.
  absl::StatusOr<std::vector<uint8_t>> Read(int64_t size) {
    constexpr int64_t kPiece = 1 << 20;  // grow with the data, not with what a header claims
    std::vector<uint8_t> bytes;
    while (static_cast<int64_t>(bytes.size()) < size) {
      const int64_t piece = std::min(kPiece, size - static_cast<int64_t>(bytes.size()));
      const size_t old = bytes.size();
      bytes.resize(old + static_cast<size_t>(piece));
      const int got = gzread(file_.get(), bytes.data() + old, static_cast<unsigned>(piece));
      int error = Z_OK;
      const char* message = gzerror(file_.get(), &error);
      if (got < 0 || error < 0) {
        return absl::InvalidArgumentError(absl::StrCat("cannot be read or unpacked: ", message));
      }
      bytes.resize(old + static_cast<size_t>(got));
      if (got < piece) break;
    }
    return bytes;
  }

 private:
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

}  // namespace

absl::StatusOr<IdxFile> IdxFile::Read(const std::string& path) {
  GzReader reader(path);
  if (!reader.is_open()) return ErrnoStatus("open", path);
  const auto error = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", parts...));
  };
  const auto read = [&](int64_t size) -> absl::StatusOr<std::vector<uint8_t>> {
    absl::StatusOr<std::vector<uint8_t>> bytes = reader.Read(size);
    if (!bytes.ok()) return Annotate(bytes.status(), path);
    return bytes;
  };
  ASSIGN_OR_RETURN(const std::vector<uint8_t> magic, read(4));
  if (magic.size() < 4 || magic[0] != 0 || magic[1] != 0) {
    return error("not an idx file: it does not start with two zero bytes and a type");
  }
  if (magic[2] != kUnsignedByte) {
    return error("idx data of type ", static_cast<int>(magic[2]), "; expected ",
                 static_cast<int>(kUnsignedByte), " (unsigned bytes)");
  }
  const int rank = magic[3];
  if (rank < 1 || rank > 4) return error("idx data of ", rank, " dimensions; expected 1 to 4");
  ASSIGN_OR_RETURN(const std::vector<uint8_t> header, read(4 * rank));
  if (static_cast<int>(header.size()) < 4 * rank) return error("the file ends in its header");

  IdxFile file;
  file.path_ = path;
  int64_t size = 1;
  for (int i = 0; i < rank; ++i) {
    const uint8_t* b = header.data() + 4 * i;
    const int64_t dim = int64_t{b[0]} << 24 | int64_t{b[1]} << 16 | int64_t{b[2]} << 8 | b[3];
    file.dims_.push_back(dim);
    size = dim == 0 ? 0 : (size > kMaxBytes / dim ? kMaxBytes + 1 : size * dim);
  }
  const std::string dims = absl::StrJoin(file.dims_, "x");
  if (size > kMaxBytes)
    return error("idx data of ", dims, " bytes; at most ", kMaxBytes, " are read");
  ASSIGN_OR_RETURN(file.data_, read(size + 1));
  if (static_cast<int64_t>(file.data_.size()) < size) {
    return error("holds ", file.data_.size(), " bytes of data; its dimensions ", dims, " need ",
                 size);
  }
  if (static_cast<int64_t>(file.data_.size()) > size) {
    return error("holds more data than its dimensions ", dims, " need (", size, " bytes)");
  }
  return file;
}

absl::StatusOr<Image> IdxFile::ImageAt(int64_t index) const {
  const bool grey = dims_.size() == 3;
  if (!grey && !(dims_.size() == 4 && (dims_[3] == 1 || dims_[3] == 3))) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": idx data of dimensions ", absl::StrJoin(dims_, "x"),
                     " holds no images; expected count x rows x columns",
                     dims_.size() == 1 ? " (this looks like a file of labels)" : ""));
  }
  if (index < 0 || index >= size()) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": no image ", index, "; it holds ", size(),
                                              size() > 0 ? " (0 to " : "",
                                              size() > 0 ? absl::StrCat(size() - 1, ")") : ""));
  }
  Image image{dims_[2], dims_[1], grey ? 1 : static_cast<int>(dims_[3]), {}};
  const int64_t bytes = image.width * image.height * image.channels;
  image.pixels.assign(data_.begin() + index * bytes, data_.begin() + (index + 1) * bytes);
  return image;
}

absl::StatusOr<absl::Span<const uint8_t>> IdxFile::Labels() const {
  if (dims_.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": idx data of dimensions ",
                                                   absl::StrJoin(dims_, "x"),
                                                   " holds no labels; expected one dimension"));
  }
  return absl::MakeConstSpan(data_);
}

}  // namespace baton

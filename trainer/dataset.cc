#include "trainer/dataset.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/tensor.h"
#include "trainer/random.h"

namespace baton::trainer {
namespace {

constexpr uint32_t kUnsignedBytes = 0x00000800;  // the last byte is the number of dimensions
constexpr uint64_t kOrderStream = 1;             // Random's stream for epoch 0's order

struct IdxFile {
  Shape shape;
  std::string contents;
  size_t header_bytes = 0;

  absl::Span<const uint8_t> bytes() const {
    return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(contents.data()) + header_bytes,
                               contents.size() - header_bytes);
  }
};

uint32_t BigEndian32(const std::string& contents, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value = value << 8 | static_cast<uint8_t>(contents[offset + i]);
  }
  return value;
}

absl::StatusOr<IdxFile> ReadIdxFile(const std::string& path, uint32_t rank) {
  IdxFile file;
  ASSIGN_OR_RETURN(file.contents, ReadFile(path));
  file.header_bytes = 4 + 4 * size_t{rank};
  const uint32_t magic = file.contents.size() < 4 ? 0 : BigEndian32(file.contents, 0);
  if (file.contents.size() >= 4 && magic != (kUnsignedBytes | rank)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: begins with 0x%08x, expected 0x%08x (idx, unsigned bytes, %d dimension%s)%s", path,
        magic, kUnsignedBytes | rank, rank, rank == 1 ? "" : "s",
        magic >> 16 == 0x1f8b ? "; it is compressed, run gunzip on it" : ""));
  }
  if (file.contents.size() < file.header_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", file.contents.size(), " bytes, expected an idx header of ",
                     file.header_bytes, "; the file is cut short, get it again"));
  }
  for (uint32_t i = 0; i < rank; ++i) {
    file.shape.push_back(BigEndian32(file.contents, 4 + 4 * size_t{i}));
  }
  const absl::StatusOr<int64_t> expected = CheckedNumElements(file.shape);
  if (!expected.ok()) return Annotate(expected.status(), path);
  if (file.bytes().size() != static_cast<size_t>(*expected)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": its header says ", ShapeToString(file.shape), " = ", *expected,
        " bytes, but it holds ", file.bytes().size(), "; the file is damaged, get it again"));
  }
  return file;
}

}  // namespace

absl::StatusOr<Dataset> ReadIdx(const std::string& images_path, const std::string& labels_path,
                                int64_t classes) {
  ASSIGN_OR_RETURN(const IdxFile images, ReadIdxFile(images_path, 3));
  ASSIGN_OR_RETURN(const IdxFile labels, ReadIdxFile(labels_path, 1));
  if (images.shape[0] != labels.shape[0]) {
    return absl::InvalidArgumentError(absl::StrCat(images_path, " holds ", images.shape[0],
                                                   " images, but ", labels_path, " holds ",
                                                   labels.shape[0], " labels; expected as many"));
  }
  if (NumElements(images.shape) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(images_path, ": ", ShapeToString(images.shape), " holds no images"));
  }
  for (size_t i = 0; i < labels.bytes().size(); ++i) {
    if (labels.bytes()[i] >= classes) {
      return absl::InvalidArgumentError(absl::StrCat(labels_path, ": label ", i, " is ",
                                                     int{labels.bytes()[i]}, ", expected 0 to ",
                                                     classes - 1));
    }
  }
  return Dataset{.rows = images.shape[1],
                 .columns = images.shape[2],
                 .pixels = {images.bytes().begin(), images.bytes().end()},
                 .labels = {labels.bytes().begin(), labels.bytes().end()}};
}

absl::StatusOr<Mnist> ReadMnist(const std::string& directory, int64_t classes) {
  const auto read = [&](absl::string_view part) {
    absl::StatusOr<Dataset> data =
        ReadIdx(absl::StrCat(directory, "/", part, "-images-idx3-ubyte"),
                absl::StrCat(directory, "/", part, "-labels-idx1-ubyte"), classes);
    if (absl::IsNotFound(data.status())) {
      data = absl::NotFoundError(
          absl::StrCat(data.status().message(), "; deploy/fetch-mnist.sh DIR gets MNIST's files"));
    }
    return data;
  };
  Mnist mnist;
  ASSIGN_OR_RETURN(mnist.train, read("train"));
  ASSIGN_OR_RETURN(mnist.test, read("t10k"));
  if (mnist.test.rows != mnist.train.rows || mnist.test.columns != mnist.train.columns) {
    return absl::InvalidArgumentError(absl::StrCat(
        directory, ": test images are ", mnist.test.rows, "x", mnist.test.columns,
        ", images for training ", mnist.train.rows, "x", mnist.train.columns, "; expected equal"));
  }
  return mnist;
}

std::vector<int64_t> ShuffledIndices(int64_t size, uint64_t seed, int epoch) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random(seed, kOrderStream + static_cast<uint64_t>(epoch)).Shuffle(absl::MakeSpan(order));
  return order;
}

}  // namespace baton::trainer

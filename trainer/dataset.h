// Dataset: labelled grey images in memory, and the idx files they come from (the format of MNIST:
// a big-endian magic number 0x0000'08nn for n dimensions of unsigned bytes, the n sizes, the
// bytes). Files of any content are safe to read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace baton::trainer {

struct Dataset {
  int64_t rows = 0, columns = 0;
  std::vector<uint8_t> pixels;  // [size, rows, columns], 0 is background, 255 is ink
  std::vector<uint8_t> labels;  // [size]

  int64_t size() const { return static_cast<int64_t>(labels.size()); }
  int64_t pixels_per_image() const { return rows * columns; }
  absl::Span<const uint8_t> image(int64_t index) const {
    return absl::MakeConstSpan(pixels).subspan(static_cast<size_t>(index * pixels_per_image()),
                                               static_cast<size_t>(pixels_per_image()));
  }
};

// Reads a file of images and the file of their labels. kNotFound: a file is missing.
// kInvalidArgument: not idx, sizes that do not fit together, a label of `classes` or more.
absl::StatusOr<Dataset> ReadIdx(const std::string& images_path, const std::string& labels_path,
                                int64_t classes);

struct Mnist {
  Dataset train, test;
};

// Reads MNIST's four files (train-images-idx3-ubyte …) from `directory`. Errors as ReadIdx, and
// kInvalidArgument where test images are not as large as those for training.
absl::StatusOr<Mnist> ReadMnist(const std::string& directory, int64_t classes);

// The indices 0 … size-1 in an order that depends on `seed` and `epoch` only.
std::vector<int64_t> ShuffledIndices(int64_t size, uint64_t seed, int epoch);

}  // namespace baton::trainer

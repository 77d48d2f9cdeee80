// IdxFile: the file format of MNIST's images and labels (a magic number, the dimensions as
// big-endian 32-bit numbers, unsigned bytes), plain or compressed with gzip.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/image_file.h"

namespace baton {

class IdxFile {
 public:
  // Reads the whole file; at most 1 GiB of data. kInvalidArgument if it is not an idx file of
  // unsigned bytes with 1 to 4 dimensions, or has less or more data than its dimensions say;
  // files of any content are safe to read.
  static absl::StatusOr<IdxFile> Read(const std::string& path);

  const std::string& path() const { return path_; }
  // The first dimension counts the items.
  const std::vector<int64_t>& dims() const { return dims_; }
  int64_t size() const { return dims_[0]; }

  // The image at `index`. kInvalidArgument if the items are not images (rows x columns, perhaps
  // with 1 or 3 channels last); kOutOfRange if there is no such item.
  absl::StatusOr<Image> ImageAt(int64_t index) const;
  // Labels: one byte per item. kInvalidArgument if the file has more than one dimension.
  absl::StatusOr<absl::Span<const uint8_t>> Labels() const;

 private:
  std::string path_;
  std::vector<int64_t> dims_;
  std::vector<uint8_t> data_;
};

}  // namespace baton

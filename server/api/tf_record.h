// TFRecord: TensorFlow's file of records. A record is its length (8 bytes), the checksum of that,
// its bytes, and their checksum (4 bytes each), all little endian, without compression.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::api {

// The checksum of a TFRecord: CRC-32C, rotated and shifted so that data which holds checksums does
// not check itself.
uint32_t MaskedCrc32c(absl::string_view data);

// The records in `contents`, which they point into. kDataLoss: names the record, counted from 1,
// and what is wrong with it. Safe on contents of any kind.
absl::StatusOr<std::vector<absl::string_view>> ParseTfRecords(absl::string_view contents);

}  // namespace baton::api

#include "server/api/tf_record.h"

#include <array>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace baton::api {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kChecksumBytes = 4;
constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, bits reversed
constexpr uint32_t kMaskDelta = 0xa282ead8;

// Debian has no library for CRC-32C; these files are small.
constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = MakeTable();

absl::Status Broken(size_t record, absl::string_view why) {
  return absl::DataLossError(
      absl::StrCat("record ", record, ": ", why,
                   "; expected a TFRecord file as TFRecordWriter makes it, without compression"));
}

// Takes a number off the front of `contents`.
template <typename T>
T Take(absl::string_view& contents) {
  T value;
  std::memcpy(&value, contents.data(), sizeof(value));
  contents.remove_prefix(sizeof(value));
  return value;
}

}  // namespace

uint32_t MaskedCrc32c(absl::string_view data) {
  uint32_t crc = 0xffffffff;
  for (const char byte : data) {
    crc = kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ (crc >> 8);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + kMaskDelta;
}

absl::StatusOr<std::vector<absl::string_view>> ParseTfRecords(absl::string_view contents) {
  std::vector<absl::string_view> records;
  while (!contents.empty()) {
    const size_t number = records.size() + 1;
    if (contents.size() < kLengthBytes + kChecksumBytes) {
      return Broken(number, "the file ends inside its length");
    }
    const uint32_t length_checksum = MaskedCrc32c(contents.substr(0, kLengthBytes));
    const auto length = Take<uint64_t>(contents);
    if (Take<uint32_t>(contents) != length_checksum) {
      return Broken(number, "the checksum of its length is wrong");
    }
    if (contents.size() < kChecksumBytes || contents.size() - kChecksumBytes < length) {
      return Broken(number, absl::StrCat("its length is ", length, " bytes, but the file has ",
                                         contents.size(), " after it"));
    }
    const absl::string_view record = contents.substr(0, length);
    contents.remove_prefix(length);
    if (Take<uint32_t>(contents) != MaskedCrc32c(record)) {
      return Broken(number, "the checksum of its bytes is wrong");
    }
    records.push_back(record);
  }
  return records;
}

}  // namespace baton::api

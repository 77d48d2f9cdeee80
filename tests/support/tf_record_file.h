// Writes TFRecord files of warm-up requests, as TensorFlow's TFRecordWriter does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/api/tf_record.h"

namespace baton::testing {

inline std::string LittleEndian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

inline std::string TfRecord(const std::string& bytes) {
  const std::string length = LittleEndian(bytes.size(), 8);
  return length + LittleEndian(api::MaskedCrc32c(length), 4) + bytes +
         LittleEndian(api::MaskedCrc32c(bytes), 4);
}

}  // namespace baton::testing

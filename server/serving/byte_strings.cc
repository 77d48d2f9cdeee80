#include "server/serving/byte_strings.h"

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace baton::serving {

absl::StatusOr<Tensor> ParseByteStrings(absl::string_view raw, const Shape& shape) {
  const int64_t needed = NumElements(shape);
  // Before anything is allocated: each element takes at least its length's four bytes.
  if (raw.size() / sizeof(uint32_t) < static_cast<size_t>(needed)) {
    return absl::InvalidArgumentError(absl::StrCat(raw.size(), " bytes of data are too few for ",
                                                   needed,
                                                   " BYTES elements (a 4-byte length each)"));
  }
  Tensor tensor(DataType::kString, shape);
  int64_t i = 0;
  for (std::string& element : tensor.mutable_values<std::string>()) {
    uint32_t length = 0;
    if (raw.size() < sizeof(length)) {
      return absl::InvalidArgumentError(absl::StrCat("the data ends before BYTES element ", i));
    }
    std::memcpy(&length, raw.data(), sizeof(length));
    raw.remove_prefix(sizeof(length));
    if (raw.size() < length) {
      return absl::InvalidArgumentError(absl::StrCat("BYTES element ", i, " says it has ", length,
                                                     " bytes, but ", raw.size(), " are left"));
    }
    element.assign(raw.data(), length);
    raw.remove_prefix(length);
    ++i;
  }
  if (raw.empty()) return tensor;
  return absl::InvalidArgumentError(
      absl::StrCat(raw.size(), " bytes are left after the last of ", needed, " BYTES elements"));
}

}  // namespace baton::serving

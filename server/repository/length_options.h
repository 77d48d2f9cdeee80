// LengthOptions: how requests of different lengths may share a batch; from the model's config
// (parameters "length_buckets", "length_dims" and "pad_value.…"), or from TensorFlow Serving's
// pad_variable_length_inputs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace baton::repository {

struct LengthOptions {
  enum class Mode {
    kExact,        // only requests of equal shapes share a batch
    kBuckets,      // a length is padded to the smallest bucket that holds it, a longer one is not
    kPowersOfTwo,  // as kBuckets, with 1, 2, 4 … as the buckets
    kLongest,      // a length is padded to the longest of its batch
  };
  std::optional<Mode> mode = {};      // not given: as the server's batching parameters say
  std::vector<int64_t> buckets = {};  // of kBuckets; ascending, from 1 up
  // The model's dimensions that are lengths, by name; empty: all that it leaves open, but for the
  // batch's.
  std::vector<std::string> dims = {};
  std::map<std::string, std::string> pad_values = {};  // by input, as text
  // What inputs without a pad value are padded with: their own first element, else 0.
  bool pad_with_first_element = false;

  friend bool operator==(const LengthOptions&, const LengthOptions&) = default;
};

bool IsLengthOption(absl::string_view key);

// Sets one option from text. REQUIRES: IsLengthOption(key). kInvalidArgument: the value, and what
// is expected.
absl::Status SetLengthOption(absl::string_view key, const std::string& value,
                             LengthOptions& options);

}  // namespace baton::repository

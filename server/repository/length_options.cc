#include "server/repository/length_options.h"

#include <algorithm>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/status.h"

namespace baton::repository {
namespace {

constexpr absl::string_view kBucketsKey = "length_buckets";
constexpr absl::string_view kDimsKey = "length_dims";
constexpr absl::string_view kPadValuePrefix = "pad_value.";
constexpr size_t kMaxBuckets = 32;  // each has plans of its own
constexpr int64_t kMaxLength = int64_t{1} << 24;

absl::Status Wrong(absl::string_view key, const std::string& value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("parameters[", key, "] is \"", value, "\"; expected ", expected));
}

absl::Status SetBuckets(const std::string& value, LengthOptions& options) {
  using Mode = LengthOptions::Mode;
  if (value == "none") {
    options.mode = Mode::kExact;
  } else if (value == "pow2") {
    options.mode = Mode::kPowersOfTwo;
  } else if (value == "longest") {
    options.mode = Mode::kLongest;
  } else {
    options.mode = Mode::kBuckets;
    bool numbers = true;
    for (const absl::string_view text : absl::StrSplit(value, ',')) {
      int64_t bucket = 0;
      numbers = numbers && absl::SimpleAtoi(text, &bucket) && bucket >= 1 && bucket <= kMaxLength;
      options.buckets.push_back(bucket);
    }
    const bool ascending =
        std::is_sorted(options.buckets.begin(), options.buckets.end(), std::less_equal<int64_t>());
    if (!numbers || !ascending || options.buckets.size() > kMaxBuckets) {
      return Wrong(
          kBucketsKey, value,
          absl::StrCat("ascending lengths such as \"16,32,64\" (from 1 to ", kMaxLength,
                       ", at most ", kMaxBuckets, " of them), \"pow2\", \"longest\" or \"none\""));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsLengthOption(absl::string_view key) {
  return key == kBucketsKey || key == kDimsKey || absl::StartsWith(key, kPadValuePrefix);
}

absl::Status SetLengthOption(absl::string_view key, const std::string& value,
                             LengthOptions& options) {
  if (key == kBucketsKey) return SetBuckets(value, options);
  if (key == kDimsKey) {
    for (const absl::string_view name : absl::StrSplit(value, ',')) {
      options.dims.emplace_back(absl::StripAsciiWhitespace(name));
      if (options.dims.back().empty()) {
        return Wrong(key, value, "names of the model's dimensions, such as \"seq\" or \"h,w\"");
      }
    }
    return absl::OkStatus();
  }
  options.pad_values[std::string(absl::StripPrefix(key, kPadValuePrefix))] = value;
  return absl::OkStatus();
}

}  // namespace baton::repository

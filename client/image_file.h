// Images from files: PNG (any colour type and depth) and PGM (P2 and P5). Files of any content are
// safe to read; an image may have at most 64 million pixels. Errors are kInvalidArgument, or what
// reading the file gave, and name the path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton {

// Row-major, channels interleaved, 0 (black) to 255.
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  int channels = 1;  // 1: grey, 3: red, green, blue
  std::vector<uint8_t> pixels;
};

// Which format it is is read from its first bytes, not from the name. 16-bit samples are scaled to
// 8 bits; transparent pixels are shown over black.
absl::StatusOr<Image> ReadImageFile(const std::string& path);
absl::StatusOr<Image> ParsePng(absl::string_view contents);
absl::StatusOr<Image> ParsePgm(absl::string_view contents);

// One channel: luminance of Rec. 709. Three: grey repeated. REQUIRES: channels is 1 or 3.
Image ConvertChannels(const Image& image, int channels);

}  // namespace baton

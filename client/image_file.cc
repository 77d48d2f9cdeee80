#include "client/image_file.h"

#include <png.h>

#include <cctype>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton {
namespace {

constexpr int64_t kMaxPixels = int64_t{64} << 20;
constexpr absl::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

absl::Status CheckDimensions(int64_t width, int64_t height) {
  if (width < 1 || height < 1 || width > kMaxPixels / height) {
    return absl::InvalidArgumentError(
        absl::StrCat("an image of ", width, "x", height, " pixels; expected 1 to ", kMaxPixels));
  }
  return absl::OkStatus();
}

// Reads a PGM header's numbers and, in P2, its samples.
class PgmScanner {
 public:
  explicit PgmScanner(absl::string_view text) : rest_(text) {}

  // The next decimal number, after white space and comments.
  absl::StatusOr<int64_t> Number(absl::string_view what) {
    SkipSpace();
    int64_t value = 0;
    size_t digits = 0;
    while (digits < rest_.size() && std::isdigit(static_cast<unsigned char>(rest_[digits]))) {
      if (digits == 9) return absl::InvalidArgumentError(absl::StrCat("PGM: ", what, " too large"));
      value = value * 10 + (rest_[digits++] - '0');
    }
    if (digits == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("PGM: ", rest_.empty() ? "the file ends" : "no number", " where ", what,
                       " was expected"));
    }
    rest_.remove_prefix(digits);
    return value;
  }
  // What follows the one white-space character that ends a binary header.
  absl::string_view Binary() {
    if (!rest_.empty()) rest_.remove_prefix(1);
    return rest_;
  }

 private:
  void SkipSpace() {
    while (!rest_.empty()) {
      if (rest_.front() == '#') {
        rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
      } else if (std::isspace(static_cast<unsigned char>(rest_.front()))) {
        rest_.remove_prefix(1);
      } else {
        return;
      }
    }
  }
  absl::string_view rest_;
};

}  // namespace

absl::StatusOr<Image> ParsePng(absl::string_view contents) {
  png_image png;
  std::memset(&png, 0, sizeof png);
  png.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&png, contents.data(), contents.size())) {
    return absl::InvalidArgumentError(absl::StrCat("PNG: ", png.message));
  }
  if (absl::Status status = CheckDimensions(png.width, png.height); !status.ok()) {
    png_image_free(&png);
    return Annotate(status, "PNG");
  }
  const bool colour = (png.format & PNG_FORMAT_FLAG_COLOR) != 0;
  png.format = colour ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  Image image{png.width, png.height, colour ? 3 : 1, {}};
  image.pixels.resize(PNG_IMAGE_SIZE(png));
  const png_color black{0, 0, 0};
  const bool whole = png_image_finish_read(&png, &black, image.pixels.data(), 0, nullptr) != 0;
  const std::string message = png.message;  // finish_read has freed what `png` held
  if (!whole) return absl::InvalidArgumentError(absl::StrCat("PNG: ", message));
  return image;
}

absl::StatusOr<Image> ParsePgm(absl::string_view contents) {
  const bool binary = contents.substr(0, 2) == "P5";
  if (!binary && contents.substr(0, 2) != "P2") {
    return absl::InvalidArgumentError("PGM: the file does not start with P5 or P2");
  }
  PgmScanner scanner(contents.substr(2));
  ASSIGN_OR_RETURN(const int64_t width, scanner.Number("the width"));
  ASSIGN_OR_RETURN(const int64_t height, scanner.Number("the height"));
  ASSIGN_OR_RETURN(const int64_t max_value, scanner.Number("the largest value"));
  RETURN_IF_ERROR(Annotate(CheckDimensions(width, height), "PGM"));
  if (max_value < 1 || max_value > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("PGM: largest value ", max_value, "; expected 1 to 65535"));
  }
  const int64_t count = width * height;
  Image image{width, height, 1, {}};
  const auto add = [&](int64_t sample) -> absl::Status {
    if (sample > max_value) {
      return absl::InvalidArgumentError(
          absl::StrCat("PGM: a sample of ", sample, " over the largest value ", max_value));
    }
    image.pixels.push_back(static_cast<uint8_t>((sample * 255 + max_value / 2) / max_value));
    return absl::OkStatus();
  };
  if (!binary) {
    for (int64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(const int64_t sample, scanner.Number("a sample"));
      RETURN_IF_ERROR(add(sample));
    }
    return image;
  }
  const absl::string_view data = scanner.Binary();
  const int64_t sample_bytes = max_value > 255 ? 2 : 1;
  if (static_cast<int64_t>(data.size()) < count * sample_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("PGM: ", data.size(), " bytes of pixels; ",
                                                   width, "x", height, " need ",
                                                   count * sample_bytes));
  }
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  for (int64_t i = 0; i < count; ++i) {
    RETURN_IF_ERROR(add(sample_bytes == 1 ? bytes[i] : bytes[2 * i] * 256 + bytes[2 * i + 1]));
  }
  return image;
}

absl::StatusOr<Image> ReadImageFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  absl::StatusOr<Image> image;
  if (absl::string_view(contents).substr(0, 8) == kPngSignature) {
    image = ParsePng(contents);
  } else if (absl::string_view(contents).substr(0, 1) == "P") {
    image = ParsePgm(contents);
  } else {
    return absl::InvalidArgumentError(absl::StrCat(path, ": neither a PNG nor a PGM image"));
  }
  if (!image.ok()) return Annotate(image.status(), path);
  return image;
}

Image ConvertChannels(const Image& image, int channels) {
  BATON_CHECK(channels == 1 || channels == 3);
  if (image.channels == channels) return image;
  Image converted{image.width, image.height, channels, {}};
  converted.pixels.reserve(static_cast<size_t>(image.width * image.height * channels));
  if (channels == 3) {
    for (const uint8_t grey : image.pixels)
      converted.pixels.insert(converted.pixels.end(), 3, grey);
  } else {
    for (size_t i = 0; i < image.pixels.size(); i += 3) {
      const double luminance =
          0.2126 * image.pixels[i] + 0.7152 * image.pixels[i + 1] + 0.0722 * image.pixels[i + 2];
      converted.pixels.push_back(static_cast<uint8_t>(luminance + 0.5));
    }
  }
  return converted;
}

}  // namespace baton

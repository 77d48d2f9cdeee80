#include "client/image_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>
#include <zlib.h>

#include <cstring>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace baton {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Png(int width, int height, png_uint_32 format, const std::vector<uint8_t>& pixels) {
  png_image image;
  std::memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = format;
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr);
  std::string bytes(size, '\0');
  png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr);
  bytes.resize(size);
  return bytes;
}

TEST(ImageFile, ReadsGreyPng) {
  const auto image = ParsePng(Png(3, 2, PNG_FORMAT_GRAY, {0, 1, 2, 100, 200, 255}));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->width, 3);
  EXPECT_EQ(image->height, 2);
  EXPECT_EQ(image->channels, 1);
  EXPECT_THAT(image->pixels, ElementsAre(0, 1, 2, 100, 200, 255));
}

TEST(ImageFile, ReadsColourPngAndShowsTransparencyOverBlack) {
  const auto colour = ParsePng(Png(2, 1, PNG_FORMAT_RGB, {1, 2, 3, 250, 20, 7}));
  ASSERT_TRUE(colour.ok()) << colour.status();
  EXPECT_EQ(colour->channels, 3);
  EXPECT_THAT(colour->pixels, ElementsAre(1, 2, 3, 250, 20, 7));
  const auto transparent = ParsePng(Png(2, 1, PNG_FORMAT_RGBA, {9, 9, 9, 255, 200, 200, 200, 0}));
  ASSERT_TRUE(transparent.ok()) << transparent.status();
  EXPECT_THAT(transparent->pixels, ElementsAre(9, 9, 9, 0, 0, 0));
}

TEST(ImageFile, RefusesEveryTruncationOfAPng) {
  const std::string png = Png(16, 16, PNG_FORMAT_GRAY, std::vector<uint8_t>(256, 77));
  // The last chunk, IEND, carries nothing: without it the image may still be whole.
  for (size_t size = 0; size + 12 < png.size(); ++size) {
    EXPECT_FALSE(ParsePng(png.substr(0, size)).ok()) << size << " of " << png.size();
  }
}

TEST(ImageFile, SurvivesEveryDamagedByteOfAPng) {
  const std::string png = Png(8, 8, PNG_FORMAT_RGB, std::vector<uint8_t>(192, 77));
  for (size_t i = 0; i < png.size(); ++i) {
    std::string damaged = png;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    const auto image = ParsePng(damaged);
    if (image.ok()) {
      EXPECT_LE(image->pixels.size(), 64U << 20);
    }
  }
}

TEST(ImageFile, RefusesAPngThatClaimsHugeDimensions) {
  std::string png = Png(1, 1, PNG_FORMAT_GRAY, {5});
  // IHDR: width at 16, height at 20, checksum at 29.
  for (const size_t at : {16, 20}) std::memcpy(&png[at], "\x00\x0f\x00\x00", 4);
  const uint32_t crc =
      static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(png.data()) + 12, 17));
  for (int i = 0; i < 4; ++i)
    png[29 + static_cast<size_t>(i)] = static_cast<char>(crc >> (24 - 8 * i));
  const auto image = ParsePng(png);
  ASSERT_FALSE(image.ok());
  EXPECT_THAT(image.status().message(), HasSubstr("983040x983040"));
}

TEST(ImageFile, ReadsPgmInBothForms) {
  const auto ascii = ParsePgm("P2 # comment\n2 2\n# another\n255\n0 10\n20 255\n");
  ASSERT_TRUE(ascii.ok()) << ascii.status();
  EXPECT_THAT(ascii->pixels, ElementsAre(0, 10, 20, 255));
  const auto binary = ParsePgm("P5\n3 1\n255\nabc");
  ASSERT_TRUE(binary.ok()) << binary.status();
  EXPECT_EQ(binary->width, 3);
  EXPECT_THAT(binary->pixels, ElementsAre('a', 'b', 'c'));
}

TEST(ImageFile, ScalesPgmOfOtherDepths) {
  EXPECT_THAT(ParsePgm("P2 3 1 1 0 1 1")->pixels, ElementsAre(0, 255, 255));
  const std::string wide("P5 2 1 65535\n\xff\xff\x80\x00", 17);
  EXPECT_THAT(ParsePgm(wide)->pixels, ElementsAre(255, 128));
}

TEST(ImageFile, RefusesBadPgm) {
  const std::pair<const char*, const char*> cases[] = {
      {"P5", "the width"},
      {"P5\n2", "the height"},
      {"P5\n2 2\n255\nabc", "2x2 need 4"},
      {"P5\n0 2\n255\n", "0x2"},
      {"P5\n99999999 99999999\n255\n", "99999999x99999999"},
      {"P5\n12345678901 2\n255\n", "too large"},
      {"P5\n-2 2\n255\nabcd", "no number"},
      {"P5\n2 2\n0\nabcd", "largest value 0"},
      {"P5\n2 2\n70000\nabcd", "largest value 70000"},
      {"P2 2 1 9 3 10", "a sample of 10"},
      {"P2 2 1 9 3", "the file ends where a sample"},
      {"P6 1 1 255 abc", "P5 or P2"},
      {"", "P5 or P2"},
  };
  for (const auto& [text, message] : cases) {
    const auto image = ParsePgm(text);
    ASSERT_FALSE(image.ok()) << text;
    EXPECT_THAT(std::string(image.status().message()), HasSubstr(message)) << text;
  }
}

TEST(ImageFile, TellsFormatsByContentAndNamesThePath) {
  const testing::TempDir dir;
  std::ofstream(dir / "a.txt") << "P2 1 1 255 7";
  EXPECT_THAT(ReadImageFile(dir / "a.txt")->pixels, ElementsAre(7));
  std::ofstream(dir / "b.png") << "not an image";
  EXPECT_THAT(std::string(ReadImageFile(dir / "b.png").status().message()),
              HasSubstr("b.png: neither a PNG nor a PGM"));
  EXPECT_TRUE(absl::IsNotFound(ReadImageFile(dir / "none.png").status()));
}

TEST(ImageFile, ConvertsBetweenGreyAndColour) {
  const Image grey{2, 1, 1, {10, 200}};
  EXPECT_THAT(ConvertChannels(grey, 3).pixels, ElementsAre(10, 10, 10, 200, 200, 200));
  const Image colour{2, 1, 3, {255, 0, 0, 255, 255, 255}};
  EXPECT_THAT(ConvertChannels(colour, 1).pixels, ElementsAre(54, 255));
}

}  // namespace
}  // namespace baton

#include "tests/trainer/synthetic_digits.h"

#include <fstream>

#include "engine/base/check.h"
#include "trainer/random.h"

namespace baton::trainer::testing {

Dataset SyntheticDigits(int64_t size, uint64_t seed) {
  constexpr int64_t kSide = 28, kSquare = 5;
  Random random(seed);
  Dataset data{.rows = kSide, .columns = kSide, .pixels = {}, .labels = {}};
  for (int64_t i = 0; i < size; ++i) {
    const int64_t label = static_cast<int64_t>(random.Below(10));
    const int64_t top = label / 5 * 14 + 4, left = label % 5 * kSquare + 1;
    data.labels.push_back(static_cast<uint8_t>(label));
    for (int64_t y = 0; y < kSide; ++y) {
      for (int64_t x = 0; x < kSide; ++x) {
        const bool inside = y >= top && y < top + kSquare && x >= left && x < left + kSquare;
        data.pixels.push_back(static_cast<uint8_t>(random.Below(100) + (inside ? 150 : 0)));
      }
    }
  }
  return data;
}

std::string Idx(uint32_t magic, const std::vector<uint32_t>& shape, const std::string& bytes) {
  std::string contents;
  const auto append = [&](uint32_t value) {
    for (const int shift : {24, 16, 8, 0}) contents.push_back(static_cast<char>(value >> shift));
  };
  append(magic);
  for (const uint32_t dim : shape) append(dim);
  return contents + bytes;
}

void WriteFile(const std::string& path, const std::string& contents) {
  std::ofstream file(path, std::ios::binary);
  file << contents;
  BATON_CHECK(file.good());
}

void WriteMnist(const std::string& directory, const Dataset& train, const Dataset& test) {
  const auto write = [&](const std::string& part, const Dataset& data) {
    const uint32_t size = static_cast<uint32_t>(data.size());
    WriteFile(directory + "/" + part + "-images-idx3-ubyte",
              Idx(kImagesMagic,
                  {size, static_cast<uint32_t>(data.rows), static_cast<uint32_t>(data.columns)},
                  {data.pixels.begin(), data.pixels.end()}));
    WriteFile(directory + "/" + part + "-labels-idx1-ubyte",
              Idx(kLabelsMagic, {size}, {data.labels.begin(), data.labels.end()}));
  };
  write("train", train);
  write("t10k", test);
}

}  // namespace baton::trainer::testing

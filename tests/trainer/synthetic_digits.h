// Ten classes of 28×28 images that a network learns in seconds: a bright square whose place is the
// class, on noise. In memory, and as MNIST's idx files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/dataset.h"

namespace baton::trainer::testing {

Dataset SyntheticDigits(int64_t size, uint64_t seed);

// An idx file's contents: `shape` and `bytes` need not fit together.
std::string Idx(uint32_t magic, const std::vector<uint32_t>& shape, const std::string& bytes);

inline constexpr uint32_t kImagesMagic = 0x803;
inline constexpr uint32_t kLabelsMagic = 0x801;

void WriteFile(const std::string& path, const std::string& contents);

// Writes MNIST's four files.
void WriteMnist(const std::string& directory, const Dataset& train, const Dataset& test);

}  // namespace baton::trainer::testing

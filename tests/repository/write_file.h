// WriteAt: puts a file, and the directories above it, where a test wants them.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "engine/base/check.h"

namespace baton::testing {

inline void WriteAt(const std::string& path, const std::string& contents) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary);
  file << contents;
  file.close();
  BATON_CHECK(file.good());
}

}  // namespace baton::testing

// The version that every program prints; from CMake's project(VERSION).
#pragma once

namespace baton {
inline constexpr const char* kBatonVersion = BATON_VERSION;
}  // namespace baton

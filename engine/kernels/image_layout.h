// Channels of images as they lie in memory, and their copies from one layout into another.
#pragma once

#include <cstdint>
#include <cstring>

namespace baton::engine {

// Where an image's elements lie: `together` channels of each pixel side by side (one, a block, or
// all).
struct ImageLayout {
  int64_t channels = 0, pixels = 0, together = 1;

  // Of a channel's first pixel.
  int64_t Offset(int64_t channel) const {
    return channel / together * pixels * together + channel % together;
  }
  int64_t pixel_stride() const { return together; }
  int64_t image_stride() const { return (channels + together - 1) / together * together * pixels; }
};

template <int64_t group, typename T>
void CopyGroups(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    std::memcpy(to + i * to_stride, from + i * from_stride, group * sizeof(T));
  }
}

// `group` channels, which lie side by side, of each of `n` pixels.
template <typename T>
void CopyPixels(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t group,
                int64_t n) {
  switch (group) {
    case 1:
      return CopyGroups<1>(from, from_stride, to, to_stride, n);
    case 8:
      return CopyGroups<8>(from, from_stride, to, to_stride, n);
    case 16:
      return CopyGroups<16>(from, from_stride, to, to_stride, n);
    default:
      for (int64_t i = 0; i < n; ++i) {
        std::memcpy(to + i * to_stride, from + i * from_stride,
                    static_cast<size_t>(group) * sizeof(T));
      }
  }
}

}  // namespace baton::engine

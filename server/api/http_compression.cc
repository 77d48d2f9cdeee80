#include "server/api/http_compression.h"

#include <zlib.h>

#include <limits>

namespace baton::api {

std::string Compress(absl::string_view body, Encoding encoding) {
  constexpr int kWindowBits = 15;
  constexpr int kGzipFormat = 16;  // added to the window's bits; else zlib's, which is "deflate"
  constexpr int kMemory = 8;
  if (body.size() > std::numeric_limits<uInt>::max() / 2) return "";
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED,
                   kWindowBits + (encoding == Encoding::kGzip ? kGzipFormat : 0), kMemory,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return "";
  }
  std::string out;
  out.resize(deflateBound(&stream, body.size()));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(result == Z_STREAM_END ? stream.total_out : 0);
  deflateEnd(&stream);
  return out;
}

}  // namespace baton::api

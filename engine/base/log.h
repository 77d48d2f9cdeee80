// Log lines on stderr: `I2026-11-22T04:31:13.123456Z thread file.cc:12] message`. Thread-safe; each
// line is written with one write(2), so lines never mix.
#pragma once

#include <sstream>

namespace baton {

enum class LogLevel { kInfo, kWarning, kError };

// Lines below `level` are dropped. Process-wide; kInfo at start.
void SetMinLogLevel(LogLevel level);

namespace internal {
class LogLine {
 public:
  LogLine(LogLevel level, const char* file, int line);
  ~LogLine();  // writes the line
  LogLine(const LogLine&) = delete;
  LogLine& operator=(const LogLine&) = delete;
  std::ostream& stream() { return stream_; }

 private:
  const LogLevel level_;
  std::ostringstream stream_;
};
bool LogEnabled(LogLevel level);
struct LogVoidify {
  void operator&(std::ostream&) const {}
};
}  // namespace internal
}  // namespace baton

// BATON_LOG(Info) << "…"; levels: Info, Warning, Error.
#define BATON_LOG(level)                                      \
  !::baton::internal::LogEnabled(::baton::LogLevel::k##level) \
      ? (void)0                                               \
      : ::baton::internal::LogVoidify() &                     \
            ::baton::internal::LogLine(::baton::LogLevel::k##level, __FILE__, __LINE__).stream()

#include "engine/base/log.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "engine/base/check.h"

namespace baton {
namespace {
std::atomic<LogLevel> min_level{LogLevel::kInfo};

void WriteAll(const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = write(STDERR_FILENO, data, size);
    if (n <= 0) return;
    data += n;
    size -= static_cast<size_t>(n);
  }
}
}  // namespace

void SetMinLogLevel(LogLevel level) { min_level.store(level, std::memory_order_relaxed); }

namespace internal {

bool LogEnabled(LogLevel level) { return level >= min_level.load(std::memory_order_relaxed); }

LogLine::LogLine(LogLevel level, const char* file, int line) : level_(level) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc;
  gmtime_r(&now.tv_sec, &utc);
  char time[40];
  const size_t n = strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(time + n, sizeof(time) - n, ".%06ldZ", now.tv_nsec / 1000);
  const char* slash = strrchr(file, '/');
  stream_ << "IWE"[static_cast<int>(level_)] << time << ' ' << syscall(SYS_gettid) << ' '
          << (slash != nullptr ? slash + 1 : file) << ':' << line << "] ";
}

LogLine::~LogLine() {
  std::string text = stream_.str();
  // What came from outside, such as a model's name, makes no lines of its own.
  for (char& c : text) {
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = '?';
  }
  text.push_back('\n');
  WriteAll(text.data(), text.size());
}

void CheckFailed(const char* file, int line, const char* condition, const std::string& message) {
  {
    LogLine log(LogLevel::kError, file, line);
    log.stream() << "broken invariant: " << condition;
    if (!message.empty()) log.stream() << ": " << message;
  }
  std::abort();
}

}  // namespace internal
}  // namespace baton

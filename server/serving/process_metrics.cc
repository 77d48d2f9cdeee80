#include "server/serving/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "engine/base/file.h"

namespace baton::serving {
namespace {

void Append(std::vector<prometheus::MetricFamily>& families, const char* name, const char* help,
            prometheus::MetricType type, double value) {
  prometheus::MetricFamily family{name, help, type, {}};
  prometheus::ClientMetric metric;
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  family.metric.push_back(std::move(metric));
  families.push_back(std::move(family));
}

// The fields of /proc/self/stat after the process's name, which may hold blanks: [0] is the
// state, field 3 in proc(5). Empty if they cannot be read.
std::vector<std::string> StatFields() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/self/stat");
  if (!text.ok()) return {};
  const size_t end = text->rfind(')');
  if (end == std::string::npos) return {};
  return absl::StrSplit(text->substr(end + 1), ' ', absl::SkipEmpty());
}

// Seconds since the epoch at which the machine was booted; 0 if it cannot be read.
double BootTime() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/stat");
  if (!text.ok()) return 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    double seconds = 0;
    if (words.size() == 2 && words[0] == "btime" && absl::SimpleAtod(words[1], &seconds)) {
      return seconds;
    }
  }
  return 0;
}

}  // namespace

void AppendProcessMetrics(std::vector<prometheus::MetricFamily>& families) {
  using prometheus::MetricType;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    Append(families, "process_cpu_seconds_total", "CPU time used, user and system.",
           MetricType::Counter, seconds(usage.ru_utime) + seconds(usage.ru_stime));
  }

  const std::vector<std::string> fields = StatFields();
  const auto field = [&](size_t number) {  // as numbered in proc(5)
    double value = 0;
    const size_t index = number - 3;
    return index < fields.size() && absl::SimpleAtod(fields[index], &value) ? value : -1.0;
  };
  if (field(24) >= 0) {
    Append(families, "process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
           field(24) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  }
  if (field(23) >= 0) {
    Append(families, "process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge,
           field(23));
  }
  if (field(20) >= 0) {
    Append(families, "process_threads", "Threads.", MetricType::Gauge, field(20));
  }
  if (const double boot = BootTime(); boot > 0 && field(22) >= 0) {
    Append(families, "process_start_time_seconds", "Start of the process, since the epoch.",
           MetricType::Gauge, boot + field(22) / static_cast<double>(sysconf(_SC_CLK_TCK)));
  }

  std::error_code error;
  double open = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    ++open;
  }
  if (!error) {
    Append(families, "process_open_fds", "Open file descriptors.", MetricType::Gauge, open);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    Append(families, "process_max_fds", "File descriptors that may be open.", MetricType::Gauge,
           static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace baton::serving

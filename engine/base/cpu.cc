#include "engine/base/cpu.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <string>

namespace baton {
namespace {

// First two words of a file; empty strings where there are none.
std::pair<std::string, std::string> FirstWords(const std::string& path) {
  std::ifstream file(path);
  std::string first, second;
  file >> first >> second;
  return {first, second};
}

// The kernel's sched_attr, version 0. Newer C libraries have one of their own, which would clash
// with the kernel's header.
struct SchedulingAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime_ns;  // of SCHED_OTHER: the length of a turn
  uint64_t deadline_ns;
  uint64_t period_ns;
};
constexpr uint64_t kShortTurnNs = 200'000;

double ToNumber(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return end == text.c_str() ? -1 : value;
}

// Path of this process's own cgroup below the mount, for controller `name` ("" is v2's).
std::string OwnCgroup(const std::string& name) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t a = line.find(':'), b = line.find(':', a + 1);
    if (a == std::string::npos || b == std::string::npos) continue;
    const std::string controllers = "," + line.substr(a + 1, b - a - 1) + ",";
    if (name.empty() ? controllers == ",,"
                     : controllers.find("," + name + ",") != std::string::npos) {
      return line.substr(b + 1);
    }
  }
  return "/";
}

// Cores of quota, or a negative number for no quota.
double CgroupCores() {
  for (const std::string& dir : {"/sys/fs/cgroup" + OwnCgroup(""), std::string("/sys/fs/cgroup")}) {
    const auto [quota, period] = FirstWords(dir + "/cpu.max");
    if (ToNumber(quota) > 0 && ToNumber(period) > 0) return ToNumber(quota) / ToNumber(period);
  }
  for (const std::string& dir :
       {"/sys/fs/cgroup/cpu" + OwnCgroup("cpu"), std::string("/sys/fs/cgroup/cpu")}) {
    const double quota = ToNumber(FirstWords(dir + "/cpu.cfs_quota_us").first);
    const double period = ToNumber(FirstWords(dir + "/cpu.cfs_period_us").first);
    if (quota > 0 && period > 0) return quota / period;
  }
  return -1;
}

}  // namespace

int AvailableCores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0
                  ? CPU_COUNT(&set)
                  : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (const double quota = CgroupCores(); quota > 0) {
    cores = std::min(cores, static_cast<int>(std::ceil(quota)));
  }
  return std::max(cores, 1);
}

void PreferShortTurns() {
  SchedulingAttributes attributes = {};
  attributes.size = sizeof(attributes);
  attributes.policy = SCHED_OTHER;
  attributes.nice = getpriority(PRIO_PROCESS, 0);
  attributes.runtime_ns = kShortTurnNs;
  syscall(SYS_sched_setattr, 0, &attributes, 0);
  prctl(PR_SET_TIMERSLACK, 1000UL);
}

Duration ThreadCpuTime() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

long long MemoryLimitBytes() {
  const long long machine = static_cast<long long>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const std::string& path :
       {"/sys/fs/cgroup" + OwnCgroup("") + "/memory.max", std::string("/sys/fs/cgroup/memory.max"),
        "/sys/fs/cgroup/memory" + OwnCgroup("memory") + "/memory.limit_in_bytes",
        std::string("/sys/fs/cgroup/memory/memory.limit_in_bytes")}) {
    const double limit = ToNumber(FirstWords(path).first);
    if (limit > 0 && limit < static_cast<double>(machine)) return static_cast<long long>(limit);
  }
  return machine;
}

long long ResidentBytes() {
  const double pages = ToNumber(FirstWords("/proc/self/statm").second);
  return pages > 0 ? static_cast<long long>(pages) * sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace baton

#include "server/serving/memory_budget.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/check.h"
#include "engine/base/cpu.h"

namespace baton::serving {
namespace {

std::string Megabytes(int64_t bytes) {
  return absl::StrFormat("%.1f MB", static_cast<double>(bytes) / 1e6);
}

}  // namespace

MemoryBudget::MemoryBudget(int64_t limit_bytes, std::function<int64_t()> in_use)
    : limit_bytes_(limit_bytes), in_use_(std::move(in_use)) {}

absl::Status MemoryBudget::Reserve(int64_t bytes) {
  const int64_t in_use = limit_bytes_ > 0 ? in_use_() : 0;
  MutexLock lock(mu_);
  if (limit_bytes_ > 0 && in_use + reserved_ + bytes > limit_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "loading it takes about ", Megabytes(bytes), "; ", Megabytes(in_use), " are in use",
        reserved_ > 0 ? absl::StrCat(" and ", Megabytes(reserved_), " reserved by other loads")
                      : "",
        " of ", Megabytes(limit_bytes_),
        " (--memory_limit_mb); unload something, raise the limit, or set the model's parameter "
        "\"swap\" to \"unload_first\""));
  }
  reserved_ += bytes;
  return absl::OkStatus();
}

void MemoryBudget::Release(int64_t bytes) {
  MutexLock lock(mu_);
  reserved_ -= bytes;
  BATON_CHECK(reserved_ >= 0);
}

int64_t ProcessMemoryInUse() {
  const auto free_bytes = static_cast<int64_t>(mallinfo2().fordblks);
  return std::max<int64_t>(0, ResidentBytes() - free_bytes);
}

int64_t EstimateLoadBytes(const repository::Fingerprint& files) {
  constexpr double kCopies = 3.5;
  constexpr int64_t kAtLeast = int64_t{4} << 20;
  int64_t bytes = 0;
  for (const repository::FileStamp& file : files) bytes += file.size;
  return kAtLeast + static_cast<int64_t>(kCopies * static_cast<double>(bytes));
}

}  // namespace baton::serving

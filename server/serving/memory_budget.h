// MemoryBudget: whether a load would take the process past its memory limit. What is loaded is
// seen in the process's own figures; what is being loaded is reserved here meanwhile. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "server/repository/scan.h"

namespace baton::serving {

class MemoryBudget {
 public:
  // `limit_bytes`: 0 for none. `in_use` gives the bytes in use now.
  MemoryBudget(int64_t limit_bytes, std::function<int64_t()> in_use);

  // kResourceExhausted with the figures if `bytes` more would pass the limit; else they count until
  // Release.
  absl::Status Reserve(int64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  void Release(int64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  const int64_t limit_bytes_;
  const std::function<int64_t()> in_use_;
  Mutex mu_;
  int64_t reserved_ ABSL_GUARDED_BY(mu_) = 0;
};

// Resident memory, less what the allocator holds for reuse.
int64_t ProcessMemoryInUse();

// The most that loading a version with these files is expected to take: while a file is parsed its
// bytes are there several times (file, message, tensors, packed weights).
int64_t EstimateLoadBytes(const repository::Fingerprint& files);

}  // namespace baton::serving

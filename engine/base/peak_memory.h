// The most memory that this process has had.
#pragma once

#include <cstdint>

namespace baton {

// Makes the kernel measure the peak from here on; where it refuses, the peak is the process's.
void ResetPeakMemory();
// Resident bytes at the peak, shared libraries included (VmHWM of proc(5)); 0 if unknown.
int64_t PeakMemoryBytes();

}  // namespace baton

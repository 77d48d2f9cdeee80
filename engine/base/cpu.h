// What this process may really use of the machine.
#pragma once

#include "engine/base/clock.h"

namespace baton {

// Cores the process may use: the smaller of its affinity mask and its cgroup's CPU quota (v1 or
// v2, rounded up); at least 1.
int AvailableCores();

// For a thread that works little and often: asks that it gets a core soon after it wakes, for the
// price of short turns (Linux has them from 6.12 on), and from a sleep without 50 µs of slack.
void PreferShortTurns();

// What the calling thread has used of a core since it began.
Duration ThreadCpuTime();

// The cgroup's memory limit in bytes, or the machine's memory where there is no limit.
long long MemoryLimitBytes();

// Resident set size of this process in bytes; 0 if it cannot be read.
long long ResidentBytes();

}  // namespace baton

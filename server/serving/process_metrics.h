// The metrics that every Prometheus client library gives of its own process.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace baton::serving {

// Appends process_cpu_seconds_total, process_resident_memory_bytes, process_virtual_memory_bytes,
// process_open_fds, process_max_fds, process_start_time_seconds and process_threads. What cannot
// be read is left out.
void AppendProcessMetrics(std::vector<prometheus::MetricFamily>& families);

}  // namespace baton::serving

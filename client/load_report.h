// A load test's result as text and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "client/load_generator.h"

namespace baton {

// What the load was, for the report's head.
struct LoadSubject {
  std::string model;
  std::string inputs;  // "x float[1,784], 16 random requests of seed 1"
  int64_t rows_per_request = 1;
};

std::string LoadReportTable(const LoadSubject& subject, const LoadOptions& options,
                            const LoadReport& report);
nlohmann::json LoadReportJson(const LoadSubject& subject, const LoadOptions& options,
                              const LoadReport& report);

// One line: "  3.0 s  12,345 req/s  p50 0.512 ms  p99 1.203 ms  failed 0  in flight 8  version 3".
std::string LoadProgressLine(const LoadProgress& progress);

}  // namespace baton

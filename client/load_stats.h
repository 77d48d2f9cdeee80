// What a load found out: latencies, errors by code, replies by version. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "client/latency_histogram.h"

namespace baton {

struct ErrorCount {
  int64_t count = 0;
  std::string example;       // the first one's message
  LatencyHistogram latency;  // how long the caller waited to hear of it
};

struct VersionReplies {
  int64_t replies = 0;
  double first_s = 0;  // of its first and last reply, since the measurement began
  double last_s = 0;
};

struct LoadStats {
  // A reply of `version` (0: it did not say which) after `latency_ns`, at `at_s`.
  void AddReply(int64_t version, int64_t latency_ns, double at_s);
  void AddError(const absl::Status& status, int64_t latency_ns);
  // `found` answered a request that was sent after a reply of `floor` had come on its connection.
  void AddStepBack(int64_t floor, int64_t found, int connection);
  void Merge(const LoadStats& other);

  int64_t Replies() const { return latency.count(); }
  int64_t Failures() const;

  LatencyHistogram latency;   // of replies
  LatencyHistogram send_lag;  // open loop: how long after its time a request was sent
  std::map<absl::StatusCode, ErrorCount> errors;
  std::map<int64_t, VersionReplies> versions;
  int64_t steps_back = 0;
  std::string step_back_example;
};

}  // namespace baton

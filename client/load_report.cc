#include "client/load_report.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace baton {
namespace {

constexpr double kPercentiles[] = {50, 90, 99, 99.9};

double Milliseconds(int64_t ns) { return static_cast<double>(ns) / 1e6; }

// 1234567 as "1,234,567".
std::string Grouped(int64_t n) {
  const std::string digits = absl::StrCat(n);
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool first = i == 0 || (i == 1 && n < 0);
    if (!first && (digits.size() - i) % 3 == 0) grouped.push_back(',');
    grouped.push_back(digits[i]);
  }
  return grouped;
}

std::string OneLine(const std::string& text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

std::string PercentileName(double percent) { return absl::StrCat("p", percent); }

std::string Latencies(const LatencyHistogram& latency) {
  std::string line;
  for (const double percent : kPercentiles) {
    absl::StrAppendFormat(&line, "%s %.3f  ", PercentileName(percent),
                          Milliseconds(latency.PercentileNs(percent)));
  }
  absl::StrAppendFormat(&line, "max %.3f  mean %.3f", Milliseconds(latency.MaxNs()),
                        latency.MeanNs() / 1e6);
  return line;
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string Mode(const LoadOptions& options) {
  const std::string connections =
      absl::StrCat(options.connections, options.connections == 1 ? " connection" : " connections");
  if (options.rate > 0) {
    return absl::StrFormat("open loop, %g requests/s, %s arrivals, %s", options.rate,
                           options.arrivals == ArrivalKind::kPoisson ? "Poisson" : "constant",
                           connections);
  }
  const double think_s = Seconds(options.think_time);
  return absl::StrFormat("closed loop, %d in flight, %s%s", options.concurrency, connections,
                         think_s > 0 ? absl::StrFormat(", %g s of thought", think_s) : "");
}

std::string VersionName(int64_t version) {
  return version == 0 ? "unknown" : absl::StrCat(version);
}

nlohmann::json LatencyJson(const LatencyHistogram& latency) {
  nlohmann::json json{{"min", Milliseconds(latency.MinNs())}, {"mean", latency.MeanNs() / 1e6}};
  for (const double percent : kPercentiles) {
    json[PercentileName(percent)] = Milliseconds(latency.PercentileNs(percent));
  }
  json["max"] = Milliseconds(latency.MaxNs());
  return json;
}

}  // namespace

std::string LoadReportTable(const LoadSubject& subject, const LoadOptions& options,
                            const LoadReport& report) {
  const LoadStats& stats = report.stats;
  const int64_t replies = stats.Replies();
  std::string table;
  const auto row = [&table](absl::string_view name, absl::string_view value) {
    absl::StrAppendFormat(&table, "%-14s%s\n", name, value);
  };
  row("model",
      absl::StrCat(subject.model, " at ", options.server, ", ", ProtocolName(options.protocol)));
  row("load", Mode(options));
  row("input", subject.inputs);
  row("measured", absl::StrFormat("%.2f s after %.2f s of warm-up", report.elapsed_s,
                                  Seconds(options.warm_up)));
  row("requests",
      absl::StrCat(Grouped(replies + stats.Failures()), ", ", Grouped(stats.Failures()), " failed",
                   report.unsent > 0
                       ? absl::StrCat(", ", Grouped(report.unsent), " not sent in time")
                       : ""));
  std::string rate = absl::StrFormat("%.1f requests/s", report.replies_per_s);
  if (subject.rows_per_request > 1) {
    absl::StrAppendFormat(&rate, ", %.1f rows/s",
                          report.replies_per_s * static_cast<double>(subject.rows_per_request));
  }
  row("throughput", rate);
  if (replies > 0) row("latency ms", Latencies(stats.latency));
  if (stats.send_lag.count() > 0) row("send lag ms", Latencies(stats.send_lag));
  for (const auto& [version, seen] : stats.versions) {
    row(absl::StrCat("version ", VersionName(version)),
        absl::StrFormat("%s replies, %.3f s to %.3f s", Grouped(seen.replies), seen.first_s,
                        seen.last_s));
  }
  if (stats.steps_back > 0) {
    row("WENT BACK",
        absl::StrCat(Grouped(stats.steps_back), " replies came from an older version ",
                     "than one seen before they were sent; first: ", stats.step_back_example));
  } else if (stats.versions.size() > 1) {
    row("went back", "never");
  }
  for (const auto& [code, error] : stats.errors) {
    row("failed", absl::StrFormat(
                      "%s %s, p50 %.3f ms, p99 %.3f ms: %s", Grouped(error.count),
                      absl::StatusCodeToString(code), Milliseconds(error.latency.PercentileNs(50)),
                      Milliseconds(error.latency.PercentileNs(99)), OneLine(error.example)));
  }
  return table;
}

nlohmann::json LoadReportJson(const LoadSubject& subject, const LoadOptions& options,
                              const LoadReport& report) {
  const LoadStats& stats = report.stats;
  const int64_t replies = stats.Replies();
  nlohmann::json json{
      {"model", subject.model},
      {"server", options.server},
      {"protocol", options.protocol == Protocol::kOpenInference ? "oip" : "tfs"},
      {"mode", options.rate > 0 ? "open" : "closed"},
      {"connections", options.connections},
      {"rows_per_request", subject.rows_per_request},
      {"elapsed_s", report.elapsed_s},
      {"requests", replies + stats.Failures()},
      {"replies", replies},
      {"failed", stats.Failures()},
      {"requests_per_s", report.replies_per_s},
      {"rows_per_s", report.replies_per_s * static_cast<double>(subject.rows_per_request)},
      {"latency_ms", LatencyJson(stats.latency)},
      {"errors", nlohmann::json::array()},
      {"versions", nlohmann::json::array()},
      {"versions_went_back", stats.steps_back}};
  if (options.rate > 0) {
    json["rate"] = options.rate;
    json["arrivals"] = options.arrivals == ArrivalKind::kPoisson ? "poisson" : "constant";
    json["unsent"] = report.unsent;
    json["send_lag_ms"] = LatencyJson(stats.send_lag);
  } else {
    json["concurrency"] = options.concurrency;
    json["think_time_s"] = Seconds(options.think_time);
  }
  if (stats.steps_back > 0) json["versions_went_back_example"] = stats.step_back_example;
  for (const auto& [code, error] : stats.errors) {
    json["errors"].push_back({{"code", absl::StatusCodeToString(code)},
                              {"count", error.count},
                              {"latency_ms", LatencyJson(error.latency)},
                              {"example", error.example}});
  }
  for (const auto& [version, seen] : stats.versions) {
    json["versions"].push_back({{"version", VersionName(version)},
                                {"replies", seen.replies},
                                {"first_s", seen.first_s},
                                {"last_s", seen.last_s}});
  }
  return json;
}

std::string LoadProgressLine(const LoadProgress& progress) {
  const LoadStats& stats = progress.stats;
  std::string line = absl::StrFormat(
      "%8.1f s%s  %.0f req/s  p50 %.3f ms  p99 %.3f ms  failed %d  in flight %d",
      progress.elapsed_s, progress.warming_up ? " (warm-up)" : "",
      PerSecond(stats.Replies(), progress.interval_s), Milliseconds(stats.latency.PercentileNs(50)),
      Milliseconds(stats.latency.PercentileNs(99)), stats.Failures(), progress.in_flight);
  if (!stats.versions.empty()) {
    absl::StrAppend(&line, "  version ", VersionName(std::prev(stats.versions.end())->first));
  }
  if (!stats.errors.empty()) {
    absl::StrAppend(&line, "  ", absl::StatusCodeToString(stats.errors.begin()->first));
  }
  return line;
}

}  // namespace baton

#include "client/model_profile.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/session.h"

namespace baton::model_tool {
namespace {

constexpr int kWarmUpRuns = 2;

struct Row {
  std::string op;
  std::string implementation;
  std::string node;
  double seconds = 0;  // of one run
  double flops = 0;
};

void PrintTable(std::vector<Row> rows, double total_seconds, std::ostream& out) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
  int op_width = 8, implementation_width = 14;
  for (const Row& row : rows) {
    op_width = std::max(op_width, static_cast<int>(row.op.size()));
    implementation_width =
        std::max(implementation_width, static_cast<int>(row.implementation.size()));
  }
  out << absl::StreamFormat("%12s %7s %9s  %-*s  %-*s  %s\n", "us", "share", "GFLOP/s", op_width,
                            "operator", implementation_width, "implementation", "node");
  for (const Row& row : rows) {
    const std::string gflops = row.flops > 0 && row.seconds > 0
                                   ? absl::StrFormat("%.1f", row.flops / row.seconds * 1e-9)
                                   : "-";
    out << absl::StreamFormat("%12.2f %6.1f%% %9s  %-*s  %-*s  %s\n", row.seconds * 1e6,
                              total_seconds > 0 ? 100 * row.seconds / total_seconds : 0.0, gflops,
                              op_width, row.op, implementation_width, row.implementation, row.node);
  }
}

// Rows of the same operator and implementation as one.
std::vector<Row> ByOperator(const std::vector<Row>& rows) {
  std::map<std::pair<std::string, std::string>, std::pair<Row, int>> groups;
  for (const Row& row : rows) {
    auto& [sum, count] = groups[{row.op, row.implementation}];
    sum.op = row.op;
    sum.implementation = row.implementation;
    sum.seconds += row.seconds;
    sum.flops += row.flops;
    ++count;
    sum.node = absl::StrFormat("%d node%s", count, count == 1 ? "" : "s");
  }
  std::vector<Row> sums;
  for (auto& [key, group] : groups) sums.push_back(std::move(group.first));
  return sums;
}

}  // namespace

absl::Status PrintProfile(const engine::Plan& plan, absl::Span<const TensorView> inputs,
                          double seconds, std::ostream& out) {
  engine::Session session;
  for (int i = 0; i < kWarmUpRuns; ++i) RETURN_IF_ERROR(session.Run(plan, inputs).status());
  std::vector<double> step_seconds(plan.steps().size(), 0.0);
  int runs = 0;
  const SteadyTime start = RealClock::Get().Now();
  do {
    RETURN_IF_ERROR(session.RunProfiled(plan, inputs, step_seconds).status());
    ++runs;
  } while (Seconds(RealClock::Get().Now() - start) < seconds);

  std::vector<Row> rows;
  double total_seconds = 0;
  for (size_t i = 0; i < plan.steps().size(); ++i) {
    const engine::StepInfo& step = plan.steps()[i];
    rows.push_back({.op = step.op,
                    .implementation = step.implementation,
                    .node = step.node,
                    .seconds = step_seconds[i] / runs,
                    .flops = step.flops});
    total_seconds += rows.back().seconds;
  }
  out << absl::StreamFormat("\n%d steps, %.2f us in a run (mean of %d)\n", rows.size(),
                            total_seconds * 1e6, runs);
  PrintTable(rows, total_seconds, out);
  out << "\n";
  PrintTable(ByOperator(rows), total_seconds, out);
  out << "\n" << std::flush;
  return absl::OkStatus();
}

}  // namespace baton::model_tool

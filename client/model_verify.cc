// baton-model verify: what a server would say of models, one line for each version.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/model_check.h"
#include "client/model_commands.h"

namespace baton::model_tool {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> paths;
  CheckOptions check;
  bool json = false;
};

// A number, or null where JSON has none.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Verdicts go to standard output, warnings to standard error; both in the form asked for.
class Printer final : public CheckListener {
 public:
  explicit Printer(bool json) : json_(json) {}

  void OnVerdict(const Verdict& verdict) override {
    const bool ok = verdict.status.ok();
    const std::string reason = OneLine(std::string(verdict.status.message()));
    all_ok_ = all_ok_ && ok;
    if (!json_) {
      std::cout << verdict.path << ": " << (ok ? "ok" : reason) << std::endl;
      return;
    }
    const auto& golden = verdict.golden;
    Print(std::cout, {{"path", verdict.path},
                      {"ok", ok},
                      {"reason", reason},
                      {"max_abs_error", golden ? Number(golden->max_abs_error) : nullptr},
                      {"max_rel_error", golden ? Number(golden->max_rel_error) : nullptr}});
  }

  void OnWarning(const std::string& path, const std::string& text) override {
    if (json_) {
      Print(std::cerr, {{"path", path}, {"warning", OneLine(text)}});
    } else {
      std::cerr << path << ": warning: " << OneLine(text) << std::endl;
    }
  }

  bool all_ok() const { return all_ok_; }

 private:
  static void Print(std::ostream& out, const Json& line) {
    out << line.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  }

  const bool json_;
  bool all_ok_ = true;
};

absl::StatusOr<int> VerifyAll(const Options& options) {
  Printer printer(options.json);
  for (const std::string& path : options.paths) CheckPath(path, options.check, printer);
  return printer.all_ok() ? 0 : 1;
}

}  // namespace

void AddVerifyCommand(CommandLine& app, Run& run) {
  auto options = std::make_shared<Options>();
  CommandLine& command = app.AddCommand(
      "verify",
      "Say what a server would: load models, run their golden samples and warm-ups; exit 1 if one "
      "fails");
  command
      .Add("PATH", options->paths,
           "repositories, models, versions, or directories with a model.onnx")
      .Required()
      .DefaultText("");
  command
      .Add("--rtol", options->check.rtol,
           "relative tolerance, instead of the manifest's (else 1e-3)")
      .NonNegative()
      .TypeName("X");
  command
      .Add("--atol", options->check.atol,
           "absolute tolerance, instead of the manifest's (else 1e-5)")
      .NonNegative()
      .TypeName("X");
  command.AddSwitch("--json", options->json,
                    "one JSON object a line; warnings, too, on standard error");
  command.OnChosen([options, &run] { run = [options] { return VerifyAll(*options); }; });
}

}  // namespace baton::model_tool

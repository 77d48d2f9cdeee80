// node_test: runs ONNX's backend test data (Debian's libonnx-testdata, or another directory of the
// same layout) on the engine and holds the results against a manifest. Each test runs in a process
// of its own. Exit 0 only if every claimed test passes, no other one does, none crashes or hangs,
// the manifest lists exactly the tests there are, and the operators' documentation is what follows
// from all this.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/command_line.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/golden.h"
#include "engine/model.h"
#include "engine/session.h"
#include "tests/engine/node_suite/isolated.h"
#include "tests/engine/node_suite/manifest.h"
#include "tests/engine/node_suite/operator_table.h"

namespace baton::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGroups[] = {"node", "pytorch-converted", "pytorch-operator", "simple"};

// Those of ONNX's own runner.
constexpr engine::Tolerance kTolerance{.rtol = 1e-3, .atol = 1e-7};

constexpr const char* kHeader =
    "# What the engine passes of ONNX's backend tests. See manifest.h for the format; after a\n"
    "# change run `node_test --update`, which keeps the reasons of exempt lines.\n";

// Names are "group/directory".
std::vector<std::string> FindTests(const fs::path& data) {
  std::vector<std::string> names;
  for (const char* group : kGroups) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(data / group, error)) {
      if (fs::exists(entry.path() / "model.onnx")) {
        names.push_back(absl::StrCat(group, "/", entry.path().filename().string()));
      }
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

int64_t CountSamples(const fs::path& directory) {
  return std::count_if(fs::directory_iterator(directory), fs::directory_iterator(),
                       [](const fs::directory_entry& entry) {
                         return entry.is_directory() &&
                                absl::StartsWith(entry.path().filename().string(),
                                                 "test_data_set_");
                       });
}

absl::Status RunTest(const fs::path& directory) {
  // Not Load, whose errors all begin with the file's name.
  ASSIGN_OR_RETURN(const std::string onnx, ReadFile(directory / "model.onnx"));
  ASSIGN_OR_RETURN(const std::shared_ptr<const engine::Model> model,
                   engine::Model::Parse(onnx, directory, {}));
  ASSIGN_OR_RETURN(const std::vector<engine::GoldenSample> samples,
                   engine::ReadGoldenSamples(directory, model->signature()));
  if (samples.empty() || static_cast<int64_t>(samples.size()) != CountSamples(directory)) {
    return absl::InternalError(
        absl::StrCat("read ", samples.size(), " samples of ", CountSamples(directory)));
  }
  engine::Session session;
  // Twice: a run must not leave anything behind that changes the next.
  for (int run = 0; run < 2; ++run) {
    for (const engine::GoldenSample& sample : samples) {
      if (sample.outputs.size() != model->signature().outputs.size()) {
        return absl::InternalError(absl::StrCat("read ", sample.outputs.size(), " outputs of ",
                                                model->signature().outputs.size()));
      }
      RETURN_IF_ERROR(
          engine::RunGoldenSample(*model, session, sample, kTolerance, /*threads=*/1, nullptr));
    }
  }
  return absl::OkStatus();
}

// What is wrong with `outcome`, given what the manifest says; empty if nothing is. `other_suite`:
// see --other-suite.
std::string Verdict(const Outcome& outcome, const ManifestEntry* entry, bool other_suite) {
  if (outcome.kind == Outcome::Kind::kCrash) return "crashed: " + outcome.reason;
  if (outcome.kind == Outcome::Kind::kHang) return "hung: " + outcome.reason;
  if (other_suite && (entry == nullptr || entry->kind != ManifestEntry::Kind::kPass)) return "";
  if (entry == nullptr) return "not in the manifest; run with --update";
  const bool passed = outcome.kind == Outcome::Kind::kPass;
  if (entry->kind == ManifestEntry::Kind::kPass) return passed ? "" : outcome.reason;
  return passed ? "passes, but the manifest says \"" + entry->reason + "\"; run with --update" : "";
}

// The manifest after an update: a test that passes is claimed, an exempt one stays so.
Manifest Updated(const Manifest& before, const std::map<std::string, Outcome>& outcomes) {
  Manifest after;
  for (const auto& [name, outcome] : outcomes) {
    const auto entry = before.find(name);
    if (outcome.kind == Outcome::Kind::kPass) {
      after[name] = {ManifestEntry::Kind::kPass, ""};
    } else if (entry != before.end() && entry->second.kind == ManifestEntry::Kind::kExempt) {
      after.insert(*entry);
    } else {
      after[name] = {ManifestEntry::Kind::kSkip, outcome.reason};
    }
  }
  return after;
}

struct Options {
  std::string data = "/usr/share/libonnx-testdata/data";
  std::string manifest;
  std::string docs;
  std::string only;
  int timeout_seconds = 60;
  bool update = false;
  bool other_suite = false;
};

absl::StatusOr<int> Main(const Options& options) {
  std::vector<std::string> names = FindTests(options.data);
  if (names.empty()) {
    return absl::NotFoundError(absl::StrCat(
        options.data, ": no tests (expected node/*/model.onnx); run deploy/install-deps.sh test"));
  }
  Manifest manifest;
  absl::StatusOr<std::string> text = ReadFile(options.manifest);
  if (text.ok()) {
    absl::StatusOr<Manifest> parsed = ParseManifest(*text);
    if (!parsed.ok()) return Annotate(parsed.status(), options.manifest);
    manifest = *std::move(parsed);
  } else if (!options.update) {
    return text.status();
  }
  std::erase_if(names, [&](const std::string& n) { return !absl::StrContains(n, options.only); });

  std::map<std::string, Outcome> outcomes;
  std::map<std::string, int> passed;
  int wrong = 0;
  for (const std::string& name : names) {
    const fs::path directory = fs::path(options.data) / name;
    Outcome outcome = RunIsolated([&] { return RunTest(directory); }, options.timeout_seconds);
    const auto entry = manifest.find(name);
    const std::string verdict =
        Verdict(outcome, entry == manifest.end() ? nullptr : &entry->second, options.other_suite);
    const bool broken =
        outcome.kind == Outcome::Kind::kCrash || outcome.kind == Outcome::Kind::kHang;
    if (!verdict.empty() && (broken || !options.update)) {
      std::printf("FAILED %s: %s\n", name.c_str(), verdict.c_str());
      ++wrong;
    }
    if (outcome.kind == Outcome::Kind::kPass) ++passed[name.substr(0, name.find('/'))];
    outcomes[name] = std::move(outcome);
  }
  if (options.update) {
    manifest = Updated(manifest, outcomes);
    RETURN_IF_ERROR(
        WriteFileDurably(options.manifest, absl::StrCat(kHeader, FormatManifest(manifest))));
  } else if (options.only.empty() && !options.other_suite) {
    for (const auto& [name, entry] : manifest) {
      if (outcomes.count(name) > 0) continue;
      std::printf("FAILED %s: in the manifest, but not in %s\n", name.c_str(),
                  options.data.c_str());
      ++wrong;
    }
  }
  if (options.only.empty() && !options.other_suite && !options.docs.empty() && wrong == 0) {
    ASSIGN_OR_RETURN(const std::string table, OperatorTable(options.data, manifest));
    if (options.update) {
      RETURN_IF_ERROR(WriteFileDurably(options.docs, table));
    } else if (const absl::StatusOr<std::string> docs = ReadFile(options.docs);
               !docs.ok() || *docs != table) {
      std::printf("FAILED %s: out of date; run with --update\n", options.docs.c_str());
      ++wrong;
    }
  }
  for (const char* group : kGroups) {
    const auto total = std::count_if(names.begin(), names.end(), [&](const std::string& name) {
      return absl::StartsWith(name, absl::StrCat(group, "/"));
    });
    std::printf("%s: %d of %d pass\n", group, passed[group], static_cast<int>(total));
  }
  std::printf("%d wrong\n", wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace baton::testing

int main(int argc, char** argv) {
  baton::testing::Options options;
  options.manifest = BATON_NODE_MANIFEST;
  options.docs = BATON_OPERATOR_DOCS;
  baton::CommandLine app(
      "Runs ONNX's backend tests on the engine and checks them against a manifest.", "node_test");
  app.Add("--data", options.data, "directory that holds node/, simple/ …");
  app.Add("--manifest", options.manifest, "file that says what must pass");
  app.Add("--docs", options.docs, "table of operators made from both; \"\" for none");
  app.Add("--only", options.only, "only tests whose group/name contains this");
  app.Add("--timeout", options.timeout_seconds, "seconds for one test");
  app.AddSwitch("--update", options.update,
                "rewrite the manifest and the table from what passes now");
  app.AddSwitch("--other-suite", options.other_suite,
                "the tests are another version's than the manifest's: those it does not claim may "
                "pass or fail, and the table is not checked");
  if (const auto exit_code = app.Parse(argc, argv)) return *exit_code;
  if (options.update && (!options.only.empty() || options.other_suite)) {
    std::fprintf(stderr,
                 "node_test: --update needs the manifest's tests, and all of them; leave "
                 "out --only and --other-suite\n");
    return 2;
  }
  const absl::StatusOr<int> result = baton::testing::Main(options);
  if (!result.ok()) {
    std::fprintf(stderr, "node_test: %s\n", std::string(result.status().message()).c_str());
    return 1;
  }
  return *result;
}

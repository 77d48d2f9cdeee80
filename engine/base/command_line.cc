#include "engine/base/command_line.h"

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "engine/base/version.h"

namespace baton {
namespace {

// Levenshtein distance.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

const CLI::App& SelectedApp(const CLI::App& app) {
  const std::vector<CLI::App*> selected = app.get_subcommands();
  return selected.empty() ? app : SelectedApp(*selected.back());
}

// The known name (flag or subcommand) that is nearest to `word`, or "" if none is near.
std::string Nearest(const CLI::App& app, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& n : option->get_lnames()) known.push_back("--" + n);
  }
  for (const CLI::App* sub : app.get_subcommands({})) known.push_back(sub->get_name());
  return NearestWord(name, known);
}

}  // namespace

std::string NearestWord(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(3, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

void SetUpCommandLine(CLI::App& app) {
  app.set_version_flag("--version", std::string(kBatonVersion));
  app.get_formatter()->column_width(44);
  app.option_defaults()->always_capture_default();
}

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    // CLI11 checks what is required first; but a flag may be missing because it was misspelt.
    const std::vector<std::string> extras = app.remaining(true);
    if (!extras.empty()) {
      const std::string& word = extras.front();
      std::cerr << app.get_name() << ": unknown "
                << (word.rfind('-', 0) == 0 ? "flag " : "argument ") << '"' << word << '"';
      if (const std::string nearest = Nearest(SelectedApp(app), word); !nearest.empty()) {
        std::cerr << "; did you mean " << nearest << "?";
      }
      std::cerr << " (--help lists all)\n";
    } else {
      std::string message = error.what();
      std::replace(message.begin(), message.end(), '\n', ' ');
      std::cerr << app.get_name() << ": " << message << " (--help lists all)\n";
    }
  }
  return 2;
}

}  // namespace baton

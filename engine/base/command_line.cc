#include "engine/base/command_line.h"

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "engine/base/nearest_word.h"
#include "engine/base/version.h"

namespace baton {
namespace {

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

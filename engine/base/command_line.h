// One way for every program to read its command line, on CLI11: --help and --version exit 0; a
// wrong flag or value is one clear line on stderr, with the nearest right flag, and exit 2.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>

namespace baton {

// Prepares `app`: --version, one help format, flags of the form --name=value. Call it before
// adding options.
void SetUpCommandLine(CLI::App& app);

// Parses. A value means: exit with it now (everything has been printed).
std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv);

}  // namespace baton

#include "engine/base/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <utility>

#include "engine/base/nearest_word.h"
#include "engine/base/version.h"

namespace baton {
namespace {

// Checks do not show in --help: what a value must be is in the flag's text.
CLI::Validator Unlisted(CLI::Validator validator) { return validator.description(""); }

const CLI::App& SelectedApp(const CLI::App& app) {
  const std::vector<CLI::App*> selected = app.get_subcommands();
  return selected.empty() ? app : SelectedApp(*selected.back());
}

// The known name (flag or command) that is nearest to `word`, or "" if none is near.
std::string Nearest(const CLI::App& app, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& n : option->get_lnames()) known.push_back("--" + n);
  }
  for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
  return NearestWord(name, known);
}

// One line that says what is wrong.
std::string Complaint(const CLI::App& app, const CLI::ParseError& error) {
  // CLI11 checks what is required first; but a flag may be missing because it was misspelt.
  const std::vector<std::string> extras = app.remaining(true);
  if (extras.empty()) {
    std::string message = error.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    return message;
  }
  const std::string& word = extras.front();
  const std::string kind = word.rfind('-', 0) == 0 ? "flag" : "argument";
  const std::string nearest = Nearest(SelectedApp(app), word);
  return "unknown " + kind + " \"" + word + "\"" +
         (nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

}  // namespace

Flag& Flag::Required(bool required) {
  option_->required(required);
  return *this;
}

Flag& Flag::IntegerRange(int64_t least, int64_t most) {
  option_->check(Unlisted(CLI::Range(least, most)));
  return *this;
}

Flag& Flag::Range(double least, double most) {
  option_->check(Unlisted(CLI::Range(least, most)));
  return *this;
}

Flag& Flag::Positive() {
  option_->check(Unlisted(CLI::PositiveNumber));
  return *this;
}

Flag& Flag::NonNegative() {
  option_->check(Unlisted(CLI::NonNegativeNumber));
  return *this;
}

Flag& Flag::OneOf(const std::vector<std::string>& values) {
  option_->check(Unlisted(CLI::IsMember(values)));
  return *this;
}

Flag& Flag::Check(std::function<absl::Status(const std::string& text)> check) {
  option_->check(CLI::Validator(
      [check = std::move(check)](std::string& text) { return std::string(check(text).message()); },
      ""));
  return *this;
}

Flag& Flag::Needs(const std::string& other) {
  option_->needs(command_->get_option(other));
  return *this;
}

Flag& Flag::Excludes(const std::string& other) {
  option_->excludes(command_->get_option(other));
  return *this;
}

Flag& Flag::Delimiter(char delimiter) {
  option_->delimiter(delimiter);
  return *this;
}

Flag& Flag::OneWordEach() {
  option_->allow_extra_args(false);
  return *this;
}

Flag& Flag::TypeName(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Flag& Flag::DefaultText(const std::string& text) {
  option_->default_str(text);
  return *this;
}

Flag& Flag::Hidden() {
  option_->expected(0, 1)->group("");
  return *this;
}

size_t Flag::count() const { return option_->count(); }

CommandLine::CommandLine(const std::string& description, const std::string& program)
    : owned_(std::make_unique<CLI::App>(description, program)), app_(*owned_) {
  app_.set_version_flag("--version", std::string(kBatonVersion));
  app_.get_formatter()->column_width(44);
  app_.option_defaults()->always_capture_default();
}

CommandLine::CommandLine(CLI::App& app) : app_(app) {}

CommandLine::~CommandLine() = default;

CommandLine& CommandLine::AddCommand(const std::string& name, const std::string& description) {
  CLI::App& command = *app_.add_subcommand(name, description);
  commands_.push_back(std::unique_ptr<CommandLine>(new CommandLine(command)));
  return *commands_.back();
}

void CommandLine::RequireCommand() { app_.require_subcommand(1); }

void CommandLine::OnChosen(std::function<void()> action) { app_.callback(std::move(action)); }

template <typename T>
Flag CommandLine::Add(const std::string& name, T& value, const std::string& help) {
  return Flag(app_, app_.add_option(name, value, help));
}

template Flag CommandLine::Add(const std::string&, std::string&, const std::string&);
template Flag CommandLine::Add(const std::string&, int&, const std::string&);
template Flag CommandLine::Add(const std::string&, int64_t&, const std::string&);
template Flag CommandLine::Add(const std::string&, uint64_t&, const std::string&);
template Flag CommandLine::Add(const std::string&, double&, const std::string&);
template Flag CommandLine::Add(const std::string&, std::optional<std::string>&, const std::string&);
template Flag CommandLine::Add(const std::string&, std::optional<int>&, const std::string&);
template Flag CommandLine::Add(const std::string&, std::optional<int64_t>&, const std::string&);
template Flag CommandLine::Add(const std::string&, std::optional<double>&, const std::string&);
template Flag CommandLine::Add(const std::string&, std::vector<std::string>&, const std::string&);
template Flag CommandLine::Add(const std::string&, std::vector<int>&, const std::string&);
template Flag CommandLine::Add(const std::string&, std::vector<int64_t>&, const std::string&);

Flag CommandLine::AddSwitch(const std::string& name, bool& value, const std::string& help) {
  return Flag(app_, app_.add_flag(name, value, help));
}

Flag CommandLine::AddFunction(const std::string& name,
                              std::function<absl::Status(const std::string& text)> set,
                              const std::string& help) {
  const auto set_all = [name, set = std::move(set)](const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      const absl::Status status = set(text);
      if (!status.ok()) throw CLI::ValidationError(name, std::string(status.message()));
    }
  };
  return Flag(app_, app_.add_option_function<std::vector<std::string>>(name, set_all, help));
}

void CommandLine::Remove(const std::string& name) { app_.remove_option(app_.get_option(name)); }

void CommandLine::Footer(const std::string& text) { app_.footer(text); }

std::optional<int> CommandLine::Parse(int argc, char** argv) {
  try {
    app_.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::Success& request) {  // --help, --version
    return app_.exit(request);
  } catch (const CLI::ParseError& error) {
    std::cerr << app_.get_name() << ": " << Complaint(app_, error) << " (--help lists all)\n";
  }
  return 2;
}

}  // namespace baton

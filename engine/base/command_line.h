// CommandLine: one way for every program to read its flags. --help and --version exit 0; a wrong
// flag or value is one clear line on stderr, with the nearest right flag, and exit 2. On CLI11,
// which only command_line.cc sees: its headers are slow to compile.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace baton {

// A flag (or an argument without a name) that was added to a command. Borrows it.
class Flag {
 public:
  Flag(CLI::App& command, CLI::Option* option) : command_(&command), option_(option) {}

  Flag& Required(bool required = true);
  template <std::integral T>
  Flag& Range(T least, T most) {
    return IntegerRange(static_cast<int64_t>(least), static_cast<int64_t>(most));
  }
  Flag& Range(double least, double most);
  Flag& Positive();
  Flag& NonNegative();
  Flag& OneOf(const std::vector<std::string>& values);
  // A value is refused with the message of what `check` returns for its text.
  Flag& Check(std::function<absl::Status(const std::string& text)> check);
  // Other flags that must, or must not, be given with this one: "--name".
  Flag& Needs(const std::string& other);
  Flag& Excludes(const std::string& other);
  // Values of a list in one word, separated so.
  Flag& Delimiter(char delimiter);
  // A list takes one word for each time the flag is given.
  Flag& OneWordEach();
  // For --help: what stands for the value; and the default, "" for none.
  Flag& TypeName(const std::string& name);
  Flag& DefaultText(const std::string& text);
  // Any value, or none; not listed by --help.
  Flag& Hidden();

  // Times it was given. REQUIRES: after Parse.
  size_t count() const;

 private:
  Flag& IntegerRange(int64_t least, int64_t most);

  CLI::App* command_;
  CLI::Option* option_;
};

// A program's command line, or one of its commands ("baton predict").
class CommandLine {
 public:
  CommandLine(const std::string& description, const std::string& program);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Adds a command; it lives as long as this.
  CommandLine& AddCommand(const std::string& name, const std::string& description);
  // One of the commands must be given.
  void RequireCommand();
  // Called by Parse if this command is the one given.
  void OnChosen(std::function<void()> action);

  // `name`: "--name", or "NAME" for an argument. `value` holds the default, and gets what is given;
  // it outlives Parse. T: std::string, int, int64_t, uint64_t, double, a std::optional of these, or
  // a std::vector of std::string, int or int64_t.
  template <typename T>
  Flag Add(const std::string& name, T& value, const std::string& help);
  // A flag that is set by being there; "--name,!--noname" can be unset, too.
  Flag AddSwitch(const std::string& name, bool& value, const std::string& help);
  // Calls `set` with each value; an error of it is the value's.
  Flag AddFunction(const std::string& name,
                   std::function<absl::Status(const std::string& text)> set,
                   const std::string& help);
  // Takes away what a shared function has added.
  void Remove(const std::string& name);
  // Text after the flags in --help.
  void Footer(const std::string& text);

  // A value means: exit with it now (everything has been printed).
  std::optional<int> Parse(int argc, char** argv);

 private:
  explicit CommandLine(CLI::App& app);

  std::unique_ptr<CLI::App> owned_;  // null for a command of a program
  CLI::App& app_;
  std::vector<std::unique_ptr<CommandLine>> commands_;
};

}  // namespace baton

// Programs of this build as child processes, as a user would run them.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace baton::testing {

struct ProgramResult {
  int exit_code = -1;  // 128 + signal if a signal ended it
  std::string output;  // stdout
  std::string errors;  // stderr
};

// Runs a program of this build ("baton-model") and waits for it.
ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments);

// Starts a program of this build with stdout and stderr into files (which may be one). It is
// killed with the thread that calls this. The caller waits for it with waitpid().
pid_t StartProgram(const std::string& program, const std::vector<std::string>& arguments,
                   const std::string& output_file, const std::string& errors_file);

// The exit code, or 128 + signal, from what waitpid() gave.
int ExitCode(int wait_status);

}  // namespace baton::testing

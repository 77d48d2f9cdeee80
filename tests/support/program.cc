#include "tests/support/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/file.h"
#include "tests/support/temp_dir.h"

namespace baton::testing {

pid_t StartProgram(const std::string& program, const std::vector<std::string>& arguments,
                   const std::string& output_file, const std::string& errors_file) {
  const std::string path = absl::StrCat(BATON_BIN_DIR, "/", program);
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const auto create = [](const std::string& file) {
    const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    BATON_CHECK(fd >= 0);
    return fd;
  };
  const int output = create(output_file), errors = create(errors_file);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  BATON_CHECK(pid >= 0);
  if (pid == 0) {  // only async-signal-safe calls from here to exec
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    execv(path.c_str(), argv.data());
    _exit(127);
  }
  close(output);
  close(errors);
  return pid;
}

int ExitCode(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments) {
  const TempDir directory;
  const pid_t pid = StartProgram(program, arguments, directory / "output", directory / "errors");
  int wait_status = 0;
  BATON_CHECK(waitpid(pid, &wait_status, 0) == pid);
  return {ExitCode(wait_status), ReadFile(directory / "output").value_or(""),
          ReadFile(directory / "errors").value_or("")};
}

}  // namespace baton::testing

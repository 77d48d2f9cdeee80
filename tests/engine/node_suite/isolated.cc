#include "tests/engine/node_suite/isolated.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/check.h"

namespace baton::testing {
namespace {

// The last byte of a whole message; a child that dies half way does not write it.
constexpr char kEnd = '\0';

[[noreturn]] void Child(absl::FunctionRef<absl::Status()> code, int timeout_seconds, int result,
                        int errors) {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  dup2(errors, STDERR_FILENO);
  alarm(static_cast<unsigned>(timeout_seconds));
  const absl::Status status = code();
  std::string message = absl::StrCat(static_cast<int>(status.code()), " ", status.message());
  message.push_back(kEnd);
  for (size_t sent = 0; sent < message.size();) {
    const ssize_t n = write(result, message.data() + sent, message.size() - sent);
    if (n <= 0) _exit(1);
    sent += static_cast<size_t>(n);
  }
  close(result);
  // Not _exit: the leak checker has its say in an exit handler.
  std::exit(0);
}

std::string ReadAll(int fd) {
  std::string all;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) {
    all.append(buffer, static_cast<size_t>(n));
  }
  return all;
}

// A sanitizer's summary where there is one, else the last line.
std::string Essence(const std::string& log) {
  std::string last;
  for (const absl::string_view line : absl::StrSplit(log, '\n', absl::SkipWhitespace())) {
    if (absl::StrContains(line, "runtime error:") || absl::StartsWith(line, "SUMMARY:")) {
      return std::string(line);
    }
    last = std::string(line);
  }
  return last;
}

std::string OneLine(absl::string_view text) {
  return absl::StrReplaceAll(absl::StripAsciiWhitespace(text), {{"\n", " "}, {"\r", " "}});
}

}  // namespace

Outcome RunIsolated(absl::FunctionRef<absl::Status()> code, int timeout_seconds) {
  int result[2];
  BATON_CHECK(pipe(result) == 0);
  const int errors = memfd_create("stderr", 0);
  BATON_CHECK(errors >= 0);
  std::fflush(nullptr);
  const pid_t child = fork();
  BATON_CHECK(child >= 0);
  if (child == 0) {
    close(result[0]);
    Child(code, timeout_seconds, result[1], errors);
  }
  close(result[1]);
  std::string message = ReadAll(result[0]);
  close(result[0]);
  int status = 0;
  BATON_CHECK(waitpid(child, &status, 0) == child);
  lseek(errors, 0, SEEK_SET);
  const std::string log = Essence(ReadAll(errors));
  close(errors);

  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    return {Outcome::Kind::kHang, absl::StrCat("no end after ", timeout_seconds, " s")};
  }
  if (WIFSIGNALED(status)) {
    return {Outcome::Kind::kCrash, OneLine(absl::StrCat(strsignal(WTERMSIG(status)), ": ", log))};
  }
  if (WEXITSTATUS(status) != 0 || message.empty() || message.back() != kEnd) {
    return {Outcome::Kind::kCrash, OneLine(absl::StrCat("exit ", WEXITSTATUS(status), ": ", log))};
  }
  message.pop_back();
  const size_t space = message.find(' ');
  const auto code_sent = static_cast<absl::StatusCode>(std::atoi(message.c_str()));
  if (code_sent == absl::StatusCode::kOk) return {};
  return {code_sent == absl::StatusCode::kUnimplemented ? Outcome::Kind::kUnsupported
                                                        : Outcome::Kind::kFail,
          OneLine(message.substr(space + 1))};
}

}  // namespace baton::testing

// CHECK: aborts with a message when an invariant of our own code is broken. Never for anything
// that came from outside (requests, files, flags): those get an absl::Status.
#pragma once

#include <string>

namespace baton::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& message);
}  // namespace baton::internal

#define BATON_CHECK(condition)                                            \
  do {                                                                    \
    if (!(condition)) [[unlikely]]                                        \
      ::baton::internal::CheckFailed(__FILE__, __LINE__, #condition, {}); \
  } while (false)

#define BATON_CHECK_MSG(condition, message)                                      \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      ::baton::internal::CheckFailed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)

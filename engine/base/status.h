// Macros and small functions around absl::Status. Our code throws nothing; every boundary returns
// a Status or StatusOr.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace baton {

// `status` with "context: " put before its message; the code stays.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace baton

#define BATON_STATUS_CONCAT_(a, b) a##b
#define BATON_STATUS_CONCAT(a, b) BATON_STATUS_CONCAT_(a, b)

#define RETURN_IF_ERROR(expression)                                      \
  do {                                                                   \
    if (absl::Status status_ = (expression); !status_.ok()) [[unlikely]] \
      return status_;                                                    \
  } while (false)

// ASSIGN_OR_RETURN(auto x, F()): x = *F(), or returns F()'s error.
#define ASSIGN_OR_RETURN(lhs, expression) \
  BATON_ASSIGN_OR_RETURN_IMPL(BATON_STATUS_CONCAT(statusor_, __LINE__), lhs, expression)
#define BATON_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expression) \
  auto statusor = (expression);                                \
  if (!statusor.ok()) [[unlikely]]                             \
    return std::move(statusor).status();                       \
  lhs = *std::move(statusor)

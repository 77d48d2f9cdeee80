// Runs code in a process of its own, so that a crash, a leak or a hang is a result and not the end
// of the run. REQUIRES: the calling process has started no threads (OpenMP's would not survive the
// fork).
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace baton::testing {

struct Outcome {
  enum class Kind {
    kPass,         // OK
    kUnsupported,  // kUnimplemented: refused with a reason
    kFail,         // any other status
    kCrash,        // a signal, or an exit before the end; what it wrote to stderr last
    kHang,         // no end in time
  };
  Kind kind = Kind::kPass;
  std::string reason;  // one line, empty for kPass
};

Outcome RunIsolated(absl::FunctionRef<absl::Status()> code, int timeout_seconds);

}  // namespace baton::testing

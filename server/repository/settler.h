// Settler: tells when a version's files have stopped changing. Pure: driven by successive scans,
// reads no clock. Not thread-safe.
//
// A foreign publisher (cp, rsync, an object-store sync) says neither when it starts nor when it is
// done, so a version without a manifest is taken only when two polls in a row found its files as
// they were. A scan between two polls (inotify wakes one) can see a change but proves no quiet.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "server/repository/scan.h"

namespace baton::repository {

class Settler {
 public:
  // Polls that must find a version unchanged.
  static constexpr int kQuietPolls = 2;
  // In the first scan of a model a version counts as settled at once if no file or directory in it
  // changed for this long: a restart need not wait for files that are hours old. 10 seconds.
  static constexpr int64_t kQuietAgeNs = int64_t{10} * 1'000'000'000;

  // Takes in the next scan of a model and sets `settled` in its versions. `is_poll`: a whole poll
  // interval has passed since the last one, or the scan was asked for. `now_ns`: wall-clock time
  // at which the scan began. A scan that failed as a whole changes nothing.
  void Observe(ModelScan& model, bool is_poll, int64_t now_ns);

  // Forgets a model that is no longer there.
  void Forget(const std::string& model);

 private:
  struct Track {
    Fingerprint fingerprint;
    int quiet_polls = 0;
  };
  std::map<std::string, std::map<int64_t, Track>> tracks_;
};

}  // namespace baton::repository

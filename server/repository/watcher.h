// Watcher: one thread that scans the configured models and hands each complete picture to a
// listener. It polls, because network and object-store mounts tell nobody of changes; where inotify
// works it only makes the next scan come sooner. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/repository/directory_events.h"
#include "server/repository/scan.h"
#include "server/repository/settler.h"

namespace baton::repository {

// Everything that is configured, as one scan found it. Immutable once the listener has it.
struct Snapshot {
  uint64_t number = 0;  // 1, 2, 3 …
  // By name. A model of a repository vanishes from here when its directory does; a model that was
  // configured by name, or whose repository cannot be read just now, stays with its error.
  std::map<std::string, ModelScan, std::less<>> models;
  std::map<std::string, absl::Status> root_errors;  // by repository root; empty if all are well
};

struct WatcherOptions {
  std::vector<std::string> roots;   // repositories: each sub-directory a model
  std::vector<ModelSource> models;  // single models, at the start
  // Between two polls; 0: one scan at the start, then only when asked.
  std::chrono::milliseconds interval{1000};
  bool use_inotify = true;  // never when interval is 0

  // kInvalidArgument: a negative interval, a bad or repeated name, an empty path.
  absl::Status Validate() const;
};

class Watcher {
 public:
  // Called on the watcher's thread, one call at a time, never after the destructor has returned.
  // It may take its time, but scans wait for it. It must not call Poll() or destroy the watcher.
  using Listener = std::function<void(std::shared_ptr<const Snapshot>)>;

  // Starts the thread; its first scan begins at once. kInvalidArgument from Validate();
  // kResourceExhausted without file descriptors.
  static absl::StatusOr<std::unique_ptr<Watcher>> Start(WatcherOptions options, Listener listener);
  ~Watcher();  // stops after the scan under way and joins
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // The single models from the next scan on; that begins soon, but counts as no poll. A model that
  // is below a root, too, is one model with these settings. kInvalidArgument as
  // WatcherOptions::Validate; nothing changes then.
  absl::Status SetModels(std::vector<ModelSource> models) ABSL_LOCKS_EXCLUDED(mu_);

  // Asks for a scan now, besides the first one; it counts as a poll for settling. Does not wait for
  // it.
  void RequestPoll() ABSL_LOCKS_EXCLUDED(mu_);
  // As RequestPoll, and waits until the listener has returned from a scan that began after the
  // call.
  void Poll() ABSL_LOCKS_EXCLUDED(mu_);
  // As Poll, but it does not count for settling.
  void Look() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Watcher(WatcherOptions options, Listener listener, int wake_fd);
  void Run();
  void Scan(bool is_poll) ABSL_LOCKS_EXCLUDED(mu_);
  // The models of all roots and those configured by name, each with what is wrong with it; adds
  // the texts of what was passed over.
  void FillModels(const std::vector<ModelSource>& models, Snapshot& snapshot,
                  std::vector<std::string>& warnings) const;
  void LogNews(const Snapshot& snapshot, const std::vector<std::string>& warnings);
  void Wake();
  void Await(uint64_t request) ABSL_LOCKS_EXCLUDED(mu_);

  const WatcherOptions options_;
  const Listener listener_;
  const int wake_fd_;  // an eventfd

  // Used by the thread only.
  Settler settler_;
  std::unique_ptr<DirectoryEvents> events_;  // null without inotify
  std::shared_ptr<const Snapshot> last_;
  std::set<std::string> logged_;  // warnings and errors of the last scan: each is logged once

  Mutex mu_;
  CondVar scanned_;
  std::vector<ModelSource> models_ ABSL_GUARDED_BY(mu_);
  bool models_changed_ ABSL_GUARDED_BY(mu_) = false;  // since the last scan
  uint64_t requested_ ABSL_GUARDED_BY(mu_) = 0;       // scans asked for
  uint64_t polls_ ABSL_GUARDED_BY(mu_) = 0;           // of these, the last that is a poll
  uint64_t answered_ ABSL_GUARDED_BY(mu_) = 0;        // requests that a finished scan has answered
  bool stop_ ABSL_GUARDED_BY(mu_) = false;            // goes true once, never back

  std::thread thread_;  // last: starts when everything else is there
};

}  // namespace baton::repository

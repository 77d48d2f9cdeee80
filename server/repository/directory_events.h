// DirectoryEvents: a file descriptor that becomes readable when something is created, finished,
// renamed or removed in one of a set of directories (inotify). Best effort: it may miss changes
// (network mounts, limits of the kernel), so it never replaces polling. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

namespace baton::repository {

class DirectoryEvents {
 public:
  // Null where the kernel gives no inotify instance; says so in the log.
  static std::unique_ptr<DirectoryEvents> Create();
  ~DirectoryEvents();
  DirectoryEvents(const DirectoryEvents&) = delete;
  DirectoryEvents& operator=(const DirectoryEvents&) = delete;

  // To be polled for POLLIN.
  int fd() const { return fd_; }

  // Watches exactly these directories from now on; those that cannot be watched are left out.
  void Watch(const std::set<std::string>& directories);

  // Takes all pending events off the descriptor without blocking; true if any told of a change.
  bool Drain();

 private:
  explicit DirectoryEvents(int fd) : fd_(fd) {}
  const int fd_;
  std::map<std::string, int> watch_of_;  // directory → watch descriptor
  bool told_limit_ = false;              // the kernel's limit was logged
};

}  // namespace baton::repository

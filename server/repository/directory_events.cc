#include "server/repository/directory_events.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
#include "engine/base/log.h"

namespace baton::repository {
namespace {

// Not IN_MODIFY: a copy in progress would cause a scan with every write.
constexpr uint32_t kChanges = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                              IN_DELETE_SELF | IN_MOVE_SELF;

}  // namespace

std::unique_ptr<DirectoryEvents> DirectoryEvents::Create() {
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) {
    BATON_LOG(Warning) << "inotify is not available (" << strerror(errno)
                       << "); changes are seen by polling alone";
    return nullptr;
  }
  return absl::WrapUnique(new DirectoryEvents(fd));
}

DirectoryEvents::~DirectoryEvents() { close(fd_); }

void DirectoryEvents::Watch(const std::set<std::string>& directories) {
  std::erase_if(watch_of_, [&](const auto& entry) {
    if (directories.contains(entry.first)) return false;
    inotify_rm_watch(fd_, entry.second);
    return true;
  });
  for (const std::string& directory : directories) {
    if (watch_of_.contains(directory)) continue;
    const int watch = inotify_add_watch(fd_, directory.c_str(), kChanges | IN_ONLYDIR);
    if (watch >= 0) {
      watch_of_[directory] = watch;
    } else if (errno == ENOSPC && !told_limit_) {
      told_limit_ = true;
      BATON_LOG(Warning) << "inotify: the limit of watches is reached at " << directory
                         << "; changes there are seen by polling alone (raise "
                            "fs.inotify.max_user_watches to see them sooner)";
    }
  }
}

bool DirectoryEvents::Drain() {
  bool changed = false;
  alignas(inotify_event) char buffer[16 * 1024];
  while (true) {
    const ssize_t size = read(fd_, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return changed;
    for (ssize_t offset = 0; offset < size;) {
      inotify_event event;
      memcpy(&event, buffer + offset, sizeof event);
      offset += static_cast<ssize_t>(sizeof event + event.len);
      if ((event.mask & IN_IGNORED) != 0) {
        // The watch is gone, by our own request or with its directory.
        const int watch = event.wd;
        std::erase_if(watch_of_, [&](const auto& entry) { return entry.second == watch; });
      } else {
        changed = true;
      }
    }
  }
}

}  // namespace baton::repository

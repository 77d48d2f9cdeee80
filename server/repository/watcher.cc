#include "server/repository/watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "engine/base/status.h"

namespace baton::repository {
namespace {

// Between two scans that inotify woke: a publisher that writes many files causes one scan for a
// bunch of events, not one for each.
constexpr auto kEventGap = std::chrono::milliseconds(50);

int64_t WallClockNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Milliseconds until `time` for poll(2), rounded up so that it does not wake too early; -1 for
// never.
int PollTimeout(std::optional<SteadyTime> time) {
  if (!time.has_value()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*time - RealClock::Get().Now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1'000'000'000));
}

absl::Status CheckModels(const std::vector<ModelSource>& models) {
  std::set<std::string> names;
  for (const ModelSource& model : models) {
    RETURN_IF_ERROR(CheckModelName(model.name));
    if (model.base_path.empty() && !model.overlay) {
      return absl::InvalidArgumentError(
          absl::StrCat("model \"", model.name, "\": its base path is empty"));
    }
    if (!names.insert(model.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("model \"", model.name, "\" is configured twice"));
    }
    RETURN_IF_ERROR(Annotate(model.settings.version_policy.value_or(VersionPolicy{}).Validate(),
                             absl::StrCat("model \"", model.name, "\"")));
  }
  return absl::OkStatus();
}

bool IsSameDirectory(const std::string& a, const std::string& b) {
  std::error_code error;  // paths that cannot be compared differ
  return a == b || std::filesystem::equivalent(a, b, error);
}

// The first one stays where two are of the same directory.
void Add(std::map<std::string, ModelScan, std::less<>>& models, ModelScan model) {
  const auto [entry, is_new] = models.try_emplace(model.name, model);
  if (is_new) return;
  ModelScan& other = entry->second;
  if (IsSameDirectory(other.path, model.path)) return;
  other.status = absl::AlreadyExistsError(absl::StrCat("model \"", model.name,
                                                       "\" is in two places, ", other.path, " and ",
                                                       model.path, "; rename or remove one"));
  other.versions.clear();
}

}  // namespace

absl::Status WatcherOptions::Validate() const {
  if (interval.count() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("poll interval is ", interval.count(), " ms; expected 0 or more"));
  }
  for (const std::string& root : roots) {
    if (root.empty()) return absl::InvalidArgumentError("the path of a model repository is empty");
  }
  return CheckModels(models);
}

absl::StatusOr<std::unique_ptr<Watcher>> Watcher::Start(WatcherOptions options, Listener listener) {
  RETURN_IF_ERROR(options.Validate());
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) return ErrnoStatus("create", "an eventfd");
  auto watcher = absl::WrapUnique(new Watcher(std::move(options), std::move(listener), wake_fd));
  watcher->thread_ = std::thread([raw = watcher.get()] { raw->Run(); });
  return watcher;
}

Watcher::Watcher(WatcherOptions options, Listener listener, int wake_fd)
    : options_(std::move(options)),
      listener_(std::move(listener)),
      wake_fd_(wake_fd),
      events_(options_.use_inotify && options_.interval.count() > 0 ? DirectoryEvents::Create()
                                                                    : nullptr),
      models_(options_.models) {}

Watcher::~Watcher() {
  {
    MutexLock lock(mu_);
    stop_ = true;
  }
  Wake();
  thread_.join();
  close(wake_fd_);
}

void Watcher::Wake() {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the thread wakes anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

absl::Status Watcher::SetModels(std::vector<ModelSource> models) {
  RETURN_IF_ERROR(CheckModels(models));
  {
    MutexLock lock(mu_);
    models_ = std::move(models);
    models_changed_ = true;
  }
  Wake();
  return absl::OkStatus();
}

void Watcher::RequestPoll() {
  {
    MutexLock lock(mu_);
    polls_ = ++requested_;
  }
  Wake();
}

void Watcher::Poll() {
  uint64_t request = 0;
  {
    MutexLock lock(mu_);
    request = polls_ = ++requested_;
  }
  Await(request);
}

void Watcher::Look() {
  uint64_t request = 0;
  {
    MutexLock lock(mu_);
    request = ++requested_;
  }
  Await(request);
}

void Watcher::Await(uint64_t request) {
  Wake();
  MutexLock lock(mu_);
  while (answered_ < request) scanned_.Wait(mu_);
}

void Watcher::Run() {
  pthread_setname_np(pthread_self(), "baton-watcher");
  const Clock& clock = RealClock::Get();
  Scan(/*is_poll=*/true);
  SteadyTime last_scan = clock.Now();
  // From the end of a scan, so that slow ones do not follow each other without a pause.
  const auto after_poll = [&]() -> std::optional<SteadyTime> {
    if (options_.interval.count() == 0) return std::nullopt;
    return last_scan + options_.interval;
  };
  std::optional<SteadyTime> next_poll = after_poll();
  bool events_pending = false;
  while (true) {
    uint64_t request = 0;
    bool is_requested = false, is_poll_requested = false;
    bool has_news = false;
    {
      MutexLock lock(mu_);
      if (stop_) return;
      request = requested_;
      is_requested = requested_ > answered_;
      is_poll_requested = polls_ > answered_;
      has_news = models_changed_;
    }
    const SteadyTime now = clock.Now();
    const bool is_poll = is_poll_requested || (next_poll.has_value() && now >= *next_poll);
    if (is_poll || is_requested || has_news || (events_pending && now >= last_scan + kEventGap)) {
      if (events_ != nullptr) events_->Drain();  // the scan will see what they tell of
      events_pending = false;
      Scan(is_poll);
      last_scan = clock.Now();
      if (is_poll) next_poll = after_poll();
      MutexLock lock(mu_);
      answered_ = request;
      scanned_.SignalAll();
      continue;
    }
    std::optional<SteadyTime> wake_at = next_poll;
    if (events_pending) wake_at = std::min(*next_poll, last_scan + kEventGap);
    pollfd fds[] = {{wake_fd_, POLLIN, 0}, {-1, POLLIN, 0}};
    if (events_ != nullptr && !events_pending) fds[1].fd = events_->fd();
    if (poll(fds, 2, PollTimeout(wake_at)) <= 0) continue;
    if (fds[0].revents != 0) {
      uint64_t count = 0;
      [[maybe_unused]] const ssize_t size = read(wake_fd_, &count, sizeof count);
    }
    if (fds[1].revents != 0) events_pending = events_->Drain();
  }
}

void Watcher::Scan(bool is_poll) {
  const int64_t now_ns = WallClockNs();
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->number = last_ == nullptr ? 1 : last_->number + 1;
  std::vector<ModelSource> models;
  {
    MutexLock lock(mu_);
    models = models_;
    models_changed_ = false;
  }
  std::vector<std::string> warnings;
  FillModels(models, *snapshot, warnings);
  for (auto& [name, model] : snapshot->models) settler_.Observe(model, is_poll, now_ns);
  if (last_ != nullptr) {
    for (const auto& [name, model] : last_->models) {
      if (!snapshot->models.contains(name)) settler_.Forget(name);
    }
  }
  if (events_ != nullptr) {
    std::set<std::string> directories(options_.roots.begin(), options_.roots.end());
    for (const auto& [name, model] : snapshot->models) {
      directories.insert(model.path);
      for (const auto& [number, version] : model.versions) directories.insert(version.path);
    }
    events_->Watch(directories);
  }
  LogNews(*snapshot, warnings);
  last_ = snapshot;
  listener_(std::move(snapshot));
}

void Watcher::FillModels(const std::vector<ModelSource>& models, Snapshot& snapshot,
                         std::vector<std::string>& warnings) const {
  for (const ModelSource& model : models) {
    if (model.overlay) continue;
    const ModelScan* known = nullptr;
    if (last_ != nullptr && model.reading != 0) {
      const auto found = last_->models.find(model.name);
      if (found != last_->models.end() && found->second.reading == model.reading) {
        known = &found->second;
      }
    }
    ModelScan scan = known != nullptr ? *known : ScanModel(model.name, model.base_path, model.root);
    scan.settings = model.settings;
    scan.reading = model.reading;
    Add(snapshot.models, std::move(scan));
  }
  for (const std::string& root : options_.roots) {
    RepositoryScan scan = ScanRepository(root);
    for (auto& [name, model] : scan.models) Add(snapshot.models, std::move(model));
    std::move(scan.warnings.begin(), scan.warnings.end(), std::back_inserter(warnings));
    if (scan.status.ok()) continue;
    snapshot.root_errors[root] = scan.status;
    // Its models may be there all the same: they stay, with the root's error.
    if (last_ == nullptr) continue;
    for (const auto& [name, model] : last_->models) {
      if (model.root != root || model.path == root) continue;
      ModelScan unknown;
      unknown.name = name;
      unknown.path = model.path;
      unknown.root = root;
      unknown.status = scan.status;
      Add(snapshot.models, std::move(unknown));
    }
  }
  for (const ModelSource& model : models) {
    if (!model.overlay) continue;
    const auto found = snapshot.models.find(model.name);
    if (found != snapshot.models.end()) found->second.settings = model.settings;
  }
}

void Watcher::LogNews(const Snapshot& snapshot, const std::vector<std::string>& warnings) {
  std::set<std::string> texts(warnings.begin(), warnings.end());
  for (const auto& [root, error] : snapshot.root_errors) texts.emplace(error.message());
  for (const auto& [name, model] : snapshot.models) {
    texts.insert(model.warnings.begin(), model.warnings.end());
    if (!model.status.ok()) texts.emplace(model.status.message());
    for (const auto& [number, version] : model.versions) {
      const absl::Status status = CheckTakeable(version);
      // Being written is the normal course; anything else, once it has settled, is news.
      if (status.ok() || absl::IsUnavailable(status)) continue;
      if (version.status.ok() && !version.settled) continue;
      texts.insert(absl::StrCat("model \"", name, "\" version ", number, ": ", status.message()));
    }
  }
  for (const std::string& text : texts) {
    if (!logged_.contains(text)) BATON_LOG(Warning) << text;
  }
  logged_ = std::move(texts);
}

}  // namespace baton::repository

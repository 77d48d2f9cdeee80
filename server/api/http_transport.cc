#include "server/api/http_transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/check.h"
#include "engine/base/log.h"

namespace baton::api {
namespace {

constexpr int kThreadsWithoutSlot = 2;
constexpr size_t kMostParked = 4096;
constexpr size_t kMaxHeadBytes = size_t{64} << 10;
// A client that asks again at once is not worth parking, while threads are free.
constexpr std::chrono::milliseconds kLinger(20);

// gRPC and files need descriptors, too.
size_t MostParked() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMostParked;
  return std::min<size_t>(kMostParked, limit.rlim_cur / 2);
}

thread_local HttpConnection* current_connection = nullptr;

// Whether `name` is in a list like "gzip;q=0.8, br", and wanted.
bool Accepts(absl::string_view list, absl::string_view name) {
  for (absl::string_view entry : absl::StrSplit(list, ',')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits(';', 1));
    if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(parts.first), name)) continue;
    absl::string_view quality = absl::StripAsciiWhitespace(parts.second);
    double value = 1;
    if (absl::ConsumePrefix(&quality, "q=") && !absl::SimpleAtod(quality, &value)) value = 0;
    return value > 0;
  }
  return false;
}

// Brings a request into a form in which the library does no harm: before its body is read.
void Prepare(httplib::Request& request, HttpConnection& connection) {
  connection.HeadIsRead();
  // It would compress every text, however short, and prefer Brotli at its slowest level.
  const std::string accepted = request.get_header_value("Accept-Encoding");
  connection.set_reply_encoding(Accepts(accepted, "gzip")      ? Encoding::kGzip
                                : Accepts(accepted, "deflate") ? Encoding::kDeflate
                                                               : Encoding::kIdentity);
  request.headers.erase("Accept-Encoding");
  request.ranges.clear();  // it would cut replies to them
  const bool chunked = request.has_header("Transfer-Encoding");
  const bool has_length = request.has_header("Content-Length");
  if (request.method == "POST") {
    // It would read until the client closes; "curl -X POST" sends neither and waits.
    if (!chunked && !has_length) request.set_header("Content-Length", "0");
    // Who sends both may want two readers to see two different requests.
    if (chunked && has_length) connection.CloseAfterReply();
  } else if (chunked || (has_length && request.get_header_value("Content-Length") != "0")) {
    connection.CloseAfterReply();  // a body that nobody reads
  }
}

}  // namespace

HttpTransport::HttpTransport(const Options& options)
    : options_(options),
      pool_threads_(options.threads + kThreadsWithoutSlot),
      most_parked_(MostParked()) {
  new_task_queue = [this] {
    pool_ = new httplib::ThreadPool(static_cast<size_t>(pool_threads_));
    return pool_;
  };
  set_socket_options([](socket_t socket) {
    const int on = 1;
    // Not SO_REUSEPORT, the library's default: a second server on the port must fail.
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  });
  set_keep_alive_timeout(
      std::chrono::duration_cast<std::chrono::seconds>(options_.idle_time).count());
  set_keep_alive_max_count(1'000'000);  // only told to clients
}

HttpTransport::~HttpTransport() {
  Stop();
  if (epoll_ >= 0) close(epoll_);
  if (stop_event_ >= 0) close(stop_event_);
}

HttpConnection& HttpTransport::Current() {
  BATON_CHECK(current_connection != nullptr);
  return *current_connection;
}

bool HttpTransport::Start() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  stop_event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = stop_event_;
  if (epoll_ < 0 || stop_event_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_event_, &event) != 0) {
    return false;
  }
  watching_ = std::thread([this] { WatchParked(); });
  accepting_ = std::thread([this] { listen_after_bind(); });
  // stop() has no effect on a server that does not run yet.
  while (!is_running()) std::this_thread::yield();
  return true;
}

void HttpTransport::Stop() {
  if (!accepting_.joinable()) return;
  std::list<Parked> idle;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    idle.swap(parked_);
    parked_by_fd_.clear();
  }
  idle.clear();
  const uint64_t one = 1;
  BATON_CHECK(::write(stop_event_, &one, sizeof(one)) == sizeof(one));
  watching_.join();  // the pool lives until the accepting thread ends
  stop();
  accepting_.join();
}

bool HttpTransport::process_and_close_socket(socket_t socket) {
  const bool too_many = open_.fetch_add(1) >= options_.max_connections &&
                        options_.max_connections > 0 && !CloseLongestIdle();
  const std::shared_ptr<const TlsContext> tls =
      options_.secrets == nullptr ? nullptr : options_.secrets->tls();
  auto connection = std::make_unique<HttpConnection>(
      socket, tls == nullptr ? nullptr : std::make_unique<TlsStream>(*tls, socket), open_);
  if (!too_many) {
    Serve(std::move(connection), /*has_slot=*/false);
  } else if (tls == nullptr) {  // else a handshake would come first
    connection->write(LastReply("503 Service Unavailable",
                                "the server has too many connections (--max_connections)"));
    connection->Flush();
  }
  return true;
}

void HttpTransport::Serve(Connection connection, bool has_slot) {
  busy_.fetch_add(1);
  while (connection != nullptr) {
    const bool may_linger = busy_.load() <= pool_threads_ / 2 && !stopping_;
    if (!connection->WaitForRequest(may_linger ? kLinger : Duration::zero())) {
      Park(std::move(connection));
      break;
    }
    if (!connection->ReadSome()) break;
    if (connection->buffered().empty()) continue;
    // POST, PUT, PATCH
    const bool has_body = connection->buffered().front() == 'P';
    if (has_body && !has_slot && !TakeSlotOrWait(connection)) break;
    const bool goes_on = AnswerOne(*connection);
    if (!goes_on) connection.reset();
    if (has_body || has_slot) ReleaseSlot();
    has_slot = false;
  }
  busy_.fetch_sub(1);
}

namespace {

// The library's process_request, which has grown arguments over its versions.
[[maybe_unused]] bool Process(
    httplib::Server& server, HttpConnection& connection, bool close, bool& closed,
    const std::function<void(httplib::Request&)>& prepare,
    bool (httplib::Server::*method)(httplib::Stream&, bool, bool&,
                                    const std::function<void(httplib::Request&)>&)) {
  return (server.*method)(connection, close, closed, prepare);
}

[[maybe_unused]] bool Process(
    httplib::Server& server, HttpConnection& connection, bool close, bool& closed,
    const std::function<void(httplib::Request&)>& prepare,
    bool (httplib::Server::*method)(httplib::Stream&, const std::string&, int, const std::string&,
                                    int, bool, bool&,
                                    const std::function<void(httplib::Request&)>&)) {
  std::string remote, local;
  int remote_port = 0, local_port = 0;
  connection.get_remote_ip_and_port(remote, remote_port);
  connection.get_local_ip_and_port(local, local_port);
  return (server.*method)(connection, remote, remote_port, local, local_port, close, closed,
                          prepare);
}

}  // namespace

bool HttpTransport::AnswerOne(HttpConnection& connection) {
  connection.BeginRequest(std::chrono::steady_clock::now() + options_.request_timeout,
                          kMaxHeadBytes);
  current_connection = &connection;
  bool closed = false;
  bool answered = false;
  try {
    answered = Process(
        *this, connection, stopping_, closed,
        [&connection](httplib::Request& request) { Prepare(request, connection); },
        &HttpTransport::process_request);
  } catch (const std::exception& e) {
    BATON_LOG(Warning) << "HTTP: a connection is closed: " << e.what();
  }
  current_connection = nullptr;
  return connection.Flush() && answered && !closed && !connection.close_after_reply();
}

bool HttpTransport::TakeSlotOrWait(Connection& connection) {
  MutexLock lock(mu_);
  if (slots_taken_ < options_.threads) {
    ++slots_taken_;
    return true;
  }
  waiting_for_slot_.push_back(std::move(connection));
  return false;
}

void HttpTransport::ReleaseSlot() {
  Connection next;
  {
    MutexLock lock(mu_);
    if (waiting_for_slot_.empty()) {
      --slots_taken_;
      return;
    }
    next = std::move(waiting_for_slot_.front());
    waiting_for_slot_.pop_front();
  }
  Enqueue(std::move(next), /*has_slot=*/true);
}

void HttpTransport::Enqueue(Connection connection, bool has_slot) {
  pool_->enqueue(
      [this, raw = connection.release(), has_slot] { Serve(Connection(raw), has_slot); });
}

void HttpTransport::Park(Connection connection) {
  connection->ReleaseBuffers();
  Connection oldest;
  MutexLock lock(mu_);
  if (stopping_) return;
  if (parked_.size() >= most_parked_) oldest = UnparkLongestIdle();
  const int fd = connection->fd();
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP;
  event.data.fd = fd;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) return;
  parked_.push_back({std::move(connection), std::chrono::steady_clock::now() + options_.idle_time});
  parked_by_fd_[fd] = std::prev(parked_.end());
}

HttpTransport::Connection HttpTransport::UnparkLongestIdle() {
  Connection oldest = std::move(parked_.front().connection);
  parked_by_fd_.erase(oldest->fd());
  parked_.pop_front();
  return oldest;
}

bool HttpTransport::CloseLongestIdle() {
  Connection oldest;
  MutexLock lock(mu_);
  if (parked_.empty()) return false;
  oldest = UnparkLongestIdle();
  return true;
}

HttpTransport::Connection HttpTransport::Unpark(int fd) {
  MutexLock lock(mu_);
  const auto found = parked_by_fd_.find(fd);
  if (found == parked_by_fd_.end()) return nullptr;
  Connection connection = std::move(found->second->connection);
  parked_.erase(found->second);
  parked_by_fd_.erase(found);
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  return connection;
}

std::list<HttpTransport::Parked> HttpTransport::TakeExpired(SteadyTime now) {
  std::list<Parked> expired;
  MutexLock lock(mu_);
  auto end = parked_.begin();
  for (; end != parked_.end() && end->until <= now; ++end) {
    parked_by_fd_.erase(end->connection->fd());
  }
  expired.splice(expired.begin(), parked_, parked_.begin(), end);
  return expired;
}

Duration HttpTransport::TimeToNextExpiry() {
  MutexLock lock(mu_);
  if (parked_.empty()) return options_.idle_time;  // one that comes now has all of it
  return std::max(Duration::zero(), parked_.front().until - std::chrono::steady_clock::now());
}

void HttpTransport::WatchParked() {
  constexpr int kEvents = 64;
  epoll_event events[kEvents];
  while (!stopping_) {
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(TimeToNextExpiry());
    const int ready = epoll_wait(epoll_, events, kEvents, static_cast<int>(wait.count()));
    for (int i = 0; i < ready; ++i) {
      if (Connection connection = Unpark(events[i].data.fd)) {
        Enqueue(std::move(connection), /*has_slot=*/false);
      }
    }
    TakeExpired(std::chrono::steady_clock::now());
  }
}

}  // namespace baton::api

// HttpTransport: cpp-httplib's server, with its own way to share threads among connections.
//
// The library keeps a thread for each connection, as long as that is open. Here a connection whose
// client sends nothing is parked: one thread watches all of those, and gives a connection to the
// pool when bytes come. Idle clients cost a socket, never a thread; they are closed after
// `idle_time`, and earlier, the longest idle first, where there are more than 4096 or than half of
// the files that the process may open, or where a new one would be more than `max_connections`. If
// none is idle then, the new one gets a 503. A TLS handshake that is under way counts as idle.
//
// Requests that bring a body, which may wait for a model, take `threads` of the pool at most; more
// of them wait in order of arrival. A few threads are left over for everything else, so that health
// and metrics answer however busy the models are. A client that is in the middle of a request and
// stalls loses its connection after five seconds.
//
// Threads it owns: one that accepts, one that watches parked connections, and the pool.
// Start and Stop are for one thread.
#pragma once

#include <httplib.h>

#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "server/api/http_connection.h"
#include "server/api/secrets.h"

namespace baton::api {

class HttpTransport final : public httplib::Server {
 public:
  struct Options {
    int threads = 1;                // requests with a body that are worked on at once
    Duration request_timeout = {};  // from a request's first byte to its last
    Duration idle_time = std::chrono::seconds(60);
    int max_connections = 0;           // 0: no bound
    const Secrets* secrets = nullptr;  // whose TLS new connections speak; null: none
  };

  explicit HttpTransport(const Options& options);
  ~HttpTransport() override;  // Stop

  // Serves the port that was bound. False if the system lacks what it needs.
  bool Start();
  // Closes idle connections, finishes what is being answered, joins all threads.
  void Stop();

  // The connection of the request that this thread is answering. REQUIRES: called by a handler.
  static HttpConnection& Current();

 private:
  using Connection = std::unique_ptr<HttpConnection>;
  struct Parked {
    Connection connection;
    SteadyTime until;
  };

  bool process_and_close_socket(socket_t socket) override;
  // Answers requests of `connection` while they come, then parks or closes it.
  void Serve(Connection connection, bool has_slot);
  bool AnswerOne(HttpConnection& connection);
  bool TakeSlotOrWait(Connection& connection) ABSL_LOCKS_EXCLUDED(mu_);
  void ReleaseSlot() ABSL_LOCKS_EXCLUDED(mu_);
  void Enqueue(Connection connection, bool has_slot);
  void Park(Connection connection) ABSL_LOCKS_EXCLUDED(mu_);
  void WatchParked();
  Connection Unpark(int fd) ABSL_LOCKS_EXCLUDED(mu_);
  Connection UnparkLongestIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // True if there was one.
  bool CloseLongestIdle() ABSL_LOCKS_EXCLUDED(mu_);
  Duration TimeToNextExpiry() ABSL_LOCKS_EXCLUDED(mu_);
  std::list<Parked> TakeExpired(SteadyTime now) ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  const int pool_threads_;
  const size_t most_parked_;
  httplib::TaskQueue* pool_ = nullptr;  // set before the first connection; lives until Stop
  std::atomic<bool> stopping_{false};
  std::atomic<int> busy_{0};  // threads of the pool that have a connection
  std::atomic<int> open_{0};  // connections
  int epoll_ = -1;
  int stop_event_ = -1;
  std::thread accepting_;
  std::thread watching_;

  Mutex mu_;
  std::list<Parked> parked_ ABSL_GUARDED_BY(mu_);  // in the order of `until`
  std::map<int, std::list<Parked>::iterator> parked_by_fd_ ABSL_GUARDED_BY(mu_);
  int slots_taken_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Connection> waiting_for_slot_ ABSL_GUARDED_BY(mu_);
};

}  // namespace baton::api

// HttpCall: one HTTP request on its way to a reply. Belongs to the thread that answers it, which
// waits where the answer comes from another.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/clock.h"
#include "server/api/http_router.h"
#include "server/api/run.h"

namespace httplib {
struct Request;
struct Response;
}  // namespace httplib

namespace baton::api {

inline constexpr char kTextType[] = "text/plain; charset=utf-8";
inline constexpr char kJsonType[] = "application/json";
inline constexpr char kBinaryType[] = "application/octet-stream";

struct HttpCall {
  const httplib::Request& request;
  httplib::Response& response;
  PathVariables variables;
  std::string body;    // of a POST, decompressed
  SteadyTime arrived;  // when all of it was here
  SteadyTime deadline = kNoDeadline;
  size_t max_tensor_bytes = 0;

  // Who sent the request, as gRPC writes it: "ipv4:127.0.0.1:0", "ipv6:[::1]:0".
  std::string Peer() const;

  // What stands for `variable` in the path; "" where its pattern has none of that name.
  const std::string& Variable(absl::string_view variable) const;

  // The reply, with status 200.
  void Send(std::string reply, const char* type);
  // {"error": …} with the status code's HTTP code; a 401 says that a bearer token is wanted.
  void SendError(const absl::Status& status);
  // `reply`, or the error.
  void Send(absl::StatusOr<std::string> reply);

  // What a call for compute takes from this one.
  CallTerms Terms(serving::Method method) const;

  // Runs a call for compute (see run.h) and waits for its end, which is returned. If the client
  // goes away meanwhile, the call is cancelled.
  absl::Status Await(serving::Method method,
                     const std::function<void(CallTerms terms, const Done& done)>& start);
};

}  // namespace baton::api

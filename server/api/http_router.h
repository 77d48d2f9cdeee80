// HttpRouter: which handler answers a path and method. Filled at the start, then immutable and
// thread-safe.
//
// A pattern is a path whose segments are words or variables, such as
// "/v1/models/{model}/versions/{version}:predict". A variable takes one or more characters other
// than '/' and ':'.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/api/gate.h"

namespace baton::api {

struct HttpCall;

// Variables of a pattern and what stood in their place.
using PathVariables = std::vector<std::pair<std::string, std::string>>;

class HttpRouter {
 public:
  using Handler = std::function<void(HttpCall&)>;

  // `method` is GET (which answers HEAD, too) or POST. The first pattern that fits a path counts.
  // `access`: what its callers need.
  void Add(std::string method, absl::string_view pattern, Handler handler,
           Access access = Access::kData);

  struct Found {
    const Handler* handler = nullptr;  // null: there is none
    Access access = Access::kData;
    PathVariables variables;
    std::string allowed;  // if there is none: the methods that the path takes; "": no such path
  };
  Found Find(absl::string_view method, absl::string_view path) const;

 private:
  struct Segment {
    std::string variable;  // "": a word
    std::string word;      // the whole segment, or what follows the variable
  };
  struct Route {
    std::string method;
    std::vector<Segment> segments;
    Handler handler;
    Access access;
  };
  static bool Matches(const Route& route, const std::vector<absl::string_view>& parts,
                      PathVariables& variables);

  std::vector<Route> routes_;
};

}  // namespace baton::api

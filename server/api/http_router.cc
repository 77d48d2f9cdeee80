#include "server/api/http_router.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/check.h"

namespace baton::api {

void HttpRouter::Add(std::string method, absl::string_view pattern, Handler handler,
                     Access access) {
  Route route{std::move(method), {}, std::move(handler), access};
  for (const absl::string_view part : absl::StrSplit(pattern, '/')) {
    if (!absl::StartsWith(part, "{")) {
      route.segments.push_back({"", std::string(part)});
      continue;
    }
    const size_t end = part.find('}');
    BATON_CHECK(end != absl::string_view::npos);
    route.segments.push_back(
        {std::string(part.substr(1, end - 1)), std::string(part.substr(end + 1))});
  }
  routes_.push_back(std::move(route));
}

bool HttpRouter::Matches(const Route& route, const std::vector<absl::string_view>& parts,
                         PathVariables& variables) {
  if (parts.size() != route.segments.size()) return false;
  variables.clear();
  for (size_t i = 0; i < parts.size(); ++i) {
    const Segment& segment = route.segments[i];
    absl::string_view part = parts[i];
    if (segment.variable.empty()) {
      if (part != segment.word) return false;
      continue;
    }
    if (!absl::ConsumeSuffix(&part, segment.word) || part.empty() || absl::StrContains(part, ':')) {
      return false;
    }
    variables.emplace_back(segment.variable, part);
  }
  return true;
}

HttpRouter::Found HttpRouter::Find(absl::string_view method, absl::string_view path) const {
  if (method == "HEAD") method = "GET";
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  Found found;
  for (const Route& route : routes_) {
    if (!Matches(route, parts, found.variables)) continue;
    if (route.method == method) {
      found.handler = &route.handler;
      found.access = route.access;
      return found;
    }
    absl::StrAppend(&found.allowed, found.allowed.empty() ? "" : ", ", route.method);
  }
  return found;
}

}  // namespace baton::api

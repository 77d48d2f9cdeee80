#include "server/api/reply_metadata.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/serving/retry_after.h"

namespace baton::api {

void ChooseCompression(grpc::ServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("accept-encoding");
  if (found == metadata.end()) return;
  const absl::string_view value(found->second.data(), found->second.size());
  for (const absl::string_view part : absl::StrSplit(value, ',')) {
    const std::pair<absl::string_view, absl::string_view> coding =
        absl::StrSplit(part, absl::MaxSplits(';', 1));
    const absl::string_view name = absl::StripAsciiWhitespace(coding.first);
    const absl::string_view weight = absl::StripAsciiWhitespace(coding.second);
    if (weight == "q=0" || absl::StartsWith(weight, "q=0.000")) continue;
    if (absl::EqualsIgnoreCase(name, "gzip")) {
      return context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    }
    if (absl::EqualsIgnoreCase(name, "deflate")) {
      return context.set_compression_algorithm(GRPC_COMPRESS_DEFLATE);
    }
  }
}

void AddRetryPushback(grpc::ServerContext& context, const absl::Status& status) {
  if (const auto wait = serving::RetryAfter(status)) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(wait->count()));
  }
}

}  // namespace baton::api

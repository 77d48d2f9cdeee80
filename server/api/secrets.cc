#include "server/api/secrets.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/file.h"
#include "engine/base/log.h"

namespace baton::api {
namespace {

constexpr char kSslFlag[] = "--ssl_config_file";
constexpr char kAuthFlag[] = "--auth_token_file";
constexpr char kAdminFlag[] = "--admin_token_file";

absl::StatusOr<std::string> ReadTokens(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  return text;
}

// A certificate and key that go together, for clients that are treated as before: what gRPC asks
// of them is fixed when it starts to listen.
absl::StatusOr<std::shared_ptr<const TlsContext>> MakeTls(const TlsConfig& config,
                                                          const TlsContext* former) {
  if (former != nullptr && former->config().verify_clients != config.verify_clients) {
    return absl::InvalidArgumentError("client_verify cannot change while the server runs");
  }
  return TlsContext::Create(config);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TokenSet>> TokenSet::Parse(absl::string_view text) {
  auto tokens = std::make_shared<TokenSet>();
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    if (!std::all_of(line.begin(), line.end(), [](char c) { return absl::ascii_isgraph(c); })) {
      return absl::InvalidArgumentError(absl::StrCat(
          "line ", number, " is no token: expected printable ASCII characters without spaces"));
    }
    tokens->digests_.push_back(Sha256(line));
  }
  if (tokens->digests_.empty()) {
    return absl::InvalidArgumentError("holds no token; write one on a line of its own");
  }
  return std::shared_ptr<const TokenSet>(std::move(tokens));
}

bool TokenSet::Contains(absl::string_view token) const {
  const std::string digest = Sha256(token);
  bool found = false;
  for (const std::string& known : digests_) {
    found |= CRYPTO_memcmp(known.data(), digest.data(), digest.size()) == 0;
  }
  return found;
}

absl::StatusOr<std::unique_ptr<Secrets>> Secrets::Open(const SecretFiles& files) {
  std::unique_ptr<Secrets> secrets(new Secrets(files));
  RETURN_IF_ERROR(secrets->Load());
  const bool any = secrets->tls_.has_value() || secrets->guards_admin();
  if (any && files.poll_seconds > 0) {
    secrets->thread_.emplace("secrets", /*nice=*/0);
    secrets->thread_->Repeat(
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(files.poll_seconds)),
        [raw = secrets.get()] { raw->Look(); });
  }
  return secrets;
}

Secrets::Secrets(const SecretFiles& files) : files_(files) {
  if (!files_.ssl_config.empty()) {
    tls_.emplace([this] { return ReadTlsConfig(files_.ssl_config); },
                 [this](const TlsConfig& config) { return MakeTls(config, tls().get()); });
  }
  const auto follow = [](const std::string& path, std::optional<Tokens>& tokens) {
    if (path.empty()) return;
    tokens.emplace([&path] { return ReadTokens(path); }, &TokenSet::Parse);
  };
  follow(files_.auth_tokens, data_);
  follow(files_.admin_tokens, admin_);
}

absl::Status Secrets::Load() {
  const auto load = [](auto& followed, const char* flag, const std::string& path) {
    if (!followed.has_value()) return absl::OkStatus();
    return Annotate(followed->Refresh().status(), absl::StrCat(flag, "=", path));
  };
  RETURN_IF_ERROR(load(tls_, kSslFlag, files_.ssl_config));
  RETURN_IF_ERROR(load(data_, kAuthFlag, files_.auth_tokens));
  return load(admin_, kAdminFlag, files_.admin_tokens);
}

void Secrets::Look() {
  const auto look = [](auto& followed, const char* flag, const std::string& path) {
    if (!followed.has_value()) return;
    const absl::StatusOr<bool> changed = followed->Refresh();
    if (!changed.ok()) {
      BATON_LOG(Error) << flag << "=" << path << " has changed and is wrong; what it said before "
                       << "stays: " << changed.status().message();
    } else if (*changed) {
      BATON_LOG(Info) << flag << "=" << path << " has changed, and counts from now on";
    }
  };
  look(tls_, kSslFlag, files_.ssl_config);
  look(data_, kAuthFlag, files_.auth_tokens);
  look(admin_, kAdminFlag, files_.admin_tokens);
}

bool Secrets::OpensData(absl::string_view token) const {
  // Both are always asked, so that the time tells nothing.
  const bool data = data_.has_value() && data_->value()->Contains(token);
  const bool admin = admin_.has_value() && admin_->value()->Contains(token);
  return data || admin;
}

bool Secrets::OpensAdmin(absl::string_view token) const {
  return admin_.has_value() ? admin_->value()->Contains(token) : OpensData(token);
}

}  // namespace baton::api

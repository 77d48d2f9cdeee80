// Secrets: the certificate and the tokens of the files that flags name, followed as they change.
//
// A file that has changed and is wrong is logged and changes nothing. Thread-safe. Where there are
// files and an interval, it owns one thread, which looks at them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "server/api/tls.h"
#include "server/serving/background_thread.h"

namespace baton::api {

// The bearer tokens of one file. Immutable; holds digests alone.
class TokenSet {
 public:
  // One token a line; lines that are blank or start with '#' count nothing. kInvalidArgument if
  // there is none, or a line is no token. Messages do not repeat what the text says.
  static absl::StatusOr<std::shared_ptr<const TokenSet>> Parse(absl::string_view text);

  // Takes as long whatever `token` has in common with those of the set.
  bool Contains(absl::string_view token) const;

 private:
  std::vector<std::string> digests_;
};

// A value that is made of files, and made anew when they say something else.
template <typename Source, typename Value>
class Followed {
 public:
  using Read = std::function<absl::StatusOr<Source>()>;
  using Make = std::function<absl::StatusOr<std::shared_ptr<const Value>>(const Source&)>;

  Followed(Read read, Make make) : read_(std::move(read)), make_(std::move(make)) {}

  // Reads the files. True if the value is a new one; an error keeps the former, and is returned
  // once, until the files change again. REQUIRES: one caller at a time.
  absl::StatusOr<bool> Refresh() {
    absl::StatusOr<Source> source = read_();
    if (seen_.has_value() && *seen_ == source) return false;
    seen_ = std::move(source);
    RETURN_IF_ERROR(seen_->status());
    ASSIGN_OR_RETURN(std::shared_ptr<const Value> made, make_(**seen_));
    MutexLock lock(mu_);
    value_ = std::move(made);
    return true;
  }
  // Null before the first that was good.
  std::shared_ptr<const Value> value() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return value_;
  }

 private:
  const Read read_;
  const Make make_;
  std::optional<absl::StatusOr<Source>> seen_;  // Refresh only
  mutable Mutex mu_;
  std::shared_ptr<const Value> value_ ABSL_GUARDED_BY(mu_);
};

struct SecretFiles {
  std::string ssl_config = {};    // of TLS; "": both ports are plain
  std::string auth_tokens = {};   // for everything but health; "": none needed
  std::string admin_tokens = {};  // for calls that change what is served; "": those of auth_tokens
  double poll_seconds = 1;        // between two looks; 0: read once
};

class Secrets {
 public:
  // kInvalidArgument, naming the flag and the file, if one cannot be used.
  static absl::StatusOr<std::unique_ptr<Secrets>> Open(const SecretFiles& files);
  ~Secrets() = default;
  Secrets(const Secrets&) = delete;
  Secrets& operator=(const Secrets&) = delete;

  // What new connections are shown; null: they are plain. Whether it is null, and whether clients
  // are verified, never changes.
  std::shared_ptr<const TlsContext> tls() const {
    return tls_.has_value() ? tls_->value() : nullptr;
  }
  // Whether calls need a token. These never change.
  bool guards_data() const { return data_.has_value(); }
  bool guards_admin() const { return admin_.has_value() || data_.has_value(); }
  // Whether `token` opens them. An admin token opens everything.
  bool OpensData(absl::string_view token) const;
  bool OpensAdmin(absl::string_view token) const;

 private:
  using Tokens = Followed<std::string, TokenSet>;

  explicit Secrets(const SecretFiles& files);
  absl::Status Load();
  void Look();

  const SecretFiles files_;
  std::optional<Followed<TlsConfig, TlsContext>> tls_;  // these have a value where a file is named
  std::optional<Tokens> data_;
  std::optional<Tokens> admin_;
  std::optional<serving::BackgroundThread> thread_;
};

}  // namespace baton::api

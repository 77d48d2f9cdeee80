// Collects the complaints of protobuf's text parser as "<path>:<line>:<column>: <text>".
#pragma once

#include <google/protobuf/io/tokenizer.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace baton::repository {

class TextErrors final : public google::protobuf::io::ErrorCollector {
 public:
  // `path` outlives the collector.
  explicit TextErrors(const std::string& path) : path_(path) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    // The parser counts from 0 and gives -1 where it knows no line.
    texts_.push_back(line < 0 ? absl::StrCat(path_, ": ", message)
                              : absl::StrCat(path_, ":", line + 1, ":", column + 1, ": ", message));
  }
  std::string Text() const { return absl::StrJoin(texts_, "; "); }

 private:
  const std::string& path_;
  std::vector<std::string> texts_;
};

}  // namespace baton::repository

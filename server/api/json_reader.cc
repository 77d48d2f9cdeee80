#include "server/api/json_reader.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace baton::api {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

void AppendUtf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0 | code >> 6));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | code >> 12));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | code >> 18));
    out.push_back(static_cast<char>(0x80 | (code >> 12 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

}  // namespace

absl::string_view JsonKindName(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return "a boolean";
    case JsonKind::kNumber:
      return "a number";
    case JsonKind::kString:
      return "a string";
    case JsonKind::kArray:
      return "an array";
    case JsonKind::kObject:
      return "an object";
    case JsonKind::kNothing:
      break;
  }
  return "nothing";
}

std::string JsonReader::PositionOf(size_t at) const {
  const absl::string_view before = text_.substr(0, at);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const size_t last = before.rfind('\n');
  const size_t column = last == absl::string_view::npos ? at : at - last - 1;
  return absl::StrCat("line ", lines + 1, ", column ", column + 1);
}

std::string JsonReader::Found() const {
  if (at_ >= text_.size()) return "the end of the text";
  return absl::StrCat("\"", absl::CHexEscape(text_.substr(at_, 12)),
                      text_.size() - at_ > 12 ? "…" : "", "\"");
}

bool JsonReader::Fail(absl::string_view what) {
  if (ok()) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat("malformed JSON at ", Position(), ": ", what, ", found ", Found()));
  }
  return false;
}

void JsonReader::SkipSpace() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    ++at_;
  }
}

JsonKind JsonReader::Peek() {
  SkipSpace();
  if (!ok() || at_ >= text_.size()) return JsonKind::kNothing;
  switch (text_[at_]) {
    case '{':
      return JsonKind::kObject;
    case '[':
      return JsonKind::kArray;
    case '"':
      return JsonKind::kString;
    case 't':
    case 'f':
      return JsonKind::kBool;
    case 'n':
      return JsonKind::kNull;
    case '-':
    case 'N':
    case 'I':
      return JsonKind::kNumber;
    default:
      return IsDigit(text_[at_]) ? JsonKind::kNumber : JsonKind::kNothing;
  }
}

bool JsonReader::Enter(char open, absl::string_view what) {
  SkipSpace();
  if (!ok()) return false;
  if (at_ >= text_.size() || text_[at_] != open) return Fail(absl::StrCat("expected ", what));
  if (depth_ == kMaxDepth) {
    return Fail(absl::StrCat("arrays and objects may be nested ", kMaxDepth, " deep"));
  }
  ++at_;
  has_member_[depth_++] = false;
  return true;
}

bool JsonReader::EnterObject() { return Enter('{', "an object"); }
bool JsonReader::EnterArray() { return Enter('[', "an array"); }

bool JsonReader::NextMember(char close, absl::string_view what) {
  SkipSpace();
  if (!ok()) return false;
  if (at_ < text_.size() && text_[at_] == close) {
    ++at_;
    --depth_;
    return false;
  }
  bool& has_member = has_member_[depth_ - 1];
  if (has_member) {
    if (at_ >= text_.size() || text_[at_] != ',') return Fail(absl::StrCat("expected ", what));
    ++at_;
  }
  has_member = true;
  return true;
}

bool JsonReader::NextElement() {
  if (!NextMember(']', "\",\" or \"]\"")) return false;
  if (Peek() == JsonKind::kNothing) return Fail("expected a value");
  return true;
}

bool JsonReader::NextKey(std::string& key) {
  if (!NextMember('}', "\",\" or \"}\"")) return false;
  if (Peek() != JsonKind::kString) return Fail("expected a key in quotes");
  if (!ReadString(key)) return false;
  SkipSpace();
  if (at_ >= text_.size() || text_[at_] != ':') return Fail("expected \":\"");
  ++at_;
  if (Peek() == JsonKind::kNothing) return Fail("expected a value");
  return true;
}

bool JsonReader::ReadHex4(uint32_t& out) {
  out = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    uint32_t digit = 0;
    if (IsDigit(c)) {
      digit = static_cast<uint32_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint32_t>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint32_t>(c - 'A') + 10;
    } else {
      return Fail("expected four hexadecimal digits after \\u");
    }
    out = out << 4 | digit;
  }
  return true;
}

bool JsonReader::ReadEscape(std::string& out) {
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  static constexpr absl::string_view kFrom = "\"\\/bfnrt";
  static constexpr absl::string_view kTo = "\"\\/\b\f\n\r\t";
  if (const size_t simple = kFrom.find(c); simple != absl::string_view::npos) {
    ++at_;
    out.push_back(kTo[simple]);
    return true;
  }
  if (c != 'u') return Fail("unknown escape in a string");
  ++at_;
  uint32_t code = 0;
  if (!ReadHex4(code)) return false;
  if (code >= 0xD800 && code < 0xDC00) {  // the first half of a pair
    uint32_t low = 0;
    if (!absl::StartsWith(text_.substr(at_), "\\u")) return Fail("half of a surrogate pair");
    at_ += 2;
    if (!ReadHex4(low)) return false;
    if (low < 0xDC00 || low >= 0xE000) return Fail("half of a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xDC00 && code < 0xE000) {
    return Fail("half of a surrogate pair");
  }
  AppendUtf8(code, out);
  return true;
}

bool JsonReader::ReadString(std::string& out) {
  if (Peek() != JsonKind::kString) return Fail("expected a string");
  ++at_;
  out.clear();
  while (true) {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20) {
      ++at_;
    }
    out.append(text_.data() + begin, at_ - begin);
    if (at_ >= text_.size()) return Fail("a string has no end");
    switch (text_[at_]) {
      case '"':
        ++at_;
        return true;
      case '\\':
        ++at_;
        if (!ReadEscape(out)) return false;
        break;
      default:
        return Fail("control characters in strings must be escaped");
    }
  }
}

bool JsonReader::Word(absl::string_view word) {
  if (!absl::StartsWith(text_.substr(at_), word)) return false;
  at_ += word.size();
  return true;
}

bool JsonReader::ReadBool(bool& out) {
  if (Peek() != JsonKind::kBool) return Fail("expected true or false");
  out = text_[at_] == 't';
  return Word(out ? "true" : "false") || Fail("expected true or false");
}

bool JsonReader::Digits() {
  const size_t begin = at_;
  while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
  return at_ > begin;
}

bool JsonReader::ReadNumber(absl::string_view& out) {
  if (Peek() != JsonKind::kNumber) return Fail("expected a number");
  const size_t begin = at_;
  const auto done = [&] {
    out = text_.substr(begin, at_ - begin);
    return true;
  };
  if (text_[at_] == '-') ++at_;
  const char first = at_ < text_.size() ? text_[at_] : '\0';
  if (first == 'N' && at_ == begin && Word("NaN")) return done();
  if (first == 'I' && (Word("Infinity") || Word("Inf"))) return done();
  if (first == '0') {
    ++at_;
  } else if (!Digits()) {
    return Fail("malformed number");
  }
  if (at_ < text_.size() && text_[at_] == '.') {
    ++at_;
    if (!Digits()) return Fail("a number needs digits after its point");
  }
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    if (!Digits()) return Fail("a number needs digits in its exponent");
  }
  return done();
}

bool JsonReader::Skip() {
  std::string text;
  absl::string_view number;
  bool boolean = false;
  switch (Peek()) {
    case JsonKind::kObject:
      if (!EnterObject()) return false;
      while (NextKey(text)) {
        if (!Skip()) return false;
      }
      return ok();
    case JsonKind::kArray:
      if (!EnterArray()) return false;
      while (NextElement()) {
        if (!Skip()) return false;
      }
      return ok();
    case JsonKind::kString:
      return ReadString(text);
    case JsonKind::kNumber:
      return ReadNumber(number);
    case JsonKind::kBool:
      return ReadBool(boolean);
    case JsonKind::kNull:
      return Word("null") || Fail("expected null");
    case JsonKind::kNothing:
      break;
  }
  return Fail("expected a value");
}

bool JsonReader::ReadEnd() {
  SkipSpace();
  if (!ok()) return false;
  return at_ == text_.size() || Fail("expected the end of the text");
}

}  // namespace baton::api

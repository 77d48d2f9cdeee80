// JsonReader: reads JSON text value by value, without building anything from it, so that large
// arrays of numbers go straight into tensors. Belongs to one thread; borrows the text.
//
// Beside JSON's own numbers it reads NaN, Infinity, -Infinity (and Inf), as TensorFlow Serving
// does.
//
// The first fault ends it: every call from then on returns false, and status() says what is wrong
// and where, as kInvalidArgument.
//
//   if (reader.EnterArray()) {
//     while (reader.NextElement()) { … read one value … }
//   }
//   if (!reader.ok()) return reader.status();
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace baton::api {

enum class JsonKind { kNothing, kNull, kBool, kNumber, kString, kArray, kObject };

class JsonReader {
 public:
  // Arrays and objects nested deeper are refused.
  static constexpr size_t kMaxDepth = 64;

  // Reads the value at byte `at`; positions in messages count from the start of `text`.
  explicit JsonReader(absl::string_view text, size_t at = 0) : text_(text), at_(at) {}

  // The kind of the next value, by its first character; kNothing where no value begins.
  JsonKind Peek();

  bool EnterObject();
  // The next key of the object, whose value must be read next. False at its end, which is passed.
  bool NextKey(std::string& key);
  bool EnterArray();
  // True if another element comes, which must be read next. False at the end, which is passed.
  bool NextElement();

  bool ReadString(std::string& out);
  bool ReadBool(bool& out);
  // The number as it is written.
  bool ReadNumber(absl::string_view& out);
  bool Skip();     // any value
  bool ReadEnd();  // nothing but white space is left

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  // Where it is, as a byte of the text.
  size_t offset() const { return at_; }

  // Ends the reading: `what` is wrong at the present position. Returns false.
  bool Fail(absl::string_view what);
  // "line 3, column 14"
  std::string Position() const { return PositionOf(at_); }
  std::string PositionOf(size_t at) const;

 private:
  void SkipSpace();
  bool Enter(char open, absl::string_view what);
  bool Word(absl::string_view word);
  bool Digits();
  bool ReadEscape(std::string& out);
  bool ReadHex4(uint32_t& out);
  // Whether another member comes after a comma, or the first of all.
  bool NextMember(char close, absl::string_view what);
  // What stands at the present position, for messages.
  std::string Found() const;

  absl::string_view text_;
  size_t at_;
  size_t depth_ = 0;
  std::array<bool, kMaxDepth> has_member_ = {};  // of the open arrays and objects
  absl::Status status_;
};

// "an array", "a number".
absl::string_view JsonKindName(JsonKind kind);

}  // namespace baton::api

#include "server/api/json_tensor.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "absl/strings/charconv.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/tensor_types.h"

namespace baton::api {
namespace {

// What a type's elements are called in messages.
template <typename T>
absl::string_view ExpectedName() {
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_integral_v<T>) return "an integer";
  return "a number";
}

template <typename T>
bool ParseFloat(absl::string_view text, T& out) {
  const char* end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, out);
  if (result.ec == std::errc() && result.ptr == end && std::isfinite(out)) return true;
  if (text == "NaN") {
    out = std::numeric_limits<T>::quiet_NaN();
    return true;
  }
  const bool negative = text[0] == '-';
  if (text[negative ? 1 : 0] == 'I') {
    out = negative ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity();
    return true;
  }
  // Too small for the type is zero, or near it; too large is an error.
  const absl::from_chars_result slow = absl::from_chars(text.data(), end, out);
  return slow.ptr == end && std::fabs(out) <= T{1};
}

template <typename T>
bool ParseNumber(absl::string_view text, T& out) {
  if constexpr (kIsHalf<T>) {
    float wide = 0;
    if (!ParseFloat(text, wide)) return false;
    out = T::From(wide);
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    return ParseFloat(text, out);
  } else {
    if (text == "-0") text = "0";  // an unsigned one, too
    const char* end = text.data() + text.size();
    const std::from_chars_result result = std::from_chars(text.data(), end, out);
    return result.ec == std::errc() && result.ptr == end;
  }
}

// Reads one tensor's value. `T` is its element type.
template <typename T>
class ElementReader {
 public:
  ElementReader(JsonReader& reader, JsonElements& elements, Shape* shape)
      : reader_(reader), elements_(elements), shape_(shape) {}

  absl::Status Read() {
    if (shape_ != nullptr) shape_->clear();
    if (Value(0)) return absl::OkStatus();
    return reader_.ok() ? fault_ : reader_.status();
  }

 private:
  bool Value(size_t level) {
    if (reader_.Peek() == JsonKind::kArray) return Array(level);
    if (shape_ == nullptr) return Leaf();
    if (!at_leaf_) {
      rank_ = shape_->size();
      at_leaf_ = true;
    }
    return level == rank_ ? Leaf() : Ragged(level);
  }

  bool Array(size_t level) {
    const size_t begin = reader_.offset();
    if (at_leaf_ && level >= rank_ && shape_ != nullptr) return Ragged(level);
    if (!reader_.EnterArray()) return false;
    if (shape_ != nullptr && level == shape_->size()) shape_->push_back(-1);
    int64_t length = 0;
    while (reader_.NextElement()) {
      if (!Value(level + 1)) return false;
      ++length;
    }
    if (!reader_.ok()) return false;
    if (shape_ == nullptr) return true;
    int64_t& known = (*shape_)[level];
    if (known < 0) known = length;
    if (known == length) return true;
    return Fault(begin, absl::StrCat("an array of ", length, " values where others have ", known));
  }

  bool Leaf() {
    const size_t begin = reader_.offset();
    if (elements_.count >= elements_.most) {
      return Fault(begin, absl::StrCat("more than ", elements_.most, " values"));
    }
    if constexpr (std::is_same_v<T, std::string>) {
      elements_.strings.emplace_back();
      if (!String(elements_.strings.back())) return false;
    } else {
      T value{};
      if constexpr (std::is_same_v<T, bool>) {
        if (reader_.Peek() != JsonKind::kBool) return WrongKind(begin);
        if (!reader_.ReadBool(value)) return false;
      } else {
        absl::string_view text;
        if (reader_.Peek() != JsonKind::kNumber) return WrongKind(begin);
        if (!reader_.ReadNumber(text)) return false;
        if (!ParseNumber(text, value)) {
          return Fault(begin, absl::StrCat(absl::CHexEscape(text.substr(0, 40)), " is not ",
                                           ExpectedName<T>(), " that the type can hold"));
        }
      }
      elements_.bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    ++elements_.count;
    return true;
  }

  bool String(std::string& out) {
    const size_t begin = reader_.offset();
    if (reader_.Peek() == JsonKind::kString) return reader_.ReadString(out);
    if (!elements_.base64 || !AtBase64(reader_)) return WrongKind(begin);
    std::string text;
    reader_.EnterObject();
    reader_.NextKey(text);
    reader_.ReadString(text);
    if (!absl::Base64Unescape(text, &out)) return Fault(begin, "it is not valid base64");
    return !reader_.NextKey(text) && reader_.ok();
  }

  bool WrongKind(size_t at) {
    const JsonKind kind = reader_.Peek();
    if (kind == JsonKind::kNothing) return reader_.Fail("expected a value");
    return Fault(at, absl::StrCat("found ", JsonKindName(kind), ", expected ", ExpectedName<T>()));
  }
  bool Ragged(size_t level) {
    return Fault(reader_.offset(),
                 absl::StrCat("values nested ", level, " deep where others are ", rank_, " deep"));
  }
  bool Fault(size_t at, absl::string_view what) {
    fault_ = absl::InvalidArgumentError(absl::StrCat("at ", reader_.PositionOf(at), ": ", what));
    return false;
  }

  JsonReader& reader_;
  JsonElements& elements_;
  Shape* const shape_;
  bool at_leaf_ = false;  // rank_ is known
  size_t rank_ = 0;
  absl::Status fault_;
};

}  // namespace

absl::Status ReadElements(JsonReader& reader, JsonElements& elements, Shape* shape) {
  if (elements.type == DataType::kString) {
    return ElementReader<std::string>(reader, elements, shape).Read();
  }
  return DispatchType(elements.type, AllFixed(), [&]<typename T>(TypeTag<T>) {
    return ElementReader<T>(reader, elements, shape).Read();
  });
}

bool AtBase64(const JsonReader& reader) {
  JsonReader ahead = reader;
  std::string key;
  return ahead.Peek() == JsonKind::kObject && ahead.EnterObject() && ahead.NextKey(key) &&
         key == "b64" && ahead.Peek() == JsonKind::kString && ahead.Skip() && !ahead.NextKey(key) &&
         ahead.ok();
}

}  // namespace baton::api

#include "server/api/json_writer.h"

#include <charconv>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/tensor_types.h"

namespace baton::api {
namespace {

// The length of the well-formed character at the start of `text`; 0 if there is none.
size_t Utf8Length(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xC2 && first < 0xE0   ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xF0 && first < 0xF5 ? 4
                                                        : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Longer than needed, surrogates, beyond the last code point.
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) >= 0xA0) ||
      (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) >= 0x90)) {
    return 0;
  }
  return length;
}

template <typename T>
void AppendFloat(T value, std::string& out) {
  if (std::isnan(value)) {
    out.append("NaN");
    return;
  }
  if (std::isinf(value)) {
    out.append(value < 0 ? "-Infinity" : "Infinity");
    return;
  }
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof(text), value);
  const absl::string_view digits(text, static_cast<size_t>(end.ptr - text));
  out.append(digits.data(), digits.size());
  // So that readers which tell them apart see one type in all of a list.
  if (digits.find_first_of(".e") == absl::string_view::npos) out.append(".0");
}

void AppendBase64(absl::string_view bytes, std::string& out) {
  absl::StrAppend(&out, "{\"b64\":\"", absl::Base64Escape(bytes), "\"}");
}

template <typename T>
void AppendElement(const T& value, JsonStrings strings, std::string& out) {
  if constexpr (std::is_same_v<T, std::string>) {
    if (strings == JsonStrings::kBase64 || !IsUtf8(value)) {
      AppendBase64(value, out);
    } else {
      AppendJsonString(value, out);
    }
  } else if constexpr (std::is_same_v<T, bool>) {
    out.append(value ? "true" : "false");
  } else if constexpr (std::is_floating_point_v<T>) {
    AppendFloat(value, out);
  } else if constexpr (kIsHalf<T>) {
    AppendFloat(value.ToFloat(), out);
  } else {
    char text[24];
    out.append(text,
               static_cast<size_t>(std::to_chars(text, text + sizeof(text), value).ptr - text));
  }
}

template <typename T>
void AppendNested(const T*& next, absl::Span<const int64_t> dims, JsonStrings strings,
                  std::string& out) {
  if (dims.empty()) {
    AppendElement(*next++, strings, out);
    return;
  }
  out.push_back('[');
  for (int64_t i = 0; i < dims[0]; ++i) {
    if (i > 0) out.push_back(',');
    if (dims.size() == 1) {
      AppendElement(*next++, strings, out);
    } else {
      AppendNested(next, dims.subspan(1), strings, out);
    }
  }
  out.push_back(']');
}

}  // namespace

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

void AppendJsonString(absl::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const char c = text[0];
    if (length == 0) {
      out.append("\xEF\xBF\xBD");
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out.append("\\u00");
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    } else {
      out.append(text.data(), length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out.push_back('"');
}

void AppendJsonNumber(float value, std::string& out) { AppendFloat(value, out); }
void AppendJsonNumber(double value, std::string& out) { AppendFloat(value, out); }

void AppendJsonValues(const TensorView& tensor, absl::Span<const int64_t> dims, int64_t begin,
                      JsonStrings strings, std::string& out) {
  const auto append = [&]<typename T>(TypeTag<T>) {
    const T* next = static_cast<const T*>(tensor.data) + begin;
    AppendNested(next, dims, strings, out);
    return absl::OkStatus();
  };
  if (tensor.type == DataType::kString) {
    (void)append(TypeTag<std::string>());
  } else {
    const absl::Status known = DispatchType(tensor.type, AllFixed(), append);
    BATON_CHECK(known.ok());
  }
}

std::string ErrorJson(absl::string_view text) {
  std::string out = "{\"error\":";
  AppendJsonString(text, out);
  out.append("}\n");
  return out;
}

}  // namespace baton::api

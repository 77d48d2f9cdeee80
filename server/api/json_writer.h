// Appending JSON to a text.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/tensor.h"

namespace baton::api {

// True if `text` is well-formed UTF-8, which JSON strings must be.
bool IsUtf8(absl::string_view text);

// `text` in quotes; what is not UTF-8 becomes U+FFFD.
void AppendJsonString(absl::string_view text, std::string& out);

// The shortest digits that read back as the same value, always with a point or an exponent, as
// TensorFlow Serving does: "1.0". NaN, Infinity and -Infinity as these words.
void AppendJsonNumber(float value, std::string& out);
void AppendJsonNumber(double value, std::string& out);

// The form of strings in tensors.
enum class JsonStrings {
  kText,    // what is not UTF-8 goes as {"b64": "…"}
  kBase64,  // {"b64": "…"}
};

// Elements [`begin`, `begin` + the product of `dims`) of `tensor`, nested as `dims` says; one bare
// value if `dims` is empty.
void AppendJsonValues(const TensorView& tensor, absl::Span<const int64_t> dims, int64_t begin,
                      JsonStrings strings, std::string& out);

// {"error": "`text`"}
std::string ErrorJson(absl::string_view text);

}  // namespace baton::api

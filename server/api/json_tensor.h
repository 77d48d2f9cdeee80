// The elements of a tensor out of JSON: numbers, booleans or strings, nested in arrays.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/tensor.h"
#include "server/api/json_reader.h"

namespace baton::api {

// Elements of one tensor, in row-major order: bytes in the machine's order, or strings.
struct JsonElements {
  DataType type = DataType::kUndefined;
  // Whether {"b64": "…"} stands for a string, as with TensorFlow Serving.
  bool base64 = false;
  int64_t most = 0;  // more elements than these are refused

  int64_t count = 0;
  std::string bytes;
  std::vector<std::string> strings;
};

// Appends the value that `reader` is at to `elements`, and sets `shape` to its own: [] for one
// value, else the lengths of the arrays, which must be regular. A null `shape`: arrays may be
// nested in any way.
//
// kInvalidArgument for malformed JSON and for what does not fit the type: a number with a fraction
// for integers, one out of range, another kind of value. FP16 and BF16 are rounded from numbers.
// REQUIRES: a type other than kUndefined.
absl::Status ReadElements(JsonReader& reader, JsonElements& elements, Shape* shape);

// True if the value that `reader` is at is {"b64": "…"}; does not move it.
bool AtBase64(const JsonReader& reader);

}  // namespace baton::api

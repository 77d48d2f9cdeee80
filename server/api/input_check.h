// InputCheck: the inputs of one request against the signature of the servable that is to run them.
// Every error is kInvalidArgument and names model, version and input, what was sent and what is
// expected. Belongs to one request on one thread; borrows the servable.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model.h"
#include "engine/tensor.h"
#include "server/serving/servable.h"

namespace baton::api {

// A request's inputs, ready for a serving::Task.
struct DecodedInputs {
  TensorViews views;           // in signature order; on the request's bytes, or on `copies`
  std::vector<Tensor> copies;  // where the request's own bytes could not be used
  int64_t rows = 1;            // as serving::Task::rows
};

// How a protocol spells a data type in its messages ("DT_FLOAT", "FP32").
using TypeNamer = std::string (*)(DataType);

// "FP32[?,784]".
std::string Describe(const engine::ValueInfo& info, TypeNamer type_name);

// "model \"mnist\" version 3".
std::string Describe(const serving::Servable& servable);

// The name in `known` that is nearest to `name`, or "" if none is near.
std::string NearestName(absl::string_view name, const std::vector<engine::ValueInfo>& known);

// kInvalidArgument: `model … version …: no output named …`, with the nearest and all names.
absl::Status UnknownOutput(const serving::Servable& servable, absl::string_view name);
// The same where replies call the outputs `known`.
absl::Status UnknownOutput(const serving::Servable& servable, absl::string_view name,
                           const std::vector<engine::ValueInfo>& known);

class InputCheck {
 public:
  // `max_tensor_bytes` bounds what a small message may blow up to.
  InputCheck(const serving::Servable& servable, TypeNamer type_name, size_t max_tensor_bytes)
      : InputCheck(servable, servable.signature().inputs, type_name, max_tensor_bytes) {}
  // `inputs`: those of the servable, in order, under the names that requests use; outlives this.
  InputCheck(const serving::Servable& servable, const std::vector<engine::ValueInfo>& inputs,
             TypeNamer type_name, size_t max_tensor_bytes)
      : servable_(servable),
        inputs_(inputs),
        type_name_(type_name),
        max_tensor_bytes_(max_tensor_bytes) {}

  // For a request whose names are not those of the signature: says which are unknown (with the
  // nearest right one), missing or sent twice, and lists the right ones. OK if they are the same.
  // `optional`: inputs that need not be sent, by index; empty: none.
  absl::Status Names(absl::Span<const absl::string_view> sent,
                     const std::vector<bool>& optional = {}) const;

  // Type and shape of input `index`. Returns its number of elements and takes part in `rows()`.
  // `sent_type` is for the message.
  absl::StatusOr<int64_t> Input(size_t index, DataType type, absl::string_view sent_type,
                                absl::Span<const int64_t> shape);

  // OK if a tensor may have strings of so many bytes, here for input `index`.
  absl::Status StringBytes(size_t index, size_t bytes) const;

  // OK if input `index` came with the bytes that its shape needs.
  absl::Status Bytes(size_t index, size_t sent, size_t expected) const;

  // Any other fault of input `index`.
  absl::Status Fault(size_t index, absl::string_view fault) const;

  // Size of the batch dimension of the inputs seen so far; 1 where the model has none.
  int64_t rows() const { return rows_ < 0 ? 1 : rows_; }

 private:
  absl::Status ShapeFault(size_t index, absl::string_view sent_type,
                          absl::Span<const int64_t> shape, absl::string_view fault) const;

  const serving::Servable& servable_;
  const std::vector<engine::ValueInfo>& inputs_;
  const TypeNamer type_name_;
  const size_t max_tensor_bytes_;
  int64_t rows_ = -1;
  size_t rows_from_ = 0;  // index of the input that set rows_
};

}  // namespace baton::api

// Padding: how requests of different lengths run together. A length is a dimension besides the
// batch's that the model leaves open; dimensions of one name (ONNX's dim_param) are the same
// length. Inputs are padded at their ends, and outputs that have a dimension of an input's name are
// cut back to the request's own length. Immutable.
//
// Whether a model takes that, because it masks or does not mix positions, is found out by
// CheckPadding.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model.h"
#include "server/repository/length_options.h"
#include "server/serving/plan_set.h"

namespace baton::serving {

class Padding {
 public:
  // REQUIRES: a mode, and not kExact. kInvalidArgument: the options name a dimension or an input
  // that the model does not have, or a pad value is none of the input's type. kFailedPrecondition:
  // the model has no length.
  static absl::StatusOr<std::shared_ptr<const Padding>> Make(
      const repository::LengthOptions& options, const engine::Signature& signature);

  // What inputs of these shapes run as, see MakeShapeKey: their lengths are rounded up. Lengths
  // that are longer than all buckets, or 0, stay as they are, and so do inputs that do not fit
  // together: it is the model that says so.
  ShapeKey KeyOf(absl::Span<const TensorView> inputs) const;

  // True if lengths are not rounded up, but padded to the longest of their batch.
  bool joins_lengths() const { return options_.mode == repository::LengthOptions::Mode::kLongest; }
  // The shapes that both `a` and `b` can be padded to; none if more than lengths differs.
  std::optional<ShapeKey> Join(const ShapeKey& a, const ShapeKey& b) const;

  // Writes rows of input `index` to `to`, padded to a tensor of `shape`.
  void WriteInput(size_t index, const TensorView& rows, absl::Span<const int64_t> shape,
                  void* to) const;
  // Whole inputs padded to `key`.
  std::vector<Tensor> PadInputs(absl::Span<const TensorView> inputs, const ShapeKey& key) const;
  // `output`: rows of output `index` of a plan whose inputs have `plan_shapes`. Cuts it to the
  // lengths of the request's own `inputs`. Where that needs a copy it is added to `copies`.
  // kInternal if a dimension is not as long as the input's of its name.
  absl::Status CutOutput(size_t index, absl::Span<const TensorView> inputs,
                         absl::Span<const Shape> plan_shapes, TensorView& output,
                         std::vector<Tensor>& copies) const;

  // The shapes where all open dimensions are `length`.
  ShapeKey KeyFor(int64_t length) const;
  // The shapes of the buckets, shortest first; nothing if the model has open dimensions that are no
  // lengths, or there is no list of buckets.
  std::vector<ShapeKey> BucketKeys() const;
  // Pairs of shapes to try: inputs of the first, padded to the second.
  std::vector<std::pair<ShapeKey, ShapeKey>> Trials() const;
  // `key` padded to the next length it could be padded to; none if there is none.
  std::optional<ShapeKey> Longer(const ShapeKey& key) const;

 private:
  struct Length {  // of an input
    size_t input = 0, axis = 0;
    size_t at = 0;     // in a ShapeKey
    size_t first = 0;  // the first Length of this name
    std::string name;
  };
  struct OutputLength {
    size_t axis = 0;
    size_t length = 0;  // of lengths_
  };

  Padding(const repository::LengthOptions& options, const engine::Signature& signature)
      : options_(options), signature_(signature) {}
  absl::Status FindLengths();
  absl::Status ReadPadValues();
  int64_t Round(int64_t length) const;
  bool IsConsistent(const ShapeKey& key) const;

  const repository::LengthOptions options_;
  const engine::Signature signature_;
  ShapeKey open_;                // the model's own, -1 where open
  std::vector<Length> lengths_;  // by input and axis, so that `at` is ascending
  std::vector<Tensor> pad_;      // by input: one element, or empty: the input's own first
  std::vector<std::vector<OutputLength>> outputs_;  // by output
};

}  // namespace baton::serving

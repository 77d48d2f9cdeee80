// Images as a model's input: finds out how the input's shape wants them (flat, rows x columns,
// channels first or last, with or without a batch dimension) and converts.
#pragma once

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/image_file.h"
#include "client/signature.h"
#include "engine/tensor.h"

namespace baton {

// A tensor of `input`'s type holding the raw values 0 to 255 of all `images`, in an arrangement
// that `input.shape` allows. Grey becomes three equal channels and colour becomes grey where the
// shape asks for it; nothing is resized or scaled. Where a shape could mean two things, the batch
// dimension comes first and channels before rows.
// kInvalidArgument, naming both sides, if the type cannot hold the values or no arrangement fits.
// REQUIRES: at least one image, all of one size and number of channels.
absl::StatusOr<Tensor> FitImages(absl::Span<const Image> images, const TensorInfo& input);

}  // namespace baton

#include "client/fit_image.h"

#include <algorithm>
#include <optional>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/tensor_types.h"

namespace baton {
namespace {

enum class Order { kFlat, kRowsColumns, kChannelsFirst, kChannelsLast };

struct Arrangement {
  bool batched;
  Order order;
};

// Every meaning that a shape of this rank can have, the likeliest first.
std::vector<Arrangement> Arrangements(size_t rank) {
  switch (rank) {
    case 1:
      return {{false, Order::kFlat}};
    case 2:
      return {{true, Order::kFlat}, {false, Order::kRowsColumns}};
    case 3:
      return {{true, Order::kRowsColumns},
              {false, Order::kChannelsFirst},
              {false, Order::kChannelsLast}};
    case 4:
      return {{true, Order::kChannelsFirst}, {true, Order::kChannelsLast}};
    default:
      return {};
  }
}

// Channels that the order stores for images of `image_channels`, given the shape's channel
// dimension; 0 if it is neither 1 nor 3.
int Channels(int64_t dim, int image_channels) {
  if (dim < 0) return image_channels;
  return dim == 1 || dim == 3 ? static_cast<int>(dim) : 0;
}

struct Fit {
  Order order;
  int channels;
  Shape shape;
};

std::optional<Fit> TryFit(Arrangement arrangement, absl::Span<const int64_t> wanted, int64_t count,
                          const Image& image) {
  Shape shape;
  if (arrangement.batched) shape.push_back(count);
  if (!arrangement.batched && count != 1) return std::nullopt;
  const int64_t h = image.height, w = image.width;
  int channels = 1;
  switch (arrangement.order) {
    case Order::kFlat:
      shape.push_back(h * w);
      break;
    case Order::kRowsColumns:
      shape.insert(shape.end(), {h, w});
      break;
    case Order::kChannelsFirst:
      channels = Channels(wanted[arrangement.batched ? 1 : 0], image.channels);
      shape.insert(shape.end(), {channels, h, w});
      break;
    case Order::kChannelsLast:
      channels = Channels(wanted.back(), image.channels);
      shape.insert(shape.end(), {h, w, channels});
      break;
  }
  if (channels == 0) return std::nullopt;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (wanted[i] >= 0 && wanted[i] != shape[i]) return std::nullopt;
  }
  return Fit{arrangement.order, channels, shape};
}

// What can hold 0 to 255.
using PixelTypes = TypeList<float, double, Float16, Bfloat16, uint8_t, uint16_t, int16_t, uint32_t,
                            int32_t, uint64_t, int64_t>;

}  // namespace

absl::StatusOr<Tensor> FitImages(absl::Span<const Image> images, const TensorInfo& input) {
  BATON_CHECK(!images.empty());
  const Image& first = images.front();
  const auto count = static_cast<int64_t>(images.size());
  std::optional<Fit> fit;
  for (const Arrangement& arrangement : Arrangements(input.shape.size())) {
    fit = TryFit(arrangement, input.shape, count, first);
    if (fit.has_value()) break;
  }
  if (!fit.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        count == 1 ? "an image" : absl::StrCat(count, " images"), " of ", first.width, "x",
        first.height, first.channels == 1 ? " grey" : " colour", " pixels (",
        first.width * first.height, " in all) cannot be fitted to input \"", input.name, "\" of ",
        TypeAndShape(input), "; resize it, or send a tensor as --input ", input.name, "=FILE.npy"));
  }
  const int64_t pixels = first.width * first.height;
  Tensor tensor;
  const absl::Status filled = DispatchType(input.type, PixelTypes(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    tensor = Tensor(input.type, fit->shape);
    T* out = tensor.mutable_values<T>().data();
    for (const Image& image : images) {
      BATON_CHECK(image.width == first.width && image.height == first.height &&
                  image.channels == first.channels);
      const Image converted = ConvertChannels(image, fit->channels);
      const uint8_t* in = converted.pixels.data();
      if (fit->order == Order::kChannelsFirst) {
        for (int c = 0; c < fit->channels; ++c) {
          for (int64_t p = 0; p < pixels; ++p) {
            *out++ = ConvertElement<T>(in[p * fit->channels + c]);
          }
        }
      } else {
        out = std::transform(in, in + pixels * fit->channels, out, ConvertElement<T, uint8_t>);
      }
    }
    return absl::OkStatus();
  });
  if (!filled.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("input \"", input.name, "\" is ",
                                                   TypeAndShape(input),
                                                   ", which cannot hold pixels of 0 to 255"));
  }
  return tensor;
}

}  // namespace baton

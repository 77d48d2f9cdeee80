#include "client/fit_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Image kGrey{3, 2, 1, {0, 1, 2, 3, 4, 255}};
const Image kColour{2, 1, 3, {1, 2, 3, 4, 5, 6}};

struct Case {
  Shape input;
  const Image* image;
  Shape shape;                // of the tensor; empty: does not fit
  std::vector<float> values;  // empty: not compared
};

TEST(FitImages, FindsTheArrangementOfEveryShape) {
  const std::vector<float> grey{0, 1, 2, 3, 4, 255};
  const std::vector<float> planes{1, 4, 2, 5, 3, 6};
  const std::vector<float> interleaved{1, 2, 3, 4, 5, 6};
  const Case cases[] = {
      {{6}, &kGrey, {6}, grey},
      {{-1, 6}, &kGrey, {1, 6}, grey},
      {{1, 6}, &kGrey, {1, 6}, grey},
      {{2, 3}, &kGrey, {2, 3}, grey},
      {{-1, -1}, &kGrey, {1, 6}, grey},
      {{-1, 2, 3}, &kGrey, {1, 2, 3}, grey},
      {{2, 3, 1}, &kGrey, {2, 3, 1}, grey},
      {{-1, 1, 2, 3}, &kGrey, {1, 1, 2, 3}, grey},
      {{-1, 2, 3, 1}, &kGrey, {1, 2, 3, 1}, grey},
      {{-1, -1, -1, -1}, &kGrey, {1, 1, 2, 3}, grey},
      {{-1, 3, 1, 2}, &kColour, {1, 3, 1, 2}, planes},
      {{-1, 1, 2, 3}, &kColour, {1, 1, 2, 3}, interleaved},
      {{-1, 3, -1, -1}, &kColour, {1, 3, 1, 2}, planes},
      {{-1, -1, -1, 3}, &kColour, {1, 1, 2, 3}, interleaved},
      {{3, 1, 2}, &kColour, {3, 1, 2}, planes},
      {{-1, 3, 2, 3}, &kGrey, {1, 3, 2, 3}, {}},
      {{}, &kGrey, {}, {}},
      {{5}, &kGrey, {}, {}},
      {{2, 6}, &kGrey, {}, {}},
      {{-1, 784}, &kGrey, {}, {}},
      {{-1, 4, 2, 3}, &kGrey, {}, {}},
      {{-1, 1, 3, 2}, &kGrey, {}, {}},
      {{1, 1, 1, 2, 3}, &kGrey, {}, {}},
  };
  for (const Case& c : cases) {
    const TensorInfo input{"x", DataType::kFloat, c.input};
    const auto tensor = FitImages({c.image, 1}, input);
    const std::string name = ShapeToString(c.input) + (c.image == &kGrey ? " grey" : " colour");
    if (c.shape.empty()) {
      EXPECT_FALSE(tensor.ok()) << name;
      continue;
    }
    ASSERT_TRUE(tensor.ok()) << name << tensor.status();
    EXPECT_EQ(tensor->shape(), c.shape) << name;
    if (!c.values.empty()) {
      EXPECT_EQ(std::vector<float>(tensor->values<float>().begin(), tensor->values<float>().end()),
                c.values)
          << name;
    }
  }
}

TEST(FitImages, BatchesImages) {
  const std::vector<Image> images{kGrey, kGrey};
  const auto tensor = FitImages(images, {"x", DataType::kUint8, {-1, 6}});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->shape(), (Shape{2, 6}));
  EXPECT_THAT(tensor->values<uint8_t>(), ElementsAre(0, 1, 2, 3, 4, 255, 0, 1, 2, 3, 4, 255));
  EXPECT_FALSE(FitImages(images, {"x", DataType::kFloat, {6}}).ok());
  EXPECT_FALSE(FitImages(images, {"x", DataType::kFloat, {1, 6}}).ok());
}

TEST(FitImages, KeepsRawValuesInEveryTypeThatHoldsThem) {
  const auto last = [](DataType type) -> double {
    const auto tensor = FitImages({&kGrey, 1}, {"x", type, {6}});
    if (!tensor.ok()) return -1;
    switch (type) {
      case DataType::kDouble:
        return tensor->values<double>()[5];
      case DataType::kFloat16:
        return tensor->values<Float16>()[5].ToFloat();
      case DataType::kBfloat16:
        return tensor->values<Bfloat16>()[5].ToFloat();
      case DataType::kInt64:
        return static_cast<double>(tensor->values<int64_t>()[5]);
      case DataType::kUint16:
        return tensor->values<uint16_t>()[5];
      default:
        return -2;
    }
  };
  for (const DataType type : {DataType::kDouble, DataType::kFloat16, DataType::kBfloat16,
                              DataType::kInt64, DataType::kUint16}) {
    EXPECT_EQ(last(type), 255) << DataTypeName(type);
  }
  for (const DataType type :
       {DataType::kInt8, DataType::kBool, DataType::kString, DataType::kUndefined}) {
    EXPECT_EQ(last(type), -1) << DataTypeName(type);
  }
}

TEST(FitImages, SaysWhatWasGivenAndWhatIsWanted) {
  const auto tensor = FitImages({&kGrey, 1}, {"pixels", DataType::kFloat, {-1, 784}});
  const std::string message(tensor.status().message());
  EXPECT_THAT(message, HasSubstr("3x2 grey"));
  EXPECT_THAT(message, HasSubstr("\"pixels\" of float[?,784]"));
}

}  // namespace
}  // namespace baton

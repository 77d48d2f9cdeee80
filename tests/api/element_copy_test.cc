#include "server/api/element_copy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/api/random_tensor.h"
#include "tests/api/test_servable.h"

namespace baton::api {
namespace {

std::string TypeName(DataType type) { return DataTypeName(type); }

TEST(ViewOfBytes, CopiesWhatIsNotAligned) {
  const testing::TestServable servable("m", 1, {{testing::Info("x", DataType::kDouble, {3})}, {}},
                                       0);
  const InputCheck check(servable, &TypeName, 1 << 20);
  const Tensor sent = testing::RandomTensor(DataType::kDouble, {3}, 1);
  alignas(8) char buffer[32];
  for (const size_t offset : {0, 1, 4}) {
    std::memcpy(buffer + offset, sent.data(), sent.bytes());
    TensorView view{DataType::kDouble, {3}, nullptr};
    DecodedInputs out;
    ASSERT_TRUE(
        ViewOfBytes(absl::string_view(buffer + offset, sent.bytes()), 0, check, view, out).ok());
    EXPECT_TRUE(testing::SameBits(view, sent.view()));
    EXPECT_EQ(out.copies.size(), offset == 0 ? 0u : 1u);
  }
}

}  // namespace
}  // namespace baton::api

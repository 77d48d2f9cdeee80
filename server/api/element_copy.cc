#include "server/api/element_copy.h"

namespace baton::api {

absl::Status ViewOfBytes(absl::string_view bytes, size_t index, const InputCheck& check,
                         TensorView& view, DecodedInputs& out) {
  if (view.type == DataType::kBool) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      if (byte > 1) {
        return check.Fault(index, absl::StrCat("byte ", i, " is ", byte, "; a bool is 0 or 1"));
      }
    }
  }
  if (reinterpret_cast<uintptr_t>(bytes.data()) % DataTypeSize(view.type) == 0) {
    view.data = bytes.data();
    return absl::OkStatus();
  }
  Tensor copy(view.type, view.shape);
  std::memcpy(copy.mutable_data(), bytes.data(), bytes.size());
  view.data = copy.data();
  out.copies.push_back(std::move(copy));
  return absl::OkStatus();
}

}  // namespace baton::api

// Messages as JSON in Triton's manner: fields under their own names, all of them but unset
// messages and choices, 64-bit integers as numbers, enums by name.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace baton::api {

void AppendMessageJson(const google::protobuf::Message& message, std::string& out);

}  // namespace baton::api

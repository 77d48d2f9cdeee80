#include "server/api/message_json.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "server/api/json_writer.h"

namespace baton::api {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The value of a field, or element `index` of a repeated one.
void AppendValue(const Message& message, const FieldDescriptor& field, int index,
                 std::string& out) {
  const Reflection& reflection = *message.GetReflection();
  const bool repeated = field.is_repeated();
#define BATON_VALUE(Type)                                          \
  (repeated ? reflection.GetRepeated##Type(message, &field, index) \
            : reflection.Get##Type(message, &field))
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      absl::StrAppend(&out, BATON_VALUE(Int32));
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      absl::StrAppend(&out, BATON_VALUE(Int64));
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      absl::StrAppend(&out, BATON_VALUE(UInt32));
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      absl::StrAppend(&out, BATON_VALUE(UInt64));
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      AppendJsonNumber(BATON_VALUE(Double), out);
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
      AppendJsonNumber(BATON_VALUE(Float), out);
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      out.append(BATON_VALUE(Bool) ? "true" : "false");
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      AppendJsonString(BATON_VALUE(Enum)->name(), out);
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      AppendJsonString(BATON_VALUE(String), out);
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      AppendMessageJson(BATON_VALUE(Message), out);
      break;
  }
#undef BATON_VALUE
}

// A map's entries in the order of their keys, which the wire does not have.
void AppendMap(const Message& message, const FieldDescriptor& field, std::string& out) {
  const Reflection& reflection = *message.GetReflection();
  const auto& entry = *field.message_type();
  std::map<std::string, std::string> values;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& pair = reflection.GetRepeatedMessage(message, &field, i);
    std::string key;
    AppendValue(pair, *entry.map_key(), 0, key);
    if (key.front() != '"') key = absl::StrCat("\"", key, "\"");
    AppendValue(pair, *entry.map_value(), 0, values[key]);
  }
  out.push_back('{');
  for (const auto& [key, value] : values) {
    absl::StrAppend(&out, out.back() == '{' ? "" : ",", key, ":", value);
  }
  out.push_back('}');
}

void AppendRepeated(const Message& message, const FieldDescriptor& field, std::string& out) {
  out.push_back('[');
  const int size = message.GetReflection()->FieldSize(message, &field);
  for (int i = 0; i < size; ++i) {
    if (i > 0) out.push_back(',');
    AppendValue(message, field, i, out);
  }
  out.push_back(']');
}

}  // namespace

void AppendMessageJson(const Message& message, std::string& out) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  bool first = true;
  out.push_back('{');
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.has_presence() && !message.GetReflection()->HasField(message, &field)) continue;
    if (!first) out.push_back(',');
    first = false;
    AppendJsonString(field.name(), out);
    out.push_back(':');
    if (field.is_map()) {
      AppendMap(message, field, out);
    } else if (field.is_repeated()) {
      AppendRepeated(message, field, out);
    } else {
      AppendValue(message, field, 0, out);
    }
  }
  out.push_back('}');
}

}  // namespace baton::api

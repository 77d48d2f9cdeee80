#include "server/api/rest_predict.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "server/api/json_reader.h"
#include "server/api/json_tensor.h"
#include "server/api/json_writer.h"
#include "server/api/tfs_codec.h"

namespace baton::api {
namespace {

using tensorflow::TensorProto;
using tensorflow::serving::PredictRequest;

std::string InQuotes(absl::string_view name) {
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, 100)), "\"");
}

// One input on its way from JSON to its TensorProto.
struct Column {
  NamedType input;
  JsonElements elements;
  Shape shape;         // of an instance, or of the whole tensor
  int64_t values = 0;  // instances that had it
};

// The tensors of one body.
class TensorReader {
 public:
  TensorReader(JsonReader& reader, const std::vector<NamedType>& inputs, size_t max_tensor_bytes)
      : reader_(reader) {
    for (const NamedType& input : inputs) {
      const size_t size = std::max<size_t>(1, DataTypeSize(input.type));
      Column column{input, {}, {}};
      column.elements.type = input.type;
      column.elements.base64 = true;
      column.elements.most = static_cast<int64_t>(max_tensor_bytes / size);
      columns_.push_back(std::move(column));
    }
  }

  absl::Status ReadRows() {
    if (!reader_.EnterArray()) return reader_.status();
    while (reader_.NextElement()) {
      if (const absl::Status status = ReadInstance(); !status.ok()) {
        return Annotate(status, absl::StrCat("instances[", rows_, "]"));
      }
      ++rows_;
    }
    if (!reader_.ok()) return reader_.status();
    if (rows_ == 0) {
      return absl::InvalidArgumentError("\"instances\" is empty; send at least one");
    }
    return absl::OkStatus();
  }

  absl::Status ReadColumns() {
    if (!AtObject()) {
      ASSIGN_OR_RETURN(Column * column, OnlyInput("\"inputs\""));
      return ReadInto(*column);
    }
    return ReadNamed();
  }

  void MoveTo(PredictRequest& request, PredictForm form) {
    for (Column& column : columns_) {
      if (column.values == 0) continue;
      TensorProto& proto = (*request.mutable_inputs())[column.input.name];
      proto.set_dtype(ToTfType(column.input.type));
      if (form == PredictForm::kRows) proto.mutable_tensor_shape()->add_dim()->set_size(rows_);
      for (const int64_t d : column.shape) proto.mutable_tensor_shape()->add_dim()->set_size(d);
      if (column.input.type == DataType::kString) {
        for (std::string& text : column.elements.strings) proto.add_string_val(std::move(text));
      } else {
        proto.set_tensor_content(std::move(column.elements.bytes));
      }
    }
    for (const std::string& name : unknown_) (*request.mutable_inputs())[name];
  }

 private:
  // An object of inputs by name, not a string in base64.
  bool AtObject() { return reader_.Peek() == JsonKind::kObject && !AtBase64(reader_); }

  absl::StatusOr<Column*> OnlyInput(absl::string_view what) {
    if (columns_.size() == 1) return &columns_[0];
    return absl::InvalidArgumentError(
        absl::StrCat("at ", reader_.Position(), ": ", what, " is ", JsonKindName(reader_.Peek()),
                     ", but there are ", columns_.size(), " inputs; send an object with the keys ",
                     absl::StrJoin(columns_, ", ", [](std::string* out, const Column& column) {
                       absl::StrAppend(out, "\"", column.input.name, "\"");
                     })));
  }

  absl::Status ReadInstance() {
    const bool named = AtObject();
    if (rows_ == 0) named_ = named;
    if (named != named_) {
      return absl::InvalidArgumentError(
          absl::StrCat("at ", reader_.Position(), ": found ", JsonKindName(reader_.Peek()),
                       named_ ? ", but those before it are objects with the inputs by name"
                              : ", but those before it are bare values"));
    }
    if (named) return ReadNamed();
    ASSIGN_OR_RETURN(Column * column, OnlyInput("it"));
    return ReadInto(*column);
  }

  // {"name": value, …}; in rows each of them once more than the row before.
  absl::Status ReadNamed() {
    if (!reader_.EnterObject()) return reader_.status();
    std::string name;
    int64_t found = 0;
    while (reader_.NextKey(name)) {
      Column* column = Find(name);
      if (column == nullptr) {
        unknown_.insert(name);
        if (!reader_.Skip()) return reader_.status();
        continue;
      }
      if (column->values > rows_) {
        return absl::InvalidArgumentError(
            absl::StrCat("input ", InQuotes(name), " is there twice"));
      }
      RETURN_IF_ERROR(ReadInto(*column));
      ++found;
    }
    if (!reader_.ok()) return reader_.status();
    if (rows_ == 0) inputs_of_a_row_ = found;
    if (found == inputs_of_a_row_) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("has ", found, " of the inputs, but instances[0] has ", inputs_of_a_row_));
  }

  Column* Find(absl::string_view name) {
    const auto found = std::find_if(columns_.begin(), columns_.end(), [&](const Column& column) {
      return column.input.name == name;
    });
    return found == columns_.end() ? nullptr : &*found;
  }

  absl::Status ReadInto(Column& column) {
    Shape shape;
    absl::Status status = ReadElements(reader_, column.elements, &shape);
    if (status.ok()) status = Accept(column, std::move(shape));
    if (status.ok()) return status;
    return Annotate(status, absl::StrCat("input ", InQuotes(column.input.name), " (",
                                         TfTypeName(column.input.type), ")"));
  }

  absl::Status Accept(Column& column, Shape shape) {
    if (column.values != rows_) {
      return absl::InvalidArgumentError("is missing in an instance before this one");
    }
    if (column.values++ == 0) {
      column.shape = std::move(shape);
      return absl::OkStatus();
    }
    if (shape == column.shape) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("has shape ", ShapeToString(shape),
                                                   ", but instances[0] has ",
                                                   ShapeToString(column.shape)));
  }

  JsonReader& reader_;
  std::vector<Column> columns_;
  std::set<std::string> unknown_;
  int64_t rows_ = 0;  // that were read whole
  bool named_ = false;
  int64_t inputs_of_a_row_ = 0;
};

// Where the tensors of a body begin, and how they stand.
struct Tensors {
  PredictForm form;
  size_t begin;
  std::string signature_name;  // that they were read by
};

}  // namespace

absl::StatusOr<PredictForm> ReadPredictBody(absl::string_view body,
                                            const InputsOfSignature& inputs_of,
                                            size_t max_tensor_bytes, PredictRequest& request) {
  JsonReader reader(body);
  std::optional<Tensors> tensors;
  std::string signature_name;
  const auto read_tensors = [&](JsonReader& from) -> absl::Status {
    request.clear_inputs();
    tensors->signature_name = signature_name;
    TensorReader to(from, inputs_of(signature_name), max_tensor_bytes);
    RETURN_IF_ERROR(tensors->form == PredictForm::kRows ? to.ReadRows() : to.ReadColumns());
    to.MoveTo(request, tensors->form);
    return absl::OkStatus();
  };
  if (!reader.EnterObject()) return reader.status();
  std::string key;
  while (reader.NextKey(key)) {
    if (key == "signature_name") {
      if (!reader.ReadString(signature_name)) return reader.status();
    } else if (key == "instances" || key == "inputs") {
      if (tensors.has_value()) {
        return absl::InvalidArgumentError(
            "the body has more than one of \"instances\" and \"inputs\"; send one");
      }
      tensors = {key == "instances" ? PredictForm::kRows : PredictForm::kColumns, reader.offset(),
                 ""};
      RETURN_IF_ERROR(read_tensors(reader));
    } else if (!reader.Skip()) {
      return reader.status();
    }
  }
  if (!reader.ReadEnd()) return reader.status();
  if (!tensors.has_value()) {
    return absl::InvalidArgumentError(
        "the body has neither \"instances\" (one entry for each row) nor \"inputs\" (whole "
        "tensors)");
  }
  if (tensors->signature_name != signature_name) {  // it came after them
    JsonReader again(body, tensors->begin);
    RETURN_IF_ERROR(read_tensors(again));
  }
  request.mutable_model_spec()->set_signature_name(signature_name);
  return tensors->form;
}

namespace {

// An output as views see it.
struct Output {
  std::string name;
  TensorView view;
  std::vector<std::string> strings;  // what `view` shows, where the message cannot be shown
  std::vector<float> floats;
  JsonStrings form = JsonStrings::kText;
};

template <typename Field>
void Show(const Field& field, DataType type, Output& output) {
  output.view.type = type;
  output.view.data = field.data();
}

// REQUIRES: `proto` as EncodeTfTensor makes it.
void ShowValues(const TensorProto& proto, Output& output) {
  switch (FromTfType(proto.dtype())) {
    case DataType::kFloat:
      return Show(proto.float_val(), DataType::kFloat, output);
    case DataType::kDouble:
      return Show(proto.double_val(), DataType::kDouble, output);
    case DataType::kInt64:
      return Show(proto.int64_val(), DataType::kInt64, output);
    case DataType::kUint32:
      return Show(proto.uint32_val(), DataType::kUint32, output);
    case DataType::kUint64:
      return Show(proto.uint64_val(), DataType::kUint64, output);
    case DataType::kBool:
      return Show(proto.bool_val(), DataType::kBool, output);
    case DataType::kString:
      output.strings.assign(proto.string_val().begin(), proto.string_val().end());
      if (absl::EndsWith(output.name, "_bytes")) output.form = JsonStrings::kBase64;
      return Show(output.strings, DataType::kString, output);
    case DataType::kFloat16:
      for (const int32_t bits : proto.half_val()) {
        output.floats.push_back(Float16{static_cast<uint16_t>(bits)}.ToFloat());
      }
      return Show(output.floats, DataType::kFloat, output);
    case DataType::kBfloat16:
      for (const int32_t bits : proto.half_val()) {
        output.floats.push_back(Bfloat16{static_cast<uint16_t>(bits)}.ToFloat());
      }
      return Show(output.floats, DataType::kFloat, output);
    default:  // the narrow integers
      return Show(proto.int_val(), DataType::kInt32, output);
  }
}

std::vector<Output> OutputsOf(const tensorflow::serving::PredictResponse& response) {
  std::vector<Output> outputs;
  for (const auto& [name, proto] : response.outputs()) {
    Output output;
    output.name = name;
    for (const auto& dim : proto.tensor_shape().dim()) output.view.shape.push_back(dim.size());
    ShowValues(proto, output);
    outputs.push_back(std::move(output));
  }
  std::sort(outputs.begin(), outputs.end(),
            [](const Output& a, const Output& b) { return a.name < b.name; });
  return outputs;
}

// One output bare, several as an object; `append(output)` writes a value.
template <typename Append>
void AppendOutputs(const std::vector<Output>& outputs, const Append& append, std::string& out) {
  if (outputs.size() == 1) return append(outputs[0]);
  for (size_t i = 0; i < outputs.size(); ++i) {
    out.push_back(i == 0 ? '{' : ',');
    AppendJsonString(outputs[i].name, out);
    out.push_back(':');
    append(outputs[i]);
  }
  out.push_back('}');
}

}  // namespace

absl::StatusOr<std::string> PredictReply(const tensorflow::serving::PredictResponse& response,
                                         PredictForm form) {
  const std::vector<Output> outputs = OutputsOf(response);
  if (outputs.empty()) return absl::InternalError("the reply has no outputs");
  std::string out;
  if (form == PredictForm::kColumns) {
    out = "{\"outputs\":";
    AppendOutputs(
        outputs, [&](const Output& o) { AppendJsonValues(o.view, o.view.shape, 0, o.form, out); },
        out);
    out.append("}\n");
    return out;
  }
  const Output& first = outputs[0];
  for (const Output& output : outputs) {
    if (output.view.shape.empty() || output.view.shape[0] != first.view.shape[0]) {
      return absl::InvalidArgumentError(
          absl::StrCat("outputs \"", first.name, "\" ", ShapeToString(first.view.shape), " and \"",
                       output.name, "\" ", ShapeToString(output.view.shape),
                       " have no rows in common; send the tensors as \"inputs\" instead of "
                       "\"instances\""));
    }
  }
  out = "{\"predictions\":[";
  for (int64_t row = 0; row < first.view.shape[0]; ++row) {
    if (row > 0) out.push_back(',');
    AppendOutputs(
        outputs,
        [&](const Output& o) {
          const absl::Span<const int64_t> dims = absl::MakeConstSpan(o.view.shape).subspan(1);
          AppendJsonValues(o.view, dims, row * NumElements(dims), o.form, out);
        },
        out);
  }
  out.append("]}\n");
  return out;
}

}  // namespace baton::api

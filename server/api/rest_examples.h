// Bodies of TensorFlow Serving's REST classify and regress, to and from the messages of its gRPC
// calls. Safe on text of any content.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "proto/tensorflow_serving/apis/classification.pb.h"
#include "proto/tensorflow_serving/apis/input.pb.h"
#include "proto/tensorflow_serving/apis/regression.pb.h"

namespace baton::api {

// Reads "signature_name", "examples" and "context". A feature is a value or a list of them:
// integers and booleans make an Int64List, numbers with a point or an exponent a FloatList, strings
// and {"b64": "…"} a BytesList. kInvalidArgument names the example and the feature.
absl::Status ReadExamplesBody(absl::string_view body, std::string& signature_name,
                              tensorflow::serving::Input& input);

// {"results": [[["label", score], …], …]}: for each example its classes.
std::string ClassifyReply(const tensorflow::serving::ClassificationResponse& response);
// {"results": [value, …]}
std::string RegressReply(const tensorflow::serving::RegressionResponse& response);

}  // namespace baton::api

// Values of a tf.Example's feature, or a default of the config, into one row of a tensor.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/tensor.h"
#include "proto/tensorflow/core/example/feature.pb.h"
#include "server/repository/signatures.h"

namespace baton::api {

// Puts the values of `feature` into elements [at, at+count) of `to`: a float_list or int64_list
// into any float type, an int64_list into any integer type or bool, a bytes_list into strings, or
// one bytes value that holds the raw little-endian elements into any other type. kInvalidArgument:
// what was found and what is expected. REQUIRES: the feature is set.
absl::Status PutFeature(const tensorflow::Feature& feature, Tensor& to, int64_t at, int64_t count);

// The same of one value for every element, or one for each.
absl::Status PutDefault(const repository::DefaultValues& values, Tensor& to, int64_t at,
                        int64_t count);

// How many values a feature has that is for a tensor of `type`; 0 where it is not set.
int64_t FeatureSize(const tensorflow::Feature& feature, DataType type);

}  // namespace baton::api

#include "server/api/tfs_warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "proto/tensorflow_serving/apis/prediction_log.pb.h"
#include "server/api/tfs_signature.h"
#include "tests/api/test_servable.h"
#include "tests/repository/write_file.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tf_record_file.h"

namespace baton::api {
namespace {

using ::baton::testing::AffineSignature;
using ::baton::testing::TempDir;
using ::baton::testing::TestServable;
using ::baton::testing::TfRecord;
using ::tensorflow::serving::PredictionLog;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// `rows` rows for a model that there is not: it does not matter.
tensorflow::serving::PredictRequest Request(int64_t rows) {
  tensorflow::serving::PredictRequest request;
  request.mutable_model_spec()->set_name("another");
  tensorflow::TensorProto& x = (*request.mutable_inputs())["x"];
  x.set_dtype(tensorflow::DT_FLOAT);
  x.mutable_tensor_shape()->add_dim()->set_size(rows);
  x.mutable_tensor_shape()->add_dim()->set_size(4);
  x.add_float_val(1);
  return request;
}

PredictionLog PredictLog(int64_t rows) {
  PredictionLog log;
  *log.mutable_predict_log()->mutable_request() = Request(rows);
  log.mutable_log_metadata()->set_request_origin("test");
  return log;
}

void AddExample(tensorflow::serving::Input& input, const std::array<float, 4>& values) {
  auto& example = *input.mutable_example_list()->add_examples();
  auto& list = *(*example.mutable_features()->mutable_feature())["x"].mutable_float_list();
  for (const float value : values) list.add_value(value);
}

class TfsWarmUp : public ::testing::Test {
 protected:
  TfsWarmUp() {
    servable_->CountIn(metrics_);
    servable_->set_run([this](const serving::Task& task) {
      rows_.push_back(task.rows);
      baton::testing::RunAffine(task, 1);
    });
  }
  void Write(const std::string& contents) {
    baton::testing::WriteAt(dir_ / "assets.extra/tf_serving_warmup_requests", contents);
  }
  absl::Status Run(size_t max_tensor_bytes = 1 << 20) {
    return WarmUpRequestsUpTo(max_tensor_bytes)(dir_.path(), servable_);
  }
  absl::Status Run(const PredictionLog& log) {
    Write(TfRecord(PredictLog(1).SerializeAsString()) + TfRecord(log.SerializeAsString()));
    return Run();
  }
  // Runs `log` as the second record; that fails with this.
  std::string Error(const PredictionLog& log) {
    const absl::Status status = Run(log);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(),
                HasSubstr(dir_ / "assets.extra/tf_serving_warmup_requests: record 2: "));
    return std::string(status.message());
  }

  TempDir dir_;
  serving::Registry registry_;
  serving::Metrics metrics_{registry_};
  std::vector<int64_t> rows_;
  std::shared_ptr<TestServable> servable_ =
      std::make_shared<TestServable>("m", 3, AffineSignature(), 8);
};

TEST_F(TfsWarmUp, DoesNothingWithoutAFile) {
  EXPECT_TRUE(Run().ok());
  EXPECT_THAT(rows_, IsEmpty());
}

TEST_F(TfsWarmUp, RunsEachRecordAsTheRequestThatItIs) {
  PredictionLog classify, multiple, streamed, nothing;
  AddExample(*classify.mutable_classify_log()->mutable_request()->mutable_input(), {1, 2, 3, 4});
  AddExample(*classify.mutable_classify_log()->mutable_request()->mutable_input(), {1, 2, 3, 4});
  auto& request = *multiple.mutable_multi_inference_log()->mutable_request();
  request.add_tasks()->set_method_name(kClassifyMethod);
  for (int i = 0; i < 3; ++i) AddExample(*request.mutable_input(), {1, 2, 3, 4});
  *streamed.mutable_predict_streamed_log()->add_request() = Request(5);
  std::string contents;
  for (const PredictionLog& log :
       {PredictLog(1), classify, multiple, PredictLog(4), streamed, nothing}) {
    contents += TfRecord(log.SerializeAsString());
  }
  Write(contents);
  const absl::Status status = Run();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(rows_, ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(TfsWarmUp, ARegressionNeedsOneValueForEachExample) {
  PredictionLog log;
  AddExample(*log.mutable_regress_log()->mutable_request()->mutable_input(), {1, 2, 3, 4});
  Error(log);  // the model answers with four
  servable_ = std::make_shared<TestServable>(
      "m", 3,
      engine::Signature{AffineSignature().inputs,
                        {baton::testing::Info("y", DataType::kFloat, {-1, 1})}},
      8);
  servable_->CountIn(metrics_);
  servable_->set_run([](const serving::Task& task) {
    const Tensor y(DataType::kFloat, {task.rows, 1});
    const TensorView view = y.view();
    task.done(absl::OkStatus(), {&view, 1}, {});
  });
  const absl::Status status = Run(log);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(TfsWarmUp, NamesTheRecordThatCannotBeRun) {
  PredictionLog log = PredictLog(1);
  log.mutable_predict_log()->mutable_request()->mutable_model_spec()->set_signature_name("other");
  EXPECT_THAT(Error(log), HasSubstr("no signature named \"other\""));
  log = PredictLog(1);
  log.mutable_predict_log()->mutable_request()->clear_inputs();
  EXPECT_THAT(Error(log), HasSubstr("\"x\""));
  log.Clear();
  log.mutable_session_run_log();
  EXPECT_THAT(Error(log), HasSubstr("session_run_log"));
  EXPECT_EQ(Run(log).code(), absl::StatusCode::kUnimplemented);
  log.mutable_predict_streamed_log();
  EXPECT_THAT(Error(log), HasSubstr("predict_streamed_log has 0 requests"));
  log.mutable_multi_inference_log();
  EXPECT_THAT(Error(log), HasSubstr("without tasks"));
  servable_->set_run([](const serving::Task& task) {
    task.done(absl::InvalidArgumentError("an operator minds"), {}, {});
  });
  Write(TfRecord(PredictLog(1).SerializeAsString()));
  EXPECT_THAT(Run().message(), HasSubstr("record 1: an operator minds"));
}

TEST_F(TfsWarmUp, RefusesWhatIsNoFileOfRequests) {
  Write("these are no records at all");
  EXPECT_EQ(Run().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Run().message(), HasSubstr("tf_serving_warmup_requests: record 1: "));
  Write(TfRecord("\xff\xff\xff"));
  EXPECT_THAT(Run().message(), HasSubstr("record 1 is no tensorflow.serving.PredictionLog"));
}

TEST_F(TfsWarmUp, TakesAThousandRecords) {
  const std::string record = TfRecord(PredictLog(1).SerializeAsString());
  std::string contents;
  for (int i = 0; i < 1000; ++i) contents += record;
  Write(contents);
  EXPECT_TRUE(Run().ok());
  EXPECT_EQ(rows_.size(), 1000u);
  rows_.clear();
  Write(contents + record);
  EXPECT_THAT(Run().message(), HasSubstr("has 1001 records, at most 1000"));
  EXPECT_THAT(rows_, IsEmpty());
}

TEST_F(TfsWarmUp, BoundsWhatASmallRecordBlowsUpTo) {
  Write(TfRecord(PredictLog(8).SerializeAsString()));
  EXPECT_TRUE(Run(8 * 16).ok());
  EXPECT_THAT(Run(8 * 16 - 1).message(), HasSubstr("bytes, at most 127"));
}

}  // namespace
}  // namespace baton::api

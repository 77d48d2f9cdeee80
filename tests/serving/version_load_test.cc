#include "server/serving/version_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/serving/metrics.h"
#include "tests/repository/write_file.h"
#include "tests/serving/fake_engine.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeClock;
using ::baton::testing::FakeRuntime;
using ::baton::testing::TempDir;
using ::baton::testing::ViewOf;
using ::baton::testing::WriteAt;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

const ShapeKey kRow = {1, 4};

class VersionLoadTest : public ::testing::Test {
 protected:
  VersionLoadTest() {
    request_.model = "m";
    request_.version = 7;
    request_.directory = dir_ / "m/7";
    WriteAt(dir_ / "m/7/model.onnx", "2 1");
  }
  // A request of `rows` rows of zeros, in model_warmup.
  void AddSample(int64_t rows) {
    request_.config.warm_ups.push_back({"w", rows, {{"x", {DataType::kFloat, {4}}}}});
  }
  VersionLoad Load() {
    return LoadVersion(options_, request_, runtime_, clock_, [](VersionState) {});
  }
  static std::vector<int64_t> Sizes(const VersionLoad& load) {
    std::vector<int64_t> sizes;
    for (const auto& entry : load.loaded->warm.plans.at(kRow)->entries()) {
      sizes.push_back(entry.rows);
    }
    return sizes;
  }
  // Submits a request of `rows` rows and gives back how it ended.
  static absl::Status Ask(Servable& servable, int64_t rows) {
    const std::vector<float> x(static_cast<size_t>(rows * 4), 1.0f);
    absl::Status outcome = absl::InternalError("not answered inside Submit");
    Task task;
    task.rows = rows;
    task.inputs = {ViewOf(x)};
    task.done = [&](const absl::Status& status, absl::Span<const TensorView> outputs,
                    const PhaseTimes&) {
      outcome = status;
      for (const TensorView& output : outputs) EXPECT_EQ(output.values<float>()[0], 3.0f);
    };
    const absl::Status submitted = servable.Submit(std::move(task));
    return submitted.ok() ? outcome : submitted;
  }

  TempDir dir_;
  FakeClock clock_;
  FakeRuntime runtime_;
  LoaderOptions options_;
  LoadRequest request_;
};

TEST_F(VersionLoadTest, CompilesWhatWarmUpsAskFor) {
  ASSERT_THAT(Sizes(Load()), Not(Contains(3)));
  AddSample(3);
  const VersionLoad load = Load();
  ASSERT_TRUE(load.loaded.has_value()) << load.error;
  EXPECT_THAT(Sizes(load), Contains(3));
  // What was measured before is still there.
  EXPECT_THAT(Sizes(load), Contains(1));
}

TEST_F(VersionLoadTest, AWarmUpThatFailsFailsTheLoad) {
  request_.config.max_batch_size = 8;
  AddSample(9);
  const VersionLoad load = Load();
  EXPECT_FALSE(load.loaded.has_value());
  EXPECT_EQ(load.reason, "warm");
  EXPECT_THAT(load.error.message(), HasSubstr("model_warmup \"w\": model \"m\": the request has 9 "
                                              "rows, at most 8 are allowed"));
}

TEST_F(VersionLoadTest, LeavesOutWarmUpsWhereTheyAreOff) {
  options_.model_warmup = false;
  options_.warm_up_requests = [](const std::string&, const std::shared_ptr<Servable>&) {
    return absl::InternalError("it was asked");
  };
  AddSample(3);
  const VersionLoad load = Load();
  ASSERT_TRUE(load.loaded.has_value()) << load.error;
  EXPECT_THAT(Sizes(load), Not(Contains(3)));
  options_.model_warmup = true;
  EXPECT_EQ(Load().error.message(), "it was asked");
}

TEST_F(VersionLoadTest, GoldenSamplesAreRunEvenWithoutWarmUp) {
  options_.model_warmup = false;
  WriteAt(dir_ / "m/7/golden", "off by 3");
  EXPECT_EQ(Load().error.message(), "off by 3");
}

TEST_F(VersionLoadTest, RequestsOfAProtocolRunOnThePlansThatWillServe) {
  options_.warm_up_requests = [this](const std::string& directory,
                                     const std::shared_ptr<Servable>& servable) {
    EXPECT_EQ(directory, dir_ / "m/7");
    EXPECT_EQ(servable->model(), "m");
    EXPECT_EQ(servable->version(), 7);
    EXPECT_EQ(servable->max_batch_size(), options_.max_request_rows);
    EXPECT_TRUE(Ask(*servable, 3).ok());
    EXPECT_TRUE(Ask(*servable, 70).ok());  // in pieces: no execution is so large
    EXPECT_EQ(Ask(*servable, 1 << 15).code(), absl::StatusCode::kInvalidArgument);
    servable->metrics().RecordRequest(Method::kPredict, absl::StatusCode::kOk, 1);
    return absl::OkStatus();
  };
  const VersionLoad load = Load();
  ASSERT_TRUE(load.loaded.has_value()) << load.error;
  EXPECT_THAT(Sizes(load), Contains(3));
  EXPECT_THAT(Sizes(load), Not(Contains(70)));
}

}  // namespace
}  // namespace baton::serving

#include "server/api/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/base/cpu.h"
#include "engine/base/file.h"
#include "tests/support/temp_dir.h"

namespace baton::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Parsed {
  std::optional<int> exit_code;
  ServerFlags flags;
  std::string error;  // what went to stderr
};

Parsed Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "baton-server");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  Parsed parsed;
  ::testing::internal::CaptureStderr();
  parsed.exit_code = ParseServerFlags(static_cast<int>(argv.size()), argv.data(), parsed.flags);
  parsed.error = ::testing::internal::GetCapturedStderr();
  return parsed;
}

TEST(ServerFlags, DefaultsAreTensorFlowServings) {
  const Parsed parsed = Parse({"--model_base_path=/m"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  EXPECT_EQ(parsed.flags.grpc.port, 8500);
  EXPECT_EQ(parsed.flags.grpc.max_message_mb, 64);
  ASSERT_TRUE(parsed.flags.http.has_value());
  EXPECT_EQ(parsed.flags.http->port, 8501);
  EXPECT_EQ(parsed.flags.drain_seconds, 30);
  EXPECT_EQ(parsed.flags.serving.poll_seconds, 1);
  EXPECT_TRUE(parsed.flags.serving.enable_batching);
  EXPECT_TRUE(parsed.flags.serving.model_warmup);
  EXPECT_NE(parsed.flags.serving.warm_up_requests, nullptr);
  ASSERT_EQ(parsed.flags.serving.models.size(), 1u);
  EXPECT_EQ(parsed.flags.serving.models[0].name, "default");
  EXPECT_EQ(parsed.flags.serving.models[0].base_path, "/m");
}

TEST(ServerFlags, EveryFlagArrives) {
  const Parsed parsed = Parse({"--port=1",
                               "--grpc_socket_path=/s",
                               "--rest_api_port=2",
                               "--rest_api_num_threads=3",
                               "--rest_api_timeout_in_ms=9",
                               "--model_repository=/r",
                               "--file_system_poll_wait_seconds=0.5",
                               "--workers=4",
                               "--threads_per_worker=2",
                               "--precision=bf16",
                               "--enable_batching=false",
                               "--enable_grpc_healthcheck_service=false",
                               "--max_message_mb=5",
                               "--drain_seconds=6",
                               "--ssl_config_file=/ssl",
                               "--auth_token_file=/auth",
                               "--admin_token_file=/admin",
                               "--max_connections=7",
                               "--connection_idle_seconds=8",
                               "--enable_model_warmup=false"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  EXPECT_EQ(parsed.flags.grpc.port, 1);
  EXPECT_EQ(parsed.flags.serving.precision, engine::Precision::kBf16);
  EXPECT_EQ(parsed.flags.grpc.socket_path, "/s");
  EXPECT_EQ(parsed.flags.grpc.max_message_mb, 5);
  EXPECT_FALSE(parsed.flags.grpc.enable_health);
  EXPECT_EQ(parsed.flags.http->port, 2);
  EXPECT_EQ(parsed.flags.http->threads, 3);
  EXPECT_EQ(parsed.flags.http->timeout_ms, 9);
  EXPECT_EQ(parsed.flags.http->max_message_mb, 5);
  EXPECT_EQ(parsed.flags.serving.repository, "/r");
  EXPECT_EQ(parsed.flags.serving.poll_seconds, 0.5);
  EXPECT_EQ(parsed.flags.serving.workers, 4);
  EXPECT_EQ(parsed.flags.serving.threads_per_worker, 2);
  EXPECT_FALSE(parsed.flags.serving.enable_batching);
  EXPECT_FALSE(parsed.flags.serving.model_warmup);
  EXPECT_EQ(parsed.flags.drain_seconds, 6);
  EXPECT_EQ(parsed.flags.secrets.ssl_config, "/ssl");
  EXPECT_EQ(parsed.flags.secrets.auth_tokens, "/auth");
  EXPECT_EQ(parsed.flags.secrets.admin_tokens, "/admin");
  EXPECT_EQ(parsed.flags.secrets.poll_seconds, 0.5);
  EXPECT_EQ(parsed.flags.http->max_connections, 7);
  EXPECT_EQ(parsed.flags.http->connection_idle_seconds, 8);
  EXPECT_EQ(parsed.flags.grpc.connection_idle_seconds, 8);
}

TEST(ServerFlags, ZeroTurnsHttpOffAndNoneStopsPolling) {
  const Parsed parsed =
      Parse({"--model_repository=/r", "--rest_api_port=0", "--model_control_mode=none"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  EXPECT_FALSE(parsed.flags.http.has_value());
  EXPECT_EQ(parsed.flags.serving.control, serving::ModelServerOptions::Control::kNone);
}

TEST(ServerFlags, SayWhatToLoadAndWhoMayChangeIt) {
  const Parsed parsed =
      Parse({"--model_repository=/r", "--model_control_mode=explicit", "--load_model=a",
             "--load_model=b", "--model_config_file=/c", "--model_config_file_poll_wait_seconds=2",
             "--allow_version_labels_for_unavailable_models", "--max_num_load_retries=5",
             "--load_retry_interval_micros=500000", "--num_load_threads=3",
             "--memory_limit_mb=1000", "--admin=on"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  const serving::ModelServerOptions& serving = parsed.flags.serving;
  EXPECT_EQ(serving.control, serving::ModelServerOptions::Control::kExplicit);
  EXPECT_THAT(serving.load_models, ElementsAre("a", "b"));
  EXPECT_EQ(serving.config_file, "/c");
  EXPECT_EQ(serving.config_poll_seconds, 2);
  EXPECT_TRUE(serving.allow_labels_of_absent);
  EXPECT_EQ(serving.load_retries, 5);
  EXPECT_EQ(serving.load_retry_seconds, 0.5);
  EXPECT_EQ(serving.load_threads, 3);
  EXPECT_EQ(serving.memory_limit_bytes, 1'000'000'000);
  EXPECT_EQ(parsed.flags.grpc.admin, AdminAccess::kAll);
}

TEST(ServerFlags, BatchingParametersComeFromTheirFile) {
  ::baton::testing::TempDir dir;
  ASSERT_TRUE(WriteFileDurably(dir / "b", "max_batch_size { value: 7 }").ok());
  const Parsed parsed = Parse({"--model_repository=/r", "--batching_parameters_file=" + (dir / "b"),
                               "--enable_per_model_batching_parameters"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  EXPECT_EQ(parsed.flags.serving.batching_parameters.max_batch_rows, 7);
  EXPECT_TRUE(parsed.flags.serving.per_model_batching);
  const Parsed missing =
      Parse({"--model_repository=/r", "--batching_parameters_file=" + (dir / "c")});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.error, HasSubstr("--batching_parameters_file: "));
}

TEST(ServerFlags, MonitoringConfigSaysWhereMetricsAre) {
  ::baton::testing::TempDir dir;
  const auto parse = [&](const std::string& text) {
    EXPECT_TRUE(WriteFileDurably(dir / "m", text).ok());
    return Parse({"--model_repository=/r", "--monitoring_config_file=" + (dir / "m")});
  };
  const Parsed on = parse("prometheus_config { enable: true path: \"/scrape\" }");
  ASSERT_EQ(on.exit_code, std::nullopt) << on.error;
  EXPECT_TRUE(on.flags.http->serve_metrics);
  EXPECT_EQ(on.flags.http->metrics_path, "/scrape");
  EXPECT_FALSE(parse("prometheus_config { enable: false }").flags.http->serve_metrics);
  EXPECT_THAT(parse("prometheus { }").error, HasSubstr("--monitoring_config_file: "));
  EXPECT_THAT(parse("prometheus_config { path: \"scrape\" }").error, HasSubstr("leading /"));
}

TEST(ServerFlags, GrpcsOwnSettingsArrive) {
  const Parsed parsed = Parse({"--model_repository=/r", "--grpc_max_threads=3",
                               "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,a=b"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  EXPECT_EQ(parsed.flags.grpc.max_pollers, 3);
  ASSERT_EQ(parsed.flags.grpc.channel_arguments.size(), 2u);
  EXPECT_EQ(parsed.flags.grpc.channel_arguments[0].name, "grpc.max_connection_age_ms");
  EXPECT_EQ(std::get<int>(parsed.flags.grpc.channel_arguments[0].value), 2000);
  EXPECT_EQ(std::get<std::string>(parsed.flags.grpc.channel_arguments[1].value), "b");
  EXPECT_THAT(Parse({"--model_repository=/r", "--grpc_channel_arguments=x"}).error,
              HasSubstr("\"x\" is not NAME=VALUE"));
}

TEST(ServerFlags, DefaultsOfBatonsOwn) {
  const Parsed parsed = Parse({"--model_config_file=/c"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  EXPECT_EQ(parsed.flags.grpc.admin, AdminAccess::kLocal);
  EXPECT_EQ(parsed.flags.serving.load_retries, 0);
  EXPECT_GT(parsed.flags.serving.memory_limit_bytes, 0);
  EXPECT_LT(parsed.flags.serving.memory_limit_bytes, MemoryLimitBytes());
  EXPECT_EQ(parsed.flags.secrets.ssl_config, "");
  EXPECT_EQ(parsed.flags.http->connection_idle_seconds, 60);
  EXPECT_EQ(parsed.flags.grpc.connection_idle_seconds, std::nullopt);
}

TEST(ServerFlags, AWrongLineIsOneClearLineAndExitTwo) {
  const std::pair<std::vector<std::string>, const char*> kCases[] = {
      {{}, "nothing to serve: give --model_repository=DIR"},
      {{"--model_repository=/r", "--model_base_path=/m"}, "does not go with --model_base_path"},
      {{"--model_repository=/r", "--model_name=m"}, "does not go with"},
      {{"--model_repository=/r", "--port=70000"}, "--port=70000: must be from 0 (any) to 65535"},
      {{"--model_repository=/r", "--port=abc"}, "abc"},
      {{"--model_repository=/r", "--rest_api_port=-1"}, "--rest_api_port=-1"},
      {{"--model_repository=/r", "--model_control_mode=manual"}, "must be poll, explicit or none"},
      {{"--model_base_path=/m", "--model_control_mode=explicit"}, "needs --model_repository"},
      {{"--model_repository=/r", "--load_model=m"}, "goes with --model_control_mode=explicit"},
      {{"--model_name=m"}, "--model_base_path, which is missing"},
      {{"--model_repository=/r", "--admin=all"}, "--admin=all: must be on, local or off"},
      {{"--model_repository=/r", "--num_load_threads=-1"}, "--num_load_threads=-1"},
      {{"--model_repository=/r", "--load_retry_interval_micros=-1"}, "must be 0 or more"},
      {{"--model_repository=/r", "--max_num_load_retries=-1"}, "load_retries is -1"},
      {{"--model_repository=/r", "--file_system_poll_wait_seconds=-1"}, "must be 0 or more"},
      {{"--model_repository=/r", "--file_system_poll_wait_seconds=nan"}, "must be 0 or more"},
      {{"--model_repository=/r", "--workers=-2"}, "--workers=-2"},
      {{"--model_repository=/r", "--threads_per_worker=many"}, "must be auto or a number"},
      {{"--model_repository=/r", "--precision=f16"}, "must be f32, bf16, int8 or auto"},
      {{"--model_repository=/r", "--drain_seconds=-1"}, "--drain_seconds=-1"},
      {{"--model_repository=/r", "--max_connections=-1"}, "--max_connections=-1"},
      {{"--model_repository=/r", "--connection_idle_seconds=0"}, "must be from 1 to 86400"},
      {{"--model_repository=/r", "--max_message_mb=0"}, "--max_message_mb=0"},
      {{"--model_repositry=/r"}, "did you mean --model_repository?"},
      {{"--model_repository=/r", "extra"}, "extra"},
  };
  for (const auto& [arguments, text] : kCases) {
    const Parsed parsed = Parse(arguments);
    SCOPED_TRACE(text);
    EXPECT_EQ(parsed.exit_code, 2);
    EXPECT_THAT(parsed.error, HasSubstr(text));
    EXPECT_EQ(std::count(parsed.error.begin(), parsed.error.end(), '\n'), 1) << parsed.error;
  }
}

TEST(ServerFlags, TensorFlowsOwnFlagsAreAcceptedWithOneWarning) {
  const Parsed parsed = Parse({"--model_repository=/r", "--tensorflow_session_parallelism=4",
                               "--xla_cpu_compilation_enabled", "--saved_model_tags=serve",
                               "--enable_profiler=true"});
  ASSERT_EQ(parsed.exit_code, std::nullopt) << parsed.error;
  EXPECT_EQ(std::count(parsed.error.begin(), parsed.error.end(), '\n'), 1) << parsed.error;
  for (const char* name : {"--tensorflow_session_parallelism", "--xla_cpu_compilation_enabled",
                           "--saved_model_tags", "--enable_profiler"}) {
    EXPECT_THAT(parsed.error, HasSubstr(name));
  }
}

}  // namespace
}  // namespace baton::api

#include "server/api/flags.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/command_line.h"
#include "engine/base/log.h"
#include "engine/base/status.h"

namespace baton::api {
namespace {

// Flags of tensorflow_model_server that steer what Baton does not have: TensorFlow sessions, its
// file systems and compilers, TFLite, GPUs, TPUs. Accepted with a warning.
constexpr const char* kMeaningless[] = {
    "enable_profiler",
    "enable_serialization_as_tensor_content",
    "enable_signature_method_name_check",
    "flush_filesystem_caches",
    "mixed_precision",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "per_process_gpu_memory_fraction",
    "platform_config_file",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "saved_model_tags",
    "skip_initialize_tpu",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_parallelism",
    "thread_pool_factory_config_file",
    "use_alts_credentials",
    "use_tflite_model",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
};

// What the command line holds before it is checked.
struct RawFlags {
  int rest_api_port = 8501;
  std::string model_name;
  std::string model_base_path;
  std::string model_repository;
  std::string model_control_mode = "poll";
  double poll_wait_seconds = 1;
  int workers = 0;
  std::string threads_per_worker = "auto";
  std::string precision = "f32";
};

void AddFlags(CLI::App& app, RawFlags& raw, HttpOptions& http, ServerFlags& flags) {
  app.add_option("--port", flags.grpc.port, "Port of gRPC; 0: any that is free");
  app.add_option("--grpc_socket_path", flags.grpc.socket_path,
                 "Unix socket that gRPC listens on, too");
  app.add_option("--rest_api_port", raw.rest_api_port,
                 "Port of HTTP (metrics, health, model states); 0: off");
  app.add_option("--rest_api_num_threads", http.threads, "Threads that answer HTTP");
  app.add_option("--model_repository", raw.model_repository,
                 "Directory whose every sub-directory is a model");
  app.add_option("--model_base_path", raw.model_base_path,
                 "Directory of one model: it holds the version directories");
  app.add_option("--model_name", raw.model_name,
                 "Name of the model of --model_base_path (default \"default\")");
  app.add_option("--model_control_mode", raw.model_control_mode,
                 "poll: follow changes; none: load once, at the start");
  app.add_option("--file_system_poll_wait_seconds", raw.poll_wait_seconds,
                 "Seconds between two looks at the models; 0: look once");
  app.add_option("--workers", raw.workers, "Threads that run models; 0: the cores there are");
  app.add_option("--threads_per_worker", raw.threads_per_worker,
                 "Threads that one execution may use, or auto: 1, and all cores for a request "
                 "that is alone");
  app.add_option("--precision", raw.precision, "Precision of arithmetic: f32");
  app.add_flag("--enable_batching,!--noenable_batching", flags.serving.enable_batching,
               "Run waiting requests of a model together");
  app.add_flag("--enable_grpc_healthcheck_service", flags.grpc.enable_health,
               "Serve grpc.health.v1.Health");
  app.add_option("--max_message_mb", flags.grpc.max_message_mb, "Largest request, in MiB");
  app.add_option("--drain_seconds", flags.drain_seconds,
                 "Most seconds from SIGTERM to the exit: not ready at once, no new requests after "
                 "a tenth of it, running ones finished in the rest");
}

absl::StatusOr<int> ThreadsPerWorker(const std::string& text) {
  int threads = 0;
  if (text == "auto") return 0;
  if (absl::SimpleAtoi(text, &threads) && threads >= 1) return threads;
  return absl::InvalidArgumentError(
      absl::StrCat("--threads_per_worker=", text, ": must be auto or a number from 1 up"));
}

absl::Status SetModels(const RawFlags& raw, serving::ModelServerOptions& options) {
  if (!raw.model_repository.empty()) {
    if (!raw.model_base_path.empty() || !raw.model_name.empty()) {
      return absl::InvalidArgumentError(
          "--model_repository serves every model below it; it does not go with --model_base_path "
          "or --model_name");
    }
    options.repository = raw.model_repository;
    return absl::OkStatus();
  }
  if (raw.model_base_path.empty()) {
    return absl::InvalidArgumentError(
        "nothing to serve: give --model_repository=DIR (a directory of models) or "
        "--model_base_path=DIR (one model)");
  }
  options.models.push_back(
      {raw.model_name.empty() ? "default" : raw.model_name, raw.model_base_path});
  return absl::OkStatus();
}

absl::Status Apply(const RawFlags& raw, const HttpOptions& http, ServerFlags& flags) {
  RETURN_IF_ERROR(SetModels(raw, flags.serving));
  if (raw.model_control_mode != "poll" && raw.model_control_mode != "none") {
    return absl::InvalidArgumentError(
        absl::StrCat("--model_control_mode=", raw.model_control_mode, ": must be poll or none"));
  }
  if (!(raw.poll_wait_seconds >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--file_system_poll_wait_seconds=", raw.poll_wait_seconds, ": must be 0 or more"));
  }
  flags.serving.poll_seconds = raw.model_control_mode == "none" ? 0 : raw.poll_wait_seconds;
  if (raw.workers < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--workers=", raw.workers, ": must be 0 (the cores there are) or more"));
  }
  flags.serving.workers = raw.workers;
  ASSIGN_OR_RETURN(flags.serving.threads_per_worker, ThreadsPerWorker(raw.threads_per_worker));
  if (raw.precision != "f32") {
    return absl::InvalidArgumentError(
        absl::StrCat("--precision=", raw.precision, ": only f32 is supported"));
  }
  constexpr double kMostSeconds = 24 * 3600;
  if (!(flags.drain_seconds >= 0 && flags.drain_seconds <= kMostSeconds)) {
    return absl::InvalidArgumentError(absl::StrCat("--drain_seconds=", flags.drain_seconds,
                                                   ": must be from 0 to ", kMostSeconds));
  }
  RETURN_IF_ERROR(flags.grpc.Validate());
  if (raw.rest_api_port != 0) {
    flags.http = http;
    flags.http->port = raw.rest_api_port;
    RETURN_IF_ERROR(flags.http->Validate());
  }
  return flags.serving.Validate();
}

}  // namespace

std::optional<int> ParseServerFlags(int argc, char** argv, ServerFlags& flags) {
  CLI::App app("Serves ONNX models over gRPC and HTTP.", "baton-server");
  SetUpCommandLine(app);
  RawFlags raw;
  HttpOptions http;
  AddFlags(app, raw, http, flags);
  std::vector<CLI::Option*> meaningless;
  for (const char* name : kMeaningless) {
    // Of any value, or none; not listed by --help.
    meaningless.push_back(app.add_option_function<std::vector<std::string>>(
                                 absl::StrCat("--", name), [](const std::vector<std::string>&) {})
                              ->expected(0, 1)
                              ->group(""));
  }
  if (const std::optional<int> exit_code = ParseCommandLine(app, argc, argv)) return exit_code;
  if (const absl::Status status = Apply(raw, http, flags); !status.ok()) {
    std::cerr << "baton-server: " << status.message() << " (--help lists all flags)\n";
    return 2;
  }
  std::string named;
  for (const CLI::Option* option : meaningless) {
    if (option->count() == 0) continue;
    absl::StrAppend(&named, named.empty() ? "--" : ", --", option->get_lnames().front());
  }
  if (!named.empty()) {
    BATON_LOG(Warning) << "flags of TensorFlow that have no meaning here: " << named;
  }
  return std::nullopt;
}

}  // namespace baton::api

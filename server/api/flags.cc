#include "server/api/flags.h"

#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/command_line.h"
#include "engine/base/cpu.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "server/api/config_files.h"
#include "server/api/tfs_warm_up.h"

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
    "num_unload_threads",
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
  std::vector<std::string> load_models;
  double load_retry_micros = 60e6;
  int load_threads = 0;
  double memory_limit_mb = -1;
  std::string admin = "local";
  std::string batching_parameters_file;
  std::string monitoring_config_file;
  std::string channel_arguments;
  double poll_wait_seconds = 1;
  int workers = 0;
  std::string threads_per_worker = "auto";
  std::string precision = "f32";
};

void AddFlags(CommandLine& app, RawFlags& raw, HttpOptions& http, ServerFlags& flags) {
  app.Add("--port", flags.grpc.port, "Port of gRPC; 0: any that is free");
  app.Add("--grpc_socket_path", flags.grpc.socket_path, "Unix socket that gRPC listens on, too");
  app.Add("--rest_api_port", raw.rest_api_port, "Port of HTTP (REST, metrics, health); 0: off");
  app.Add("--rest_api_num_threads", http.threads,
          "HTTP requests with a body that are worked on at once");
  app.Add("--rest_api_timeout_in_ms", http.timeout_ms,
          "Milliseconds after which an HTTP request is not run any more");
  app.Add("--model_repository", raw.model_repository,
          "Directory whose every sub-directory is a model");
  app.Add("--model_base_path", raw.model_base_path,
          "Directory of one model: it holds the version directories");
  app.Add("--model_name", raw.model_name,
          "Name of the model of --model_base_path (default \"default\")");
  app.Add("--model_control_mode", raw.model_control_mode,
          "poll: follow changes; none: load once, at the start; explicit: load of the "
          "repository what is asked for by request or --load_model");
  app.Add("--load_model", raw.load_models,
          "With explicit control: a model to load at the start; repeatable")
      .OneWordEach()
      .DefaultText("");
  app.Add("--model_config_file", flags.serving.config_file,
          "ModelServerConfig in text format: models with their base paths, version "
          "policies and labels");
  app.Add("--model_config_file_poll_wait_seconds", flags.serving.config_poll_seconds,
          "Seconds between two readings of --model_config_file; 0: read once");
  app.AddSwitch("--allow_version_labels_for_unavailable_models",
                flags.serving.allow_labels_of_absent,
                "Requests may give a label to a version that is not ready; it takes effect when "
                "that is");
  app.Add("--max_num_load_retries", flags.serving.load_retries,
          "Times to load a version again that failed; one that has changed is loaded in "
          "any case");
  app.Add("--load_retry_interval_micros", raw.load_retry_micros, "Microseconds between such loads");
  app.Add("--num_load_threads", raw.load_threads, "Models that load at once; 0: 2");
  app.Add("--memory_limit_mb", raw.memory_limit_mb,
          "Loads that would take the process past so many MB fail; 0: no limit [default: "
          "90 % of what the system allows]")
      .DefaultText("");
  app.AddSwitch(
      "--enable_model_warmup", flags.serving.model_warmup,
      "Run the requests that a model brings for its warm-up (model_warmup of config.pbtxt, "
      "tf_serving_warmup_requests) before a version serves");
  app.Add("--admin", raw.admin,
          "Who may load, unload, label and reconfigure: on (all), local (this machine), "
          "off (nobody)");
  app.Add("--ssl_config_file", flags.secrets.ssl_config,
          "SSLConfig in text format: both ports speak TLS. Its fields hold PEM, or paths of PEM "
          "files");
  app.Add("--auth_token_file", flags.secrets.auth_tokens,
          "File of bearer tokens, one a line: all calls but health and metrics need one");
  app.Add("--admin_token_file", flags.secrets.admin_tokens,
          "File of bearer tokens that calls to load, unload, label and reconfigure need; they do "
          "for all other calls, too");
  app.Add("--max_connections", http.max_connections,
          "HTTP connections open at once; 0: no bound. (gRPC 1.51 has none for its own)");
  app.Add(
      "--connection_idle_seconds", flags.grpc.connection_idle_seconds,
      "Seconds after which a connection without calls is closed [default: HTTP 60, gRPC never]");
  app.Add("--file_system_poll_wait_seconds", raw.poll_wait_seconds,
          "Seconds between two looks at the models, certificates and tokens; 0: look once");
  app.Add("--workers", raw.workers, "Threads that run models; 0: the cores there are");
  app.Add("--threads_per_worker", raw.threads_per_worker,
          "Threads that one execution may use, or auto: 1, and all cores for a request "
          "that is alone");
  app.Add(
      "--precision", raw.precision,
      "Precision of products: f32, bf16, int8 (of quantized models) or auto (the least that the "
      "golden samples allow)");
  app.AddSwitch("--enable_batching,!--noenable_batching", flags.serving.enable_batching,
                "Run waiting requests of a model together");
  app.Add("--batching_parameters_file", raw.batching_parameters_file,
          "BatchingParameters in text format, for models whose config says nothing else");
  app.Add("--monitoring_config_file", raw.monitoring_config_file,
          "MonitoringConfig in text format: whether metrics are served, and under which path, too");
  app.Add("--grpc_channel_arguments", raw.channel_arguments,
          "gRPC's own settings: NAME=VALUE,NAME=VALUE");
  app.Add("--grpc_max_threads", flags.grpc.max_pollers,
          "Most threads that take calls from the network; 0: one for every eight cores");
  app.Add("--grpc_poll_spin_us", flags.grpc.poll_spin_us,
          "How long such a thread polls for the next event before it sleeps: a lone request is "
          "answered sooner, for a core that is never idle; nor does the thread pause, then, for "
          "requests of tiny models to come together");
  app.AddSwitch("--enable_per_model_batching_parameters", flags.serving.per_model_batching,
                "A version's batching_params.pbtxt counts more than that file");
  app.AddSwitch("--enable_grpc_healthcheck_service", flags.grpc.enable_health,
                "Serve grpc.health.v1.Health");
  app.Add("--max_message_mb", flags.grpc.max_message_mb, "Largest request, in MiB");
  app.Add("--drain_seconds", flags.drain_seconds,
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
  options.repository = raw.model_repository;
  if (!raw.model_repository.empty()) {
    if (!raw.model_base_path.empty() || !raw.model_name.empty()) {
      return absl::InvalidArgumentError(
          "--model_repository serves every model below it; it does not go with --model_base_path "
          "or --model_name");
    }
    return absl::OkStatus();
  }
  if (raw.model_base_path.empty()) {
    if (!raw.model_name.empty()) {
      return absl::InvalidArgumentError(
          "--model_name names the model of --model_base_path, which is missing");
    }
    if (!options.config_file.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "nothing to serve: give --model_repository=DIR (a directory of models), "
        "--model_base_path=DIR (one model) or --model_config_file=FILE");
  }
  options.models.push_back(
      {raw.model_name.empty() ? "default" : raw.model_name, raw.model_base_path});
  return absl::OkStatus();
}

absl::Status SetControl(const RawFlags& raw, serving::ModelServerOptions& options) {
  using Control = serving::ModelServerOptions::Control;
  if (raw.model_control_mode == "poll") {
    options.control = Control::kPoll;
  } else if (raw.model_control_mode == "none") {
    options.control = Control::kNone;
  } else if (raw.model_control_mode == "explicit") {
    options.control = Control::kExplicit;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("--model_control_mode=", raw.model_control_mode,
                                                   ": must be poll, explicit or none"));
  }
  options.load_models = raw.load_models;
  if (options.control == Control::kExplicit) {
    if (options.repository.empty()) {
      return absl::InvalidArgumentError(
          "--model_control_mode=explicit: needs --model_repository, of which it loads");
    }
  } else if (!raw.load_models.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--load_model=", raw.load_models.front(),
                                                   ": goes with --model_control_mode=explicit"));
  }
  if (!(raw.poll_wait_seconds >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--file_system_poll_wait_seconds=", raw.poll_wait_seconds, ": must be 0 or more"));
  }
  options.poll_seconds = raw.poll_wait_seconds;
  return absl::OkStatus();
}

absl::Status SetLoading(const RawFlags& raw, serving::ModelServerOptions& options) {
  if (!(raw.load_retry_micros >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--load_retry_interval_micros=", raw.load_retry_micros, ": must be 0 or more"));
  }
  options.load_retry_seconds = raw.load_retry_micros * 1e-6;
  if (raw.load_threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--num_load_threads=", raw.load_threads, ": must be 0 (2 of them) or more"));
  }
  if (raw.load_threads > 0) options.load_threads = raw.load_threads;
  constexpr double kDefaultShare = 0.9;
  options.memory_limit_bytes =
      raw.memory_limit_mb < 0
          ? static_cast<int64_t>(kDefaultShare * static_cast<double>(MemoryLimitBytes()))
          : static_cast<int64_t>(raw.memory_limit_mb * 1e6);
  return absl::OkStatus();
}

// "grpc.max_connection_age_ms=2000,grpc.primary_user_agent=x": numbers where they are, else texts.
absl::StatusOr<std::vector<ChannelArgument>> ParseChannelArguments(const std::string& text) {
  std::vector<ChannelArgument> arguments;
  for (const absl::string_view entry : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const size_t equals = entry.find('=');
    if (equals == 0 || equals == absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("--grpc_channel_arguments=", text, ": \"", entry, "\" is not NAME=VALUE"));
    }
    ChannelArgument argument{std::string(entry.substr(0, equals)), {}};
    int number = 0;
    if (absl::SimpleAtoi(entry.substr(equals + 1), &number)) {
      argument.value = number;
    } else {
      argument.value = std::string(entry.substr(equals + 1));
    }
    arguments.push_back(std::move(argument));
  }
  return arguments;
}

absl::Status SetFiles(const RawFlags& raw, HttpOptions& http, ServerFlags& flags) {
  if (!raw.batching_parameters_file.empty()) {
    auto parameters = ReadBatchingFile(raw.batching_parameters_file);
    if (!parameters.ok()) return Annotate(parameters.status(), "--batching_parameters_file");
    flags.serving.batching_parameters = *std::move(parameters);
  }
  if (!raw.monitoring_config_file.empty()) {
    const auto monitoring = ReadMonitoringFile(raw.monitoring_config_file);
    if (!monitoring.ok()) return Annotate(monitoring.status(), "--monitoring_config_file");
    http.serve_metrics = monitoring->metrics;
    http.metrics_path = monitoring->metrics_path;
  }
  return absl::OkStatus();
}

absl::StatusOr<AdminAccess> ParseAdmin(const std::string& text) {
  if (text == "on") return AdminAccess::kAll;
  if (text == "local") return AdminAccess::kLocal;
  if (text == "off") return AdminAccess::kNobody;
  return absl::InvalidArgumentError(absl::StrCat("--admin=", text, ": must be on, local or off"));
}

absl::Status Apply(const RawFlags& raw, HttpOptions& http, ServerFlags& flags) {
  RETURN_IF_ERROR(SetModels(raw, flags.serving));
  RETURN_IF_ERROR(SetControl(raw, flags.serving));
  RETURN_IF_ERROR(SetLoading(raw, flags.serving));
  ASSIGN_OR_RETURN(flags.grpc.channel_arguments, ParseChannelArguments(raw.channel_arguments));
  RETURN_IF_ERROR(SetFiles(raw, http, flags));
  ASSIGN_OR_RETURN(flags.grpc.admin, ParseAdmin(raw.admin));
  if (raw.workers < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--workers=", raw.workers, ": must be 0 (the cores there are) or more"));
  }
  flags.serving.workers = raw.workers;
  ASSIGN_OR_RETURN(flags.serving.threads_per_worker, ThreadsPerWorker(raw.threads_per_worker));
  const std::optional<engine::Precision> precision = engine::PrecisionNamed(raw.precision);
  if (!precision) {
    return absl::InvalidArgumentError(
        absl::StrCat("--precision=", raw.precision, ": must be f32, bf16, int8 or auto"));
  }
  flags.serving.precision = *precision;
  constexpr double kMostSeconds = 24 * 3600;
  if (!(flags.drain_seconds >= 0 && flags.drain_seconds <= kMostSeconds)) {
    return absl::InvalidArgumentError(absl::StrCat("--drain_seconds=", flags.drain_seconds,
                                                   ": must be from 0 to ", kMostSeconds));
  }
  flags.secrets.poll_seconds = flags.serving.poll_seconds;
  RETURN_IF_ERROR(flags.grpc.Validate());
  flags.serving.warm_up_requests =
      WarmUpRequestsUpTo(static_cast<size_t>(flags.grpc.max_message_mb) << 20);
  if (raw.rest_api_port != 0) {
    flags.http = http;
    flags.http->port = raw.rest_api_port;
    flags.http->max_message_mb = flags.grpc.max_message_mb;
    flags.http->admin = flags.grpc.admin;
    flags.http->connection_idle_seconds =
        flags.grpc.connection_idle_seconds.value_or(http.connection_idle_seconds);
    RETURN_IF_ERROR(flags.http->Validate());
  }
  return flags.serving.Validate();
}

}  // namespace

std::optional<int> ParseServerFlags(int argc, char** argv, ServerFlags& flags) {
  CommandLine app("Serves ONNX models over gRPC and HTTP.", "baton-server");
  RawFlags raw;
  HttpOptions http;
  AddFlags(app, raw, http, flags);
  std::vector<std::pair<std::string, Flag>> meaningless;
  for (const char* name : kMeaningless) {
    const std::string flag = absl::StrCat("--", name);
    meaningless.emplace_back(flag,
                             app.AddFunction(
                                    flag, [](const std::string&) { return absl::OkStatus(); }, "")
                                 .Hidden());
  }
  if (const std::optional<int> exit_code = app.Parse(argc, argv)) return exit_code;
  if (const absl::Status status = Apply(raw, http, flags); !status.ok()) {
    std::cerr << "baton-server: " << status.message() << " (--help lists all flags)\n";
    return 2;
  }
  std::string named;
  for (const auto& [name, flag] : meaningless) {
    if (flag.count() > 0) absl::StrAppend(&named, named.empty() ? "" : ", ", name);
  }
  if (!named.empty()) {
    BATON_LOG(Warning) << "flags of TensorFlow that have no meaning here: " << named;
  }
  return std::nullopt;
}

}  // namespace baton::api

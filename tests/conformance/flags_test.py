"""Every flag of baton-server shows its effect on the server as a user runs it."""

import concurrent.futures
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import (BIN, Repository, Server, affine_model, batches, http_get,
                     run_server_to_its_end, wait_until)

# Whose effect other tests show, in tests/api and with the clients of this folder; but for the first,
# which is no setting, and the last, for which tests cannot count on enough cores.
ELSEWHERE = {"help", "ssl_config_file", "auth_token_file", "admin_token_file", "max_connections",
             "connection_idle_seconds", "enable_model_warmup", "grpc_max_threads"}


def predict(server, model="m", rows=1):
    """Status and body of a TensorFlow Serving REST call."""
    body = json.dumps({"instances": [[0.0, 0.0, 0.0, 0.0]] * rows}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.http_port}/v1/models/{model}:predict", data=body)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def offset_of(server, model="m"):
    """What the affine model that answers adds; None where none does."""
    status, body = predict(server, model)
    return body["predictions"][0][0] if status == 200 else None


def threads(server):
    """The names of the server's threads."""
    return [(task / "comm").read_text().strip()
            for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()]


def ask_at_once(server, requests):
    with concurrent.futures.ThreadPoolExecutor(requests) as pool:
        return [status for status, _ in pool.map(lambda _: predict(server), range(requests))]


class FlagsTest(unittest.TestCase):
    def setUp(self):
        self.repository = Repository().add("m", 1, affine_model(1))
        self.addCleanup(self.repository.remove)
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="baton-"))
        self.addCleanup(lambda: subprocess.run(["rm", "-rf", self.scratch], check=True))

    def server(self, *flags, repository=True, **options):
        return self.enterContext(
            Server(self.repository if repository else None, *flags, **options))

    def file(self, name, text):
        """Written whole, as a rename does."""
        (self.scratch / f".{name}").write_text(text)
        (self.scratch / f".{name}").rename(self.scratch / name)
        return self.scratch / name

    def config(self, *versions):
        return "model_config_list {" + "".join(
            f' config {{ name: "{name}" base_path: "{self.repository.path / "m"}" '
            f"model_version_policy {{ specific {{ versions: {version} }} }} }}"
            for name, version in versions) + " }"

    def cli(self, server, *arguments):
        return subprocess.run([BIN / "baton", arguments[0], f"--server={server.address}",
                               *arguments[1:]], capture_output=True, text=True, timeout=60)

    def test_every_flag_has_a_test(self):
        text = subprocess.run([BIN / "baton-server", "--help"], capture_output=True, text=True,
                              check=True).stdout
        flags = set(re.findall(r"^ +(?:-\w,)?--(\w+)", text, re.MULTILINE))
        self.assertGreater(len(flags), 30)
        untested = {flag for flag in flags - ELSEWHERE if not hasattr(self, f"test_{flag}")}
        self.assertEqual(untested, set())

    def test_version(self):
        result = subprocess.run([BIN / "baton-server", "--version"], capture_output=True, text=True,
                                check=True)
        self.assertRegex(result.stdout, r"\d+\.\d+\.\d+")

    def test_port(self):
        server = self.server()
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            self.assertTrue(client.is_server_live())

    def test_rest_api_port(self):
        server = self.server()
        self.assertEqual(http_get(server.http_port, "/healthz")[0], 200)
        log = self.scratch / "log"
        with log.open("w") as file, subprocess.Popen(
                [BIN / "baton-server", f"--model_repository={self.repository.path}", "--port=0",
                 "--rest_api_port=0"], stderr=file) as off:
            wait_until(lambda: "HTTP off" in log.read_text(), "a server without HTTP")
            off.terminate()

    def test_grpc_socket_path(self):
        path = self.scratch / "socket"
        self.server(f"--grpc_socket_path={path}")
        with triton.InferenceServerClient(f"unix:{path}") as client:
            self.assertTrue(client.is_server_live())

    def test_rest_api_num_threads(self):
        few, many = (self.server(f"--rest_api_num_threads={n}") for n in (2, 7))

        def unnamed(server):  # the pool's; gRPC's have names, and there are now more, now fewer
            return threads(server).count("baton-server")
        wait_until(lambda: unnamed(many) - unnamed(few) == 5, "five more threads")

    def test_rest_api_timeout_in_ms(self):
        parameters = self.file("batching", "max_batch_size { value: 8 } "
                               "batch_timeout_micros { value: 300000 }")
        server = self.server("--rest_api_timeout_in_ms=20",
                             f"--batching_parameters_file={parameters}")
        status, body = predict(server)
        self.assertEqual(status, 504, body)

    def test_model_base_path(self):
        server = self.server(f"--model_base_path={self.repository.path / 'm'}", repository=False)
        self.assertEqual(offset_of(server, "default"), 1)

    def test_model_name(self):
        server = self.server(f"--model_base_path={self.repository.path / 'm'}",
                             "--model_name=other", repository=False)
        self.assertEqual(offset_of(server, "other"), 1)

    def test_model_repository(self):
        server = self.server()
        self.repository.add("later", 1, affine_model(5))
        wait_until(lambda: offset_of(server, "later") == 5, "a model that appears")

    def test_model_control_mode(self):
        server = self.server("--model_control_mode=explicit")
        self.assertEqual(predict(server)[0], 404)
        self.assertEqual(self.cli(server, "load", "--model=m").returncode, 0)
        self.assertEqual(offset_of(server), 1)
        self.assertEqual(self.cli(server, "unload", "--model=m").returncode, 0)
        self.assertEqual(predict(server)[0], 404)

    def test_load_model(self):
        self.repository.add("n", 1, affine_model(2))
        server = self.server("--model_control_mode=explicit", "--load_model=n")
        wait_until(lambda: offset_of(server, "n") == 2, "the model to load")
        self.assertEqual(predict(server, "m")[0], 404)

    def test_model_config_file(self):
        server = self.server(f"--model_config_file={self.file('c', self.config(('a', 1)))}",
                             repository=False)
        self.assertEqual(offset_of(server, "a"), 1)

    def test_model_config_file_poll_wait_seconds(self):
        file = self.file("c", self.config(("a", 1)))
        server = self.server(f"--model_config_file={file}",
                             "--model_config_file_poll_wait_seconds=0.1", repository=False)
        self.file("c", self.config(("b", 1)))
        wait_until(lambda: offset_of(server, "b") == 1, "the model of the new file")
        wait_until(lambda: predict(server, "a")[0] == 404, "the end of the one of the old")

    def test_file_system_poll_wait_seconds(self):
        once = self.server("--file_system_poll_wait_seconds=0")
        often = self.server("--file_system_poll_wait_seconds=0.1")
        self.repository.add("m", 2, affine_model(2))
        wait_until(lambda: offset_of(often) == 2, "the new version")
        self.assertEqual(offset_of(once), 1)

    def batching_file(self):
        return self.file("batching", "max_batch_size { value: 8 } "
                         "batch_timeout_micros { value: 500000 }")

    def test_batching_parameters_file(self):
        server = self.server(f"--batching_parameters_file={self.batching_file()}")
        self.assertEqual(ask_at_once(server, 8), [200] * 8)
        count, rows = batches(server)
        self.assertEqual(rows, 8)
        self.assertLess(count, 8)

    def test_enable_batching(self):
        server = self.server("--enable_batching=false",
                             f"--batching_parameters_file={self.batching_file()}")
        self.assertEqual(ask_at_once(server, 8), [200] * 8)
        self.assertEqual(batches(server), [8, 8])

    def test_enable_per_model_batching_parameters(self):
        version = self.repository.path / "m/2"
        version.mkdir()
        (version / "batching_params.pbtxt").write_text(
            "max_batch_size { value: 4 } batch_timeout_micros { value: 500000 }")
        (version / "model.onnx").write_bytes(affine_model(2))
        server = self.server("--enable_per_model_batching_parameters")
        wait_until(lambda: offset_of(server) == 2, "version 2")
        before = batches(server)
        self.assertEqual(ask_at_once(server, 4), [200] * 4)
        count, rows = (after - b for after, b in zip(batches(server), before))
        self.assertEqual(rows, 4)
        self.assertLess(count, 4)

    def test_allow_version_labels_for_unavailable_models(self):
        label = ("label", "--model=m", "--label=next", "--version=2")
        self.assertNotEqual(self.cli(self.server(), *label).returncode, 0)
        server = self.server("--allow_version_labels_for_unavailable_models")
        self.assertEqual(self.cli(server, *label).returncode, 0)

    def failures(self, server):
        return sum(map(float, re.findall(r"^baton_model_load_failures_total{.*} (\S+)$",
                                         server.metrics(), re.MULTILINE)))

    def loads_of_a_bad_model(self, *flags):
        """A server that loads one, and how many times it has tried."""
        if not (self.repository.path / "bad").exists():
            self.repository.add("bad", 1, b"no model")
        server = self.server("--file_system_poll_wait_seconds=0.1", *flags, ready=False)
        return server, lambda: server.log().count('"bad" version 1: failed')

    def test_max_num_load_retries(self):
        server, loads = self.loads_of_a_bad_model("--max_num_load_retries=2",
                                                  "--load_retry_interval_micros=1000")
        wait_until(lambda: self.failures(server) == 1, "the last failure")
        self.assertEqual(loads(), 3)

    def test_load_retry_interval_micros(self):
        _, often = self.loads_of_a_bad_model("--max_num_load_retries=50",
                                             "--load_retry_interval_micros=1000")
        _, seldom = self.loads_of_a_bad_model("--max_num_load_retries=50",
                                              "--load_retry_interval_micros=3600000000")
        wait_until(lambda: seldom() == 1, "the first load")
        wait_until(lambda: often() > 5, "more of them")
        self.assertEqual(seldom(), 1)

    def test_num_load_threads(self):
        for name in "abcdef":
            self.repository.add(name, 1, affine_model(1))
        found = [sum("load" in name for name in threads(self.server(f"--num_load_threads={n}")))
                 for n in (1, 5)]
        self.assertEqual(found[1] - found[0], 4, found)

    def test_monitoring_config_file(self):
        file = self.file("monitoring", 'prometheus_config { enable: true path: "/numbers" }')
        server = self.server(f"--monitoring_config_file={file}")
        self.assertIn("baton_build_info", http_get(server.http_port, "/numbers")[1])

    def test_grpc_channel_arguments(self):
        server = self.server("--grpc_channel_arguments=grpc.max_metadata_size=4000")
        with triton.InferenceServerClient(server.address) as client:
            self.assertTrue(client.is_server_live())
            with self.assertRaises(InferenceServerException):
                client.is_server_live(headers={"long": "x" * 7000})

    def test_grpc_poll_spin_us(self):
        # A second in which nobody asks is a second of CPU time.
        def idle_cpu(server):
            def used():
                return sum(int((task / "schedstat").read_text().split()[0]) for task in
                           pathlib.Path(f"/proc/{server.process.pid}/task").iterdir())
            predict(server)
            with triton.InferenceServerClient(server.address) as client:
                before = used()
                for _ in range(50):
                    client.is_server_live()
                    time.sleep(0.01)
                return used() - before
        sleeping = idle_cpu(self.server())
        spinning = idle_cpu(self.server("--grpc_poll_spin_us=100000"))
        self.assertGreater(spinning, 2 * sleeping)

    def test_enable_grpc_healthcheck_service(self):
        for flags, code in (((), grpc.StatusCode.OK),
                            (("--enable_grpc_healthcheck_service=false",),
                             grpc.StatusCode.UNIMPLEMENTED)):
            with grpc.insecure_channel(self.server(*flags).address) as channel:
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                _, call = check.with_call(b"") if code == grpc.StatusCode.OK else (None, None)
                if call is not None:
                    self.assertEqual(call.code(), code)
                    continue
                with self.assertRaises(grpc.RpcError) as caught:
                    check(b"")
                self.assertEqual(caught.exception.code(), code)

    def test_workers(self):
        server = self.server("--workers=5")
        self.assertEqual(sum(name.startswith("worker-") for name in threads(server)), 5)

    def test_threads_per_worker(self):
        code, lines = run_server_to_its_end(f"--model_repository={self.repository.path}",
                                            "--threads_per_worker=none")
        self.assertEqual((code, len(lines)), (2, 1), lines)
        self.assertIn("--threads_per_worker=none", lines[0])
        self.assertEqual(offset_of(self.server("--threads_per_worker=1")), 1)

    def test_precision(self):
        self.assertEqual(offset_of(self.server("--precision=f32")), 1)
        self.assertEqual(offset_of(self.server("--precision=auto")), 1)
        server = self.server("--precision=int8", ready=False)  # of a model that is not quantized
        wait_until(lambda: self.failures(server) == 1, "the refusal of a model")
        code, lines = run_server_to_its_end(f"--model_repository={self.repository.path}",
                                            "--precision=f7")
        self.assertEqual((code, len(lines)), (2, 1), lines)
        self.assertIn("--precision=f7", lines[0])

    def test_memory_limit_mb(self):
        server = self.server("--memory_limit_mb=1", ready=False)
        wait_until(lambda: self.failures(server) == 1, "the refusal of a model")
        status, body = http_get(server.http_port, "/v1/models/m")
        self.assertIn("--memory_limit_mb", body, status)

    def test_drain_seconds(self):
        # A tenth of it passes between "not ready" and the first refusal.
        server = self.server(drain_seconds=20)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: http_get(server.http_port, "/readyz")[0] == 503, "not ready")
        self.assertEqual(offset_of(server), 1)
        self.assertEqual(server.process.wait(60), 0)

    def test_max_message_mb(self):
        server = self.server("--max_message_mb=1")
        x = triton.InferInput("x", [1 << 17, 4], "FP32")
        x.set_data_from_numpy(np.zeros((1 << 17, 4), np.float32))
        with triton.InferenceServerClient(server.address) as client:
            with self.assertRaises(InferenceServerException) as caught:
                client.infer("m", [x])
        self.assertIn("RESOURCE_EXHAUSTED", caught.exception.status())

    def test_admin(self):
        load = ("load", "--model=m")
        allowed = self.server("--model_control_mode=explicit", "--admin=local")
        self.assertEqual(self.cli(allowed, *load).returncode, 0)
        refused = self.cli(self.server("--model_control_mode=explicit", "--admin=off"), *load)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--admin", refused.stderr)

    def test_flags_without_meaning_are_named(self):
        server = self.server("--tensorflow_session_parallelism=4", "--num_unload_threads=2")
        self.assertRegex(server.log(), r"no meaning here: .*tensorflow_session_parallelism")
        self.assertRegex(server.log(), r"no meaning here: .*num_unload_threads")


if __name__ == "__main__":
    unittest.main()

"""What no client should send and no operator should type: one clear line or status each, and the
server goes on."""

import errno
import os
import pathlib
import pwd
import socket
import subprocess
import tempfile
import unittest

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import (BIN, Repository, Server, affine_model, free_port, http_get,
                     run_server_to_its_end, wait_until)


def infer(client, values):
    x = triton.InferInput("x", list(values.shape), "FP32")
    x.set_data_from_numpy(values)
    return client.infer("affine", [x]).as_numpy("y")


def throw_at(port, garbage):
    """Sends `garbage` and reads until the server closes; that it closes early is right, too."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        try:
            s.sendall(garbage)
            s.shutdown(socket.SHUT_WR)
            while s.recv(1 << 16):
                pass
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise  # above all a time-out: the server hangs


class WrongInputTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 1, affine_model(1))
        cls.addClassCleanup(cls.repository.remove)
        # Shared, so that what one test does would show in the next, and in the server's end.
        cls.server = cls.enterClassContext(Server(cls.repository))

    def setUp(self):
        self.client = triton.InferenceServerClient(self.server.address)
        self.addCleanup(self.client.close)

    def assert_serves(self):
        values = np.ones((2, 4), np.float32)
        with triton.InferenceServerClient(self.server.address) as client:
            np.testing.assert_array_equal(infer(client, values), values + 1)

    def test_garbage_on_the_grpc_port(self):
        noise = np.random.default_rng(1).bytes(1 << 16)
        for garbage in (b"\0", b"GET / HTTP/1.1\r\n\r\n", noise,
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise):
            throw_at(self.server.port, garbage)
            self.assert_serves()

    def test_garbage_on_the_http_port(self):
        noise = np.random.default_rng(2).bytes(1 << 16)
        for garbage in (b"\r\n\r\n", noise, b"POST /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
            throw_at(self.server.http_port, garbage)
            self.assertEqual(http_get(self.server.http_port, "/healthz")[0], 200)

    def test_garbage_as_a_message(self):
        noise = np.random.default_rng(3).bytes(1 << 10)
        with grpc.insecure_channel(self.server.address) as channel:
            for method in ("/tensorflow.serving.PredictionService/Predict",
                           "/inference.GRPCInferenceService/ModelInfer"):
                with self.subTest(method), self.assertRaises(grpc.RpcError) as caught:
                    channel.unary_unary(method)(noise, timeout=30)
                self.assertIn(caught.exception.code(),
                              (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL))
            with self.assertRaises(grpc.RpcError) as caught:
                channel.unary_unary("/no.such.Service/Call")(b"", timeout=30)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.assert_serves()

    def test_message_of_100_megabytes(self):
        with self.assertRaises(InferenceServerException) as caught:
            infer(self.client, np.zeros((100 << 20 >> 4, 4), np.float32))
        self.assertEqual(caught.exception.status(), "StatusCode.RESOURCE_EXHAUSTED")
        self.assert_serves()

    def test_batch_over_the_limit(self):
        repository = Repository().add("affine", 1, affine_model(1))
        self.addCleanup(repository.remove)
        (repository.path / "affine/config.pbtxt").write_text("max_batch_size: 8\n")
        with Server(repository) as server, \
                triton.InferenceServerClient(server.address) as client:
            np.testing.assert_array_equal(infer(client, np.zeros((8, 4), np.float32)),
                                          np.ones((8, 4)))
            with self.assertRaises(InferenceServerException) as caught:
                infer(client, np.zeros((9, 4), np.float32))
            self.assertEqual(caught.exception.status(), "StatusCode.INVALID_ARGUMENT")
            self.assertIn("9", caught.exception.message())
            self.assertIn("8", caught.exception.message())


class WrongStartTest(unittest.TestCase):
    def assert_one_line(self, code, *words, flags):
        returned, lines = run_server_to_its_end(*flags)
        self.assertEqual(returned, code, lines)
        # Log lines may stand before it; what a user reads last says what is wrong.
        for word in words:
            self.assertIn(word, lines[-1])
        self.assertLessEqual(len(lines), 1 if code == 2 else 4, lines)

    def test_port_in_use(self):
        repository = Repository().add("affine", 1, affine_model(1))
        self.addCleanup(repository.remove)
        where = f"--model_repository={repository.path}"
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assert_one_line(1, str(port), "in use",
                                 flags=[where, f"--port={port}", f"--rest_api_port={free_port()}"])
            self.assert_one_line(1, str(port), "in use",
                                 flags=[where, f"--port={free_port()}", f"--rest_api_port={port}"])

    def test_second_server_on_the_same_port(self):
        repository = Repository().add("affine", 1, affine_model(1))
        self.addCleanup(repository.remove)
        with Server(repository) as server:
            self.assert_one_line(1, str(server.port), "in use", flags=[
                f"--model_repository={repository.path}", f"--port={server.port}",
                f"--rest_api_port={free_port()}"])

    def test_repository_that_does_not_exist(self):
        self.assert_one_line(1, "/no/such/repository", flags=[
            "--model_repository=/no/such/repository", f"--port={free_port()}",
            f"--rest_api_port={free_port()}"])

    def test_repository_that_is_a_file(self):
        with tempfile.NamedTemporaryFile() as file:
            self.assert_one_line(1, file.name, flags=[
                f"--model_repository={file.name}", f"--port={free_port()}",
                f"--rest_api_port={free_port()}"])

    def test_repository_that_is_not_readable(self):
        if os.geteuid() == 0:  # root reads everything: be somebody else
            nobody = pwd.getpwnam("nobody")
            drop = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}",
                    "--clear-groups"]
        else:
            drop = []
        repository = Repository()
        self.addCleanup(repository.remove)
        repository.path.chmod(0o000)
        # The program itself must be readable to that user: run a copy.
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory).chmod(0o755)
            program = pathlib.Path(directory) / "baton-server"
            program.write_bytes((BIN / "baton-server").read_bytes())
            program.chmod(0o755)
            result = subprocess.run(
                [*drop, program, f"--model_repository={repository.path}", f"--port={free_port()}",
                 f"--rest_api_port={free_port()}"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                cwd="/")
        self.assertEqual(result.returncode, 1, result.stderr)
        last = result.stderr.splitlines()[-1]
        self.assertIn(str(repository.path), last)
        self.assertIn("read", last)

    def test_empty_repository_is_alive_but_not_ready_until_a_model_comes(self):
        repository = Repository()
        self.addCleanup(repository.remove)
        with Server(repository, ready=False) as server:
            self.assertEqual(http_get(server.http_port, "/healthz")[0], 200)
            self.assertEqual(http_get(server.http_port, "/readyz")[0], 503)
            with triton.InferenceServerClient(server.address) as client:
                self.assertTrue(client.is_server_live())
                self.assertFalse(client.is_server_ready())
            repository.add("affine", 1, affine_model(1))
            wait_until(lambda: http_get(server.http_port, "/readyz")[0] == 200, "/readyz")

    def test_wrong_flags(self):
        with tempfile.TemporaryDirectory() as directory:
            self.assert_one_line(2, "--model_repositry", "--model_repository",
                                 flags=[f"--model_repositry={directory}"])
            where = f"--model_repository={directory}"
            self.assert_one_line(2, "--port", flags=[where, "--port=many"])
            self.assert_one_line(2, "--port", flags=[where, "--port=70000"])
            self.assert_one_line(2, "--model_control_mode",
                                 flags=[where, "--model_control_mode=sometimes"])
            self.assert_one_line(2, "--precision", flags=[where, "--precision=f31"])
            self.assert_one_line(2, "--workers", flags=[where, "--workers=-1"])
        self.assert_one_line(2, "--model_repository", flags=[])

    def test_help_and_version(self):
        for flag, expected in (("--help", "--model_repository"), ("--version", r"\d+\.\d+")):
            result = subprocess.run([BIN / "baton-server", flag], capture_output=True, text=True,
                                    timeout=60)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertRegex(result.stdout, expected)


if __name__ == "__main__":
    unittest.main()

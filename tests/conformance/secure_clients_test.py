"""Triton's own Python clients, unchanged, against a server with TLS that verifies its clients and
with bearer tokens; `baton` the same way; and what such a server leaves on the disk."""

import pathlib
import subprocess
import tempfile
import unittest

import gevent.ssl
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from support import BIN, LIMIT, Certificates, Repository, Server, affine_model, http_get

VALUES = np.arange(8, dtype=np.float32).reshape(2, 4)


def bearer(token):
    """New each time: the HTTP client adds its own headers to what it is given."""
    return {"authorization": f"Bearer {token}"}


def infer(module, client, **options):
    x = module.InferInput("x", list(VALUES.shape), "FP32")
    x.set_data_from_numpy(VALUES)
    return client.infer("affine", [x], **options).as_numpy("y")


class SecureClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.certificates = Certificates()
        cls.addClassCleanup(cls.certificates.remove)
        # Where a program might write to.
        cls.home = tempfile.TemporaryDirectory(prefix="baton-")
        cls.addClassCleanup(cls.home.cleanup)
        cls.repository = Repository().add("affine", 7, affine_model(7))
        cls.addClassCleanup(cls.repository.remove)
        files = {
            "ssl.pbtxt": "server_key: 'server.key' server_cert: 'server.crt' "
                         "custom_ca: 'ca.crt' client_verify: true",
            "tokens": "reader\n", "admin_tokens": "chief\n"}
        for name, text in files.items():
            pathlib.Path(cls.certificates / name).write_text(text)
        cls.server = cls.enterClassContext(Server(
            cls.repository, f"--ssl_config_file={cls.certificates / 'ssl.pbtxt'}",
            f"--auth_token_file={cls.certificates / 'tokens'}",
            f"--admin_token_file={cls.certificates / 'admin_tokens'}",
            "--model_control_mode=explicit", "--load_model=affine",
            tls=cls.certificates.client_context(), cwd=cls.home.name,
            env={"HOME": cls.home.name, "TMPDIR": cls.home.name}))

    def grpc_client(self, **changes):
        options = {"ssl": True, "root_certificates": self.certificates / "ca.crt",
                   "private_key": self.certificates / "client.key",
                   "certificate_chain": self.certificates / "client.crt"} | changes
        client = triton_grpc.InferenceServerClient(self.server.address, **options)
        self.addCleanup(client.close)
        return client

    def http_client(self, with_certificate=True):
        options = {"ca_certs": self.certificates / "ca.crt"}
        if with_certificate:
            options |= {"certfile": self.certificates / "client.crt",
                        "keyfile": self.certificates / "client.key"}
        client = triton_http.InferenceServerClient(
            f"127.0.0.1:{self.server.http_port}", ssl=True, ssl_options=options,
            ssl_context_factory=gevent.ssl.create_default_context)
        self.addCleanup(client.close)
        return client

    def test_grpc_infer(self):
        client = self.grpc_client()
        self.assertTrue(client.is_server_ready())
        np.testing.assert_array_equal(infer(triton_grpc, client, headers=bearer("reader")),
                                      VALUES + 7)

    def test_grpc_stream(self):
        client, replies = self.grpc_client(), []
        client.start_stream(lambda result, error: replies.append((result, error)),
                            headers=bearer("reader"))
        x = triton_grpc.InferInput("x", list(VALUES.shape), "FP32")
        x.set_data_from_numpy(VALUES)
        client.async_stream_infer("affine", [x])
        client.stop_stream()
        [(result, error)] = replies
        self.assertIsNone(error)
        np.testing.assert_array_equal(result.as_numpy("y"), VALUES + 7)

    def test_http_infer(self):
        client = self.http_client()
        self.assertTrue(client.is_server_ready())
        for _ in range(3):  # over a connection that stays open
            np.testing.assert_array_equal(infer(triton_http, client, headers=bearer("reader")),
                                          VALUES + 7)

    def test_model_control_needs_an_admin_token(self):
        for client, code in ((self.grpc_client(), "StatusCode.UNAUTHENTICATED"),
                             (self.http_client(), "401")):
            for headers in (None, bearer("reader")):
                with self.assertRaises(InferenceServerException) as caught:
                    client.load_model("affine", headers=headers)
                self.assertEqual(caught.exception.status(), code)
            client.load_model("affine", headers=bearer("chief"))

    def test_missing_and_wrong_tokens(self):
        for module, client, code in (
                (triton_grpc, self.grpc_client(), "StatusCode.UNAUTHENTICATED"),
                (triton_http, self.http_client(), "401")):
            for headers in (None, bearer("nobody")):
                with self.assertRaises(InferenceServerException) as caught:
                    infer(module, client, headers=headers)
                self.assertEqual(caught.exception.status(), code)

    def test_clients_without_a_certificate(self):
        client = self.grpc_client(private_key=None, certificate_chain=None)
        with self.assertRaises(InferenceServerException) as caught:
            client.is_server_live()
        self.assertEqual(caught.exception.status(), "StatusCode.UNAVAILABLE")
        with self.assertRaises(OSError):
            self.http_client(with_certificate=False).is_server_live()

    def baton(self, *arguments, token="tokens"):
        return subprocess.run(
            [BIN / "baton", *arguments, f"--server={self.server.address}",
             f"--tls-ca={self.certificates / 'ca.crt'}",
             f"--tls-cert={self.certificates / 'client.crt'}",
             f"--tls-key={self.certificates / 'client.key'}",
             f"--token-file={self.certificates / token}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT)

    def test_baton_command(self):
        for command in (["status"], ["models"], ["metadata", "--model=affine"],
                        ["predict", "--model=affine", "--json-input=[[1, 2, 3, 4]]"]):
            result = self.baton(*command)
            self.assertEqual((result.returncode, result.stderr), (0, ""), command)
        result = self.baton("bench", "--model=affine", "--requests=50", "--warm-up=0", "--json",
                            "--quiet", "--fail-on-error")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.baton("load", "--model=affine").returncode, 1)
        result = self.baton("load", "--model=affine", token="admin_tokens")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_disk_is_left_alone(self):
        before = sorted(self.repository.path.rglob("*"))
        infer(triton_grpc, self.grpc_client(), headers=bearer("reader"))
        self.assertEqual(sorted(self.repository.path.rglob("*")), before)
        self.assertEqual(list(pathlib.Path(self.home.name).iterdir()), [])

    def test_metrics_are_open(self):
        status, body = http_get(self.server.http_port, "/metrics",
                                self.certificates.client_context())
        self.assertEqual(status, 200)
        self.assertIn("baton_build_info", body)


if __name__ == "__main__":
    unittest.main()

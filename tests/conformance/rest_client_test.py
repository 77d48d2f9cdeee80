"""REST by clients that other people made: Triton's HTTP client, and Python's own for TensorFlow
Serving's protocol, which has none."""

import gzip
import json
import unittest
import urllib.error
import urllib.request

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from support import LIMIT, Repository, Server, affine_model, cast_model

MAX_BYTES = 64 << 20  # --max_message_mb by default


def affine_input(values, binary=True):
    x = triton.InferInput("x", list(values.shape), "FP32")
    x.set_data_from_numpy(values, binary_data=binary)
    return x


class RestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 6, affine_model(6))
        cls.repository.add("affine", 7, affine_model(7)).add("cast", 1, cast_model())
        (cls.repository.path / "affine/config.pbtxt").write_text("version_policy { all {} }\n")
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))


class TritonHttpClientTest(RestTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = triton.InferenceServerClient(f"127.0.0.1:{cls.server.http_port}",
                                                  concurrency=4)
        cls.addClassCleanup(cls.client.close)

    def assert_fails(self, code, *words, call):
        with self.assertRaises(InferenceServerException) as caught:
            call()
        self.assertEqual(str(caught.exception.status()), str(code))
        for word in words:
            self.assertIn(word, caught.exception.message())

    def test_server_and_model_are_live_and_ready(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("affine"))
        self.assertTrue(self.client.is_model_ready("affine", "7"))
        self.assertFalse(self.client.is_model_ready("affine", "8"))
        self.assertFalse(self.client.is_model_ready("nope"))

    def test_metadata(self):
        server = self.client.get_server_metadata()
        self.assertEqual(server["name"], "baton")
        self.assertIn("binary_tensor_data", server["extensions"])
        metadata = self.client.get_model_metadata("affine")
        self.assertEqual(metadata["versions"], ["7", "6"])
        self.assertEqual(metadata["inputs"],
                         [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}])
        self.assert_fails(404, "nope", call=lambda: self.client.get_model_metadata("nope"))

    def test_config_and_statistics(self):
        config = self.client.get_model_config("affine")
        self.assertEqual(config["name"], "affine")
        self.assertEqual(config["input"][0]["name"], "x")
        self.client.infer("affine", [affine_input(np.zeros((1, 4), np.float32))])
        statistics = self.client.get_inference_statistics("affine", "7")["model_stats"]
        self.assertEqual(len(statistics), 1)
        self.assertGreaterEqual(statistics[0]["inference_stats"]["success"]["count"], 1)

    def test_repository_index(self):
        index = self.client.get_model_repository_index()
        self.assertEqual(sorted((m["name"], m["version"], m["state"]) for m in index),
                         [("affine", "6", "READY"), ("affine", "7", "READY"),
                          ("cast", "1", "READY")])

    def test_infer_as_json_and_as_binary(self):
        values = np.array([[0.1, -2.5, 3e38, 1e-40], [5, 6, 7, 8]], np.float32)
        for sent in (True, False):
            for received in (True, False):
                with self.subTest(sent=sent, received=received):
                    result = self.client.infer(
                        "affine", [affine_input(values, sent)], request_id="42",
                        outputs=[triton.InferRequestedOutput("y", binary_data=received)])
                    np.testing.assert_array_equal(result.as_numpy("y"), values + np.float32(7))
                    self.assertEqual(result.get_response()["model_version"], "7")
                    self.assertEqual(result.get_response()["id"], "42")

    def test_infer_of_one_version_and_of_all_outputs(self):
        values = np.zeros((1, 4), np.float32)
        result = self.client.infer("affine", [affine_input(values)], model_version="6")
        np.testing.assert_array_equal(result.as_numpy("y"), values + 6)

    def test_infer_with_several_inputs_of_other_types(self):
        n = np.array([[1, -2], [2**53 + 1, 3]], np.int64)
        i = np.array([[5, 6], [-7, 8]], np.int32)
        for binary in (True, False):
            inputs = [triton.InferInput("i", [2, 2], "INT32"),
                      triton.InferInput("n", [2, 2], "INT64")]
            inputs[0].set_data_from_numpy(i, binary_data=binary)
            inputs[1].set_data_from_numpy(n, binary_data=True)
            outputs = [triton.InferRequestedOutput("twice", binary_data=False),
                       triton.InferRequestedOutput("real", binary_data=binary)]
            result = self.client.infer("cast", inputs, outputs=outputs)
            np.testing.assert_array_equal(result.as_numpy("twice"), n * 2)
            np.testing.assert_array_equal(result.as_numpy("real"), i.astype(np.float64))

    def test_compression(self):
        values = np.arange(8192, dtype=np.float32).reshape(2048, 4) % 16
        for request in ("gzip", "deflate", None):
            for response in ("gzip", "deflate", None):
                with self.subTest(request=request, response=response):
                    result = self.client.infer(
                        "affine", [affine_input(values)],
                        request_compression_algorithm=request,
                        response_compression_algorithm=response)
                    np.testing.assert_array_equal(result.as_numpy("y"), values + 7)

    def test_async_infer(self):
        handles = [self.client.async_infer("affine", [affine_input(np.full((1, 4), i, np.float32))])
                   for i in range(32)]
        for i, handle in enumerate(handles):
            np.testing.assert_array_equal(handle.get_result(timeout=60).as_numpy("y"),
                                          np.full((1, 4), i + 7))

    def test_errors(self):
        x = affine_input(np.zeros((1, 4), np.float32))
        infer = self.client.infer
        self.assert_fails(404, "nope", call=lambda: infer("nope", [x]))
        self.assert_fails(404, "8", call=lambda: infer("affine", [x], model_version="8"))
        wide = affine_input(np.zeros((1, 5), np.float32), binary=False)
        self.assert_fails(400, "x", "5", "4", call=lambda: infer("affine", [wide]))
        ints = triton.InferInput("x", [1, 4], "INT32")
        ints.set_data_from_numpy(np.zeros((1, 4), np.int32))
        self.assert_fails(400, "x", "INT32", "FP32", call=lambda: infer("affine", [ints]))
        self.assert_fails(400, "q", "y", call=lambda: infer(
            "affine", [x], outputs=[triton.InferRequestedOutput("q")]))
        self.assert_fails(400, "n", call=lambda: infer("cast", []))
        large = affine_input(np.zeros((MAX_BYTES // 16, 4), np.float32))
        self.assert_fails(413, "--max_message_mb", call=lambda: infer("affine", [large]))
        self.assertTrue(self.client.is_server_live(), "the client goes on")

    def test_nan_and_infinity_pass_through(self):
        values = np.array([[np.nan, np.inf, -np.inf, 0]], np.float32)
        result = self.client.infer("affine", [affine_input(values)])
        np.testing.assert_array_equal(result.as_numpy("y"), values + 7)


class TensorFlowRestTest(RestTest):
    def call(self, path, body=None, headers=None):
        """Status and JSON; a body that is not bytes is sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.http_port}{path}",
                                         data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as reply:
                data, code = reply.read(), reply.status
                if reply.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
        except urllib.error.HTTPError as error:
            data, code = error.read(), error.code
        return code, json.loads(data)

    def test_predict_rows_and_columns(self):
        rows = [[1.5, 2, 3, 4], [0.1, -0.25, 1e-3, 1e20]]
        expected = [[float(np.float32(v) + np.float32(7)) for v in row] for row in rows]
        code, reply = self.call("/v1/models/affine:predict", {"instances": rows})
        self.assertEqual(code, 200, reply)
        np.testing.assert_array_equal(np.float32(reply["predictions"]), np.float32(expected))
        code, reply = self.call("/v1/models/affine/versions/6:predict", {"inputs": {"x": [rows[0]]}})
        self.assertEqual((code, reply), (200, {"outputs": [[7.5, 8.0, 9.0, 10.0]]}))

    def test_predict_with_several_inputs(self):
        instances = [{"n": [1, 2], "i": [3, 4]}, {"n": [2**53 + 1, 0], "i": [5, 6]}]
        code, reply = self.call("/v1/models/cast:predict",
                                {"signature_name": "serving_default", "instances": instances})
        self.assertEqual((code, reply), (200, {"predictions": [
            {"twice": [2, 4], "real": [3.0, 4.0]}, {"twice": [2**54 + 2, 0], "real": [5.0, 6.0]}]}))
        code, reply = self.call("/v1/models/cast:predict",
                                {"inputs": {"n": [[1, 2]], "i": [[3, 4]]}})
        self.assertEqual((code, reply),
                         (200, {"outputs": {"twice": [[2, 4]], "real": [[3.0, 4.0]]}}))

    def test_nan_and_infinity_pass_through(self):
        rows = [[float("nan"), float("inf"), float("-inf"), 0.0]]
        code, reply = self.call("/v1/models/affine:predict", {"instances": rows})
        self.assertEqual(code, 200, reply)
        np.testing.assert_array_equal(reply["predictions"], np.float32(rows) + 7)

    def test_compression(self):
        rows = [[i % 7, 1, 2, 3] for i in range(2000)]
        code, reply = self.call(
            "/v1/models/affine:predict", gzip.compress(json.dumps({"instances": rows}).encode()),
            {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
        self.assertEqual(code, 200, reply)
        np.testing.assert_array_equal(reply["predictions"], np.float32(rows) + 7)

    def test_status_and_metadata(self):
        code, reply = self.call("/v1/models/affine")
        self.assertEqual(code, 200)
        self.assertEqual([(v["version"], v["state"]) for v in reply["model_version_status"]],
                         [("7", "AVAILABLE"), ("6", "AVAILABLE")])
        code, reply = self.call("/v1/models/affine/versions/6/metadata")
        self.assertEqual(code, 200)
        self.assertEqual(reply["model_spec"]["version"], "6")
        signature = reply["metadata"]["signature_def"]["signature_def"]["serving_default"]
        self.assertEqual(signature["inputs"]["x"]["dtype"], "DT_FLOAT")

    def test_errors(self):
        for expected, path, body, words in (
                (404, "/v1/models/nope:predict", {"instances": [[1]]}, "nope"),
                (404, "/v1/models/affine/versions/9:predict", {"instances": [[1]]}, "version 9"),
                (404, "/v1/models/affine/labels/stable:predict", {"instances": [[1]]}, "stable"),
                (400, "/v1/models/affine:predict", b"{\"instances\": [[1,", "line 1, column 19"),
                (400, "/v1/models/affine:predict", {"instances": [[1, 2]]}, "[?,4]"),
                (400, "/v1/models/affine:predict", {"instances": [["a"]]}, "expected a number"),
                (400, "/v1/models/affine:predict", {}, "neither"),
                (400, "/v1/models/cast:predict", {"inputs": {"n": [[1, 2]]}}, "\"i\""),
                (404, "/v1/models/affine:explain", {}, "no such path"),
                (405, "/v1/models/affine:predict", None, "POST"),
                (413, "/v1/models/affine:predict", b" " * (MAX_BYTES + 1), "--max_message_mb=64")):
            with self.subTest(path=path, words=words):
                code, reply = self.call(path, body)
                self.assertEqual(code, expected, reply)
                self.assertIn(words, reply["error"])


if __name__ == "__main__":
    unittest.main()

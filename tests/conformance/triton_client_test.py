"""Triton's own Python client, unchanged."""

import queue
import unittest

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import Repository, Server, affine_model, cast_model


def affine_input(values):
    x = triton.InferInput("x", list(values.shape), "FP32")
    x.set_data_from_numpy(values)
    return x


class TritonClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 7, affine_model(7))
        cls.repository.add("cast", 1, cast_model())
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))
        cls.client = triton.InferenceServerClient(cls.server.address)
        cls.addClassCleanup(cls.client.close)

    def assert_fails(self, code, *words, call):
        with self.assertRaises(InferenceServerException) as caught:
            call()
        self.assertEqual(caught.exception.status(), f"StatusCode.{code}")
        for word in words:
            self.assertIn(word, caught.exception.message())

    def test_server_and_model_are_live_and_ready(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("affine"))
        self.assertTrue(self.client.is_model_ready("affine", "7"))
        self.assertFalse(self.client.is_model_ready("affine", "8"))
        self.assertFalse(self.client.is_model_ready("nope"))

    def test_model_metadata(self):
        metadata = self.client.get_model_metadata("affine", as_json=True)
        self.assertEqual(metadata["name"], "affine")
        self.assertEqual(metadata["versions"], ["7"])
        self.assertEqual(metadata["inputs"],
                         [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}])
        self.assertEqual(metadata["outputs"],
                         [{"name": "y", "datatype": "FP32", "shape": ["-1", "4"]}])

    def test_infer(self):
        values = np.arange(12, dtype=np.float32).reshape(3, 4)
        result = self.client.infer("affine", [affine_input(values)], request_id="42",
                                   outputs=[triton.InferRequestedOutput("y")])
        np.testing.assert_array_equal(result.as_numpy("y"), values + 7)
        self.assertEqual(result.get_response().model_version, "7")
        self.assertEqual(result.get_response().id, "42")

    def test_infer_of_one_version(self):
        values = np.zeros((1, 4), np.float32)
        result = self.client.infer("affine", [affine_input(values)], model_version="7")
        np.testing.assert_array_equal(result.as_numpy("y"), values + 7)

    def test_infer_with_several_inputs_of_other_types(self):
        n = np.array([[1, -2], [2**40, 3]], np.int64)
        i = np.array([[5, 6], [-7, 8]], np.int32)
        inputs = [triton.InferInput("i", [2, 2], "INT32"), triton.InferInput("n", [2, 2], "INT64")]
        inputs[0].set_data_from_numpy(i)
        inputs[1].set_data_from_numpy(n)
        result = self.client.infer("cast", inputs)
        np.testing.assert_array_equal(result.as_numpy("twice"), n * 2)
        np.testing.assert_array_equal(result.as_numpy("real"), i.astype(np.float64))
        only = self.client.infer("cast", inputs, outputs=[triton.InferRequestedOutput("real")])
        self.assertIsNone(only.as_numpy("twice"))
        np.testing.assert_array_equal(only.as_numpy("real"), i.astype(np.float64))

    def test_async_infer(self):
        replies = queue.Queue()
        for i in range(64):
            self.client.async_infer(
                "affine", [affine_input(np.full((1, 4), i, np.float32))],
                lambda result, error, i=i: replies.put((i, result, error)))
        for _ in range(64):
            i, result, error = replies.get(timeout=60)
            self.assertIsNone(error)
            np.testing.assert_array_equal(result.as_numpy("y"), np.full((1, 4), i + 7))

    def test_errors(self):
        x = affine_input(np.zeros((1, 4), np.float32))
        infer = self.client.infer
        self.assert_fails("NOT_FOUND", "nope", call=lambda: infer("nope", [x]))
        self.assert_fails("NOT_FOUND", "8", call=lambda: infer("affine", [x], model_version="8"))
        self.assert_fails("NOT_FOUND", "seven",
                          call=lambda: infer("affine", [x], model_version="seven"))
        wide = affine_input(np.zeros((1, 5), np.float32))
        self.assert_fails("INVALID_ARGUMENT", "x", "5", "4", call=lambda: infer("affine", [wide]))
        flat = affine_input(np.zeros(4, np.float32))
        self.assert_fails("INVALID_ARGUMENT", "x", call=lambda: infer("affine", [flat]))
        none = affine_input(np.zeros((0, 4), np.float32))
        self.assert_fails("INVALID_ARGUMENT", "x", call=lambda: infer("affine", [none]))
        ints = triton.InferInput("x", [1, 4], "INT32")
        ints.set_data_from_numpy(np.zeros((1, 4), np.int32))
        self.assert_fails("INVALID_ARGUMENT", "x", "INT32", "FP32",
                          call=lambda: infer("affine", [ints]))
        other = triton.InferInput("z", [1, 4], "FP32")
        other.set_data_from_numpy(np.zeros((1, 4), np.float32))
        self.assert_fails("INVALID_ARGUMENT", "z", "x", call=lambda: infer("affine", [other]))
        self.assert_fails("INVALID_ARGUMENT", "q", "y", call=lambda: infer(
            "affine", [x], outputs=[triton.InferRequestedOutput("q")]))
        self.assert_fails("INVALID_ARGUMENT", "n", call=lambda: infer("cast", []))

    def test_nan_and_infinity_pass_through(self):
        values = np.array([[np.nan, np.inf, -np.inf, 0]], np.float32)
        result = self.client.infer("affine", [affine_input(values)])
        np.testing.assert_array_equal(result.as_numpy("y"), values + 7)


if __name__ == "__main__":
    unittest.main()

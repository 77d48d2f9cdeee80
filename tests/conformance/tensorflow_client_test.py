"""A TensorFlow Serving client from PyPI, unchanged."""

import os
import unittest

# The client's messages were generated for an old protobuf; only its Python implementation still
# takes them.
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"

import grpc
import numpy as np
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray

from support import Repository, Server, affine_model, cast_model


class TensorFlowClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 1, affine_model(1))
        cls.repository.add("affine", 2, affine_model(2)).add("cast", 1, cast_model())
        (cls.repository.path / "affine/config.pbtxt").write_text("version_policy { all {} }\n")
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))
        cls.client = TensorServingClient("127.0.0.1", cls.server.port)

    def predict(self, model, inputs, version=None):
        return self.client.predict_request(model, inputs, model_version=version)

    def test_latest_version(self):
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        reply = self.predict("affine", {"x": x})
        np.testing.assert_array_equal(tensor_proto_to_ndarray(reply.outputs["y"]), x + 2)
        self.assertEqual(reply.model_spec.version.value, 2)

    def test_named_version(self):
        x = np.zeros((1, 4), np.float32)
        reply = self.predict("affine", {"x": x}, version=1)
        np.testing.assert_array_equal(tensor_proto_to_ndarray(reply.outputs["y"]), x + 1)
        self.assertEqual(reply.model_spec.version.value, 1)

    def test_several_inputs_of_other_types(self):
        n = np.array([[1, -(2**50)]], np.int64)
        i = np.array([[3, 4]], np.int32)
        reply = self.predict("cast", {"n": n, "i": i})
        np.testing.assert_array_equal(tensor_proto_to_ndarray(reply.outputs["twice"]), n * 2)
        np.testing.assert_array_equal(tensor_proto_to_ndarray(reply.outputs["real"]),
                                      i.astype(np.float64))

    def test_errors(self):
        x = np.zeros((1, 4), np.float32)
        code = grpc.StatusCode
        for expected, model, inputs, version in (
                (code.NOT_FOUND, "nope", {"x": x}, None),
                (code.NOT_FOUND, "affine", {"x": x}, 9),
                (code.INVALID_ARGUMENT, "affine", {"z": x}, None),
                (code.INVALID_ARGUMENT, "affine", {"x": x.astype(np.float64)}, None),
                (code.INVALID_ARGUMENT, "affine", {"x": x[:, :3]}, None),
                (code.INVALID_ARGUMENT, "affine", {"x": x[0]}, None),
                (code.INVALID_ARGUMENT, "affine", {"x": x[:0]}, None),
                (code.INVALID_ARGUMENT, "affine", {"x": x, "z": x}, None),
                (code.INVALID_ARGUMENT, "affine", {}, None)):
            with self.subTest(model=model, version=version, inputs=list(inputs)):
                with self.assertRaises(grpc.RpcError) as caught:
                    self.predict(model, inputs, version)
                self.assertEqual(caught.exception.code(), expected)
                self.assertNotEqual(caught.exception.details(), "")


if __name__ == "__main__":
    unittest.main()

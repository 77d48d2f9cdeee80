"""KServe's own Python client, unchanged, over gRPC."""

import unittest

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

from support import (Repository, Server, affine_model, cast_model, simple_identity_model,
                     simple_model)


def infer_input(name, datatype, values, raw):
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=raw)
    return tensor


class KserveClientTest(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 7, affine_model(7))
        cls.repository.add("cast", 1, cast_model()).add("simple", 1, simple_model())
        cls.repository.add("simple_identity", 1, simple_identity_model())
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))

    async def asyncSetUp(self):
        self.client = InferenceGRPCClient(self.server.address)
        self.addAsyncCleanup(self.client.close)

    async def infer(self, model, inputs, **request):
        return await self.client.infer(InferRequest(model, inputs, **request))

    async def test_server_and_model_are_live_and_ready(self):
        self.assertTrue(await self.client.is_server_live())
        self.assertTrue(await self.client.is_server_ready())
        self.assertTrue(await self.client.is_model_ready("affine"))
        self.assertFalse(await self.client.is_model_ready("nope"))

    async def test_infer_with_raw_and_with_typed_contents(self):
        x = np.arange(12, dtype=np.float32).reshape(3, 4)
        for raw in (True, False):
            with self.subTest(raw=raw):
                reply = await self.infer("affine", [infer_input("x", "FP32", x, raw)],
                                         request_id="42")
                np.testing.assert_array_equal(reply.outputs[0].as_numpy(), x + 7)
                self.assertEqual((reply.model_name, reply.model_version, reply.id),
                                 ("affine", "7", "42"))

    async def test_several_inputs_of_other_types(self):
        n = np.array([[1, -2], [2**40, 3]], np.int64)
        i = np.array([[5, 6], [-7, 8]], np.int32)
        for raw in (True, False):
            with self.subTest(raw=raw):
                reply = await self.infer("cast", [infer_input("i", "INT32", i, raw),
                                                  infer_input("n", "INT64", n, raw)])
                outputs = {output.name: output.as_numpy() for output in reply.outputs}
                np.testing.assert_array_equal(outputs["twice"], n * 2)
                np.testing.assert_array_equal(outputs["real"], i.astype(np.float64))

    async def test_chosen_output_and_version(self):
        x = np.ones((1, 16), np.int32)
        reply = await self.infer(
            "simple", [infer_input(name, "INT32", x, True) for name in ("INPUT0", "INPUT1")],
            model_version="1", request_outputs=[RequestedOutput("OUTPUT1")])
        self.assertEqual([output.name for output in reply.outputs], ["OUTPUT1"])
        np.testing.assert_array_equal(reply.outputs[0].as_numpy(), x - x)

    async def test_strings(self):
        words = np.array([[f"wörd {i}".encode() for i in range(16)]], np.object_)
        for raw in (True, False):
            with self.subTest(raw=raw):
                reply = await self.infer("simple_identity",
                                         [infer_input("INPUT0", "BYTES", words, raw)])
                np.testing.assert_array_equal(reply.outputs[0].as_numpy(), words)

    async def test_errors(self):
        x = np.zeros((1, 4), np.float32)
        for code, word, model, name, values in (
                (grpc.StatusCode.NOT_FOUND, "nope", "nope", "x", x),
                (grpc.StatusCode.INVALID_ARGUMENT, "z", "affine", "z", x),
                (grpc.StatusCode.INVALID_ARGUMENT, "must be 4", "affine", "x", x[:, :3])):
            with self.subTest(word), self.assertRaises(grpc.RpcError) as caught, \
                    self.assertLogs("kserve.trace"):
                await self.infer(model, [infer_input(name, "FP32", values, True)])
            self.assertEqual(caught.exception.code(), code)
            self.assertIn(word, caught.exception.details())


if __name__ == "__main__":
    unittest.main()

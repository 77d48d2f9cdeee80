"""@grpc/grpc-js, the gRPC of Node.js: it shares no code with any other (see grpc_js_client.js)."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import unittest

import numpy as np

from support import (LIMIT, ROOT, TOOLS, Repository, Server, affine_model, installed,
                     simple_model)

CLIENT = pathlib.Path(__file__).parent / "grpc_js_client.js"


def to_base64(values):
    return base64.b64encode(values.tobytes()).decode()


class GrpcJsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 5, affine_model(5))
        cls.repository.add("simple", 1, simple_model())
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))
        node = shutil.which("node")
        assert node, "no node on PATH; run deploy/install-deps.sh test"
        cls.client = subprocess.Popen(
            [node, CLIENT, cls.server.address, ROOT / "proto"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "NODE_PATH": str(installed(TOOLS / "node_modules"))})
        cls.addClassCleanup(cls.end_client)

    @classmethod
    def end_client(cls):
        cls.client.stdin.close()
        assert cls.client.wait(LIMIT) == 0
        cls.client.stdout.close()

    def call(self, service, method, request):
        line = json.dumps({"service": service, "method": method, "request": request})
        self.client.stdin.write(line + "\n")
        self.client.stdin.flush()
        return json.loads(self.client.stdout.readline())

    def predict(self, model, shape, tensor):
        return self.call("tensorflow.serving.PredictionService", "Predict", {
            "model_spec": {"name": model},
            "inputs": {"x": {"dtype": "DT_FLOAT",
                             "tensor_shape": {"dim": [{"size": size} for size in shape]},
                             **tensor}}})

    def test_predict(self):
        x = np.arange(8, dtype=np.float32)
        for form, tensor in (("float_val", {"float_val": x.tolist()}),
                             ("tensor_content", {"tensor_content": to_base64(x)})):
            with self.subTest(form):
                reply = self.predict("affine", [2, 4], tensor)["reply"]
                self.assertEqual(reply["model_spec"]["version"]["value"], 5)
                y = reply["outputs"]["y"]
                self.assertEqual(y["dtype"], "DT_FLOAT")
                values = y.get("float_val") or np.frombuffer(
                    base64.b64decode(y["tensor_content"]), np.float32).tolist()
                self.assertEqual(values, (x + 5).tolist())

    def test_model_infer(self):
        a, b = np.arange(16, dtype=np.int32), np.ones(16, np.int32)
        tensors = [{"name": name, "datatype": "INT32", "shape": [1, 16]}
                   for name in ("INPUT0", "INPUT1")]
        typed = [{**tensor, "contents": {"int_contents": values.tolist()}}
                 for tensor, values in zip(tensors, (a, b))]
        for form, inputs in (
                ("typed", {"inputs": typed}),
                ("raw", {"inputs": tensors, "raw_input_contents": [to_base64(a), to_base64(b)]})):
            with self.subTest(form):
                reply = self.call("inference.GRPCInferenceService", "ModelInfer",
                                  {"model_name": "simple", "id": form, **inputs})["reply"]
                self.assertEqual((reply["model_name"], reply["model_version"], reply["id"]),
                                 ("simple", "1", form))
                self.assertEqual([o["name"] for o in reply["outputs"]], ["OUTPUT0", "OUTPUT1"])
                for raw, expected in zip(reply["raw_output_contents"], (a + b, a - b),
                                         strict=True):
                    np.testing.assert_array_equal(
                        np.frombuffer(base64.b64decode(raw), np.int32), expected)

    def test_metadata(self):
        reply = self.call("inference.GRPCInferenceService", "ModelMetadata",
                          {"name": "affine"})["reply"]
        self.assertEqual(reply["inputs"], [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}])
        reply = self.call("tensorflow.serving.ModelService", "GetModelStatus",
                          {"model_spec": {"name": "affine"}})["reply"]
        [status] = reply["model_version_status"]
        self.assertEqual((status["version"], status["state"]), (5, "AVAILABLE"))

    def test_health(self):
        reply = self.call("grpc.health.v1.Health", "Check", {"service": "affine"})
        self.assertEqual(reply, {"reply": {"status": "SERVING"}})

    def test_errors(self):
        values = {"float_val": [0, 0, 0]}
        for code, word, reply in (
                ("NOT_FOUND", "nope", self.predict("nope", [1, 3], values)),
                ("INVALID_ARGUMENT", "must be 4", self.predict("affine", [1, 3], values)),
                ("NOT_FOUND", "nope", self.call("inference.GRPCInferenceService", "ModelInfer",
                                                {"model_name": "nope"}))):
            self.assertEqual(reply.get("code"), code, reply)
            self.assertIn(word, reply["details"])


if __name__ == "__main__":
    unittest.main()

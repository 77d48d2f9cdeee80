"""A TensorFlow Serving client from PyPI, unchanged (see tensorflow_client.py)."""

import json
import pathlib
import subprocess
import sys
import unittest

import numpy as np

from support import Repository, Server, affine_model, cast_model

CLIENT = pathlib.Path(__file__).parent / "tensorflow_client.py"


class TensorFlowClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 1, affine_model(1))
        cls.repository.add("affine", 2, affine_model(2)).add("cast", 1, cast_model())
        (cls.repository.path / "affine/config.pbtxt").write_text("version_policy { all {} }\n")
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))
        cls.client = subprocess.Popen([sys.executable, CLIENT, str(cls.server.port)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.end_client)

    @classmethod
    def end_client(cls):
        cls.client.stdin.close()
        assert cls.client.wait(60) == 0
        cls.client.stdout.close()

    def predict(self, model, inputs, version=None):
        call = {"model": model, "version": version,
                "inputs": {name: {"dtype": str(x.dtype), "shape": x.shape, "values": x.tolist()}
                           for name, x in inputs.items()}}
        self.client.stdin.write(json.dumps(call) + "\n")
        self.client.stdin.flush()
        return json.loads(self.client.stdout.readline())

    def test_latest_version(self):
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        reply = self.predict("affine", {"x": x})
        self.assertEqual(reply, {"version": 2, "outputs": {"y": (x + 2).tolist()}})

    def test_named_version(self):
        x = np.zeros((1, 4), np.float32)
        reply = self.predict("affine", {"x": x}, version=1)
        self.assertEqual(reply, {"version": 1, "outputs": {"y": (x + 1).tolist()}})

    def test_several_inputs_of_other_types(self):
        n = np.array([[1, -(2**50)]], np.int64)
        i = np.array([[3, 4]], np.int32)
        reply = self.predict("cast", {"n": n, "i": i})
        self.assertEqual(reply, {"version": 1, "outputs": {"twice": (n * 2).tolist(),
                                                           "real": i.astype(float).tolist()}})

    def test_errors(self):
        x = np.zeros((1, 4), np.float32)
        for expected, model, inputs, version in (
                ("NOT_FOUND", "nope", {"x": x}, None),
                ("NOT_FOUND", "affine", {"x": x}, 9),
                ("INVALID_ARGUMENT", "affine", {"z": x}, None),
                ("INVALID_ARGUMENT", "affine", {"x": x.astype(np.float64)}, None),
                ("INVALID_ARGUMENT", "affine", {"x": x[:, :3]}, None),
                ("INVALID_ARGUMENT", "affine", {"x": x[0]}, None),
                ("INVALID_ARGUMENT", "affine", {"x": x[:0]}, None),
                ("INVALID_ARGUMENT", "affine", {"x": x, "z": x}, None),
                ("INVALID_ARGUMENT", "affine", {}, None)):
            with self.subTest(model=model, version=version, inputs=str(inputs)):
                reply = self.predict(model, inputs, version)
                self.assertEqual(reply.get("code"), expected, reply)
                self.assertNotEqual(reply["details"], "")


if __name__ == "__main__":
    unittest.main()

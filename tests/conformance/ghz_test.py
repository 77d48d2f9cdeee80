"""ghz, a load generator, in short runs: what it counts must be what it sent, and all of it OK."""

import base64
import json
import unittest

import numpy as np

from support import ROOT, Repository, Server, affine_model, run_tool, simple_model

CALLS = 200


class GhzTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 1, affine_model(1))
        cls.repository.add("simple", 1, simple_model())
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))

    def run_ghz(self, method, request, *flags):
        """ghz's own report."""
        result = run_tool("ghz", "--insecure", f"--call={method}", f"--total={CALLS}",
                          "--concurrency=8", "--connections=2", "--format=json", *flags,
                          f"--data={json.dumps(request)}", self.server.address)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return json.loads(result.stdout)

    def assert_all_ok(self, report):
        self.assertEqual(report["count"], CALLS)
        self.assertEqual(report["statusCodeDistribution"], {"OK": CALLS})
        self.assertFalse(report["errorDistribution"])

    def test_predict_by_reflection(self):
        self.assert_all_ok(self.run_ghz("tensorflow.serving.PredictionService.Predict", {
            "model_spec": {"name": "affine"},
            "inputs": {"x": {"dtype": "DT_FLOAT",
                             "tensor_shape": {"dim": [{"size": 1}, {"size": 4}]},
                             "float_val": [1, 2, 3, 4]}}}))
        self.assertIn(f'code="OK",method="Predict",model="affine",version="1"}} {CALLS}',
                      self.server.metrics())

    def test_model_infer_by_the_projects_proto_files(self):
        raw = base64.b64encode(np.arange(16, dtype=np.int32).tobytes()).decode()
        proto = ROOT / "proto"
        self.assert_all_ok(self.run_ghz("inference.GRPCInferenceService.ModelInfer", {
            "model_name": "simple",
            "inputs": [{"name": name, "datatype": "INT32", "shape": [1, 16]}
                       for name in ("INPUT0", "INPUT1")],
            "raw_input_contents": [raw, raw]},
            f"--proto={proto / 'grpc_service.proto'}", f"--import-paths={proto}"))

    def test_compressed_requests(self):
        self.assert_all_ok(self.run_ghz("inference.GRPCInferenceService.ModelReady",
                                        {"name": "affine"}, "--enable-compression"))

    def test_errors_are_counted_by_code(self):
        report = self.run_ghz("inference.GRPCInferenceService.ModelInfer", {"model_name": "nope"})
        self.assertEqual(report["statusCodeDistribution"], {"NotFound": CALLS})


if __name__ == "__main__":
    unittest.main()

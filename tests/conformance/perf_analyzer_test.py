"""Triton's perf_analyzer in short runs, over both protocol families. It reads the model's metadata,
makes inputs for it and counts answers; any that is not OK ends it with an error."""

import os
import pathlib
import re
import sys
import unittest

from support import (Repository, Server, affine_model, run_tool, simple_identity_model,
                     simple_model)

HOME = pathlib.Path(sys.prefix) / "perf-analyzer"
# Windows of time, for with --request-count it waits for ever if the answers come before it counts.
# Three that differ little end a run; here any three do.
WINDOWS = ("--measurement-interval=200", "--stability-percentage=999")


class PerfAnalyzerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 1, affine_model(1))
        cls.repository.add("simple", 1, simple_model())
        cls.repository.add("simple_identity", 1, simple_identity_model())
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))
        # Its wheel names CUDA's library, but does not say where it is.
        os.environ["LD_LIBRARY_PATH"] = str(HOME / "nvidia/cuda_runtime/lib")

    def run_analyzer(self, kind, model, *flags):
        return run_tool(HOME / "bin/perf_analyzer", "-m", model, f"--service-kind={kind}", "-i",
                        "grpc", "-u", self.server.address, *WINDOWS, *flags)

    def assert_runs(self, kind, method, model, *flags):
        """What it prints, of a run whose requests the server counted, too."""
        before = self.answered(model, method)
        result = self.run_analyzer(kind, model, *flags)
        self.assertEqual(result.returncode, 0, (result.stderr + result.stdout)[:1000])
        counted = re.search(r"^ *Request count: (\d+)$", result.stdout, re.MULTILINE)
        self.assertIsNotNone(counted, result.stdout)
        self.assertGreater(int(counted[1]), 0)
        self.assertGreaterEqual(self.answered(model, method) - before, int(counted[1]))
        return result.stdout

    def answered(self, model, method):
        counts = re.findall(rf'^baton_requests_total{{code="OK",method="{method}",model="{model}",'
                            r'version="1"} (\d+)$', self.server.metrics(), re.MULTILINE)
        return int(counts[0]) if counts else 0

    def test_tfserving_with_one_row(self):
        self.assert_runs("tfserving", "Predict", "simple", "--shape=INPUT0:1,16",
                         "--shape=INPUT1:1,16", "--concurrency-range=4")

    def test_tfserving_with_batches(self):
        self.assert_runs("tfserving", "Predict", "affine", "-b", 8, "--concurrency-range=2")

    def test_tfserving_with_strings(self):
        self.assert_runs("tfserving", "Predict", "simple_identity", "-b", 2, "--string-length=8")

    def test_tfserving_with_a_request_rate(self):
        self.assert_runs("tfserving", "Predict", "affine", "-b", 1, "--shape=x:1,4",
                         "--request-rate-range=100")

    def test_tfserving_of_an_unknown_model(self):
        result = self.run_analyzer("tfserving", "nope")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn('model "nope" not found', result.stdout + result.stderr)

    def test_triton_with_one_row(self):
        self.assert_runs("triton", "ModelInfer", "simple", "--concurrency-range=4")

    def test_triton_with_batches_and_what_the_server_counted(self):
        report = self.assert_runs("triton", "ModelInfer", "affine", "-b", 8)
        self.assertRegex(report, r"Server: *\n *Inference count: [1-9]")

    def test_triton_without_waiting_for_replies(self):
        self.assert_runs("triton", "ModelInfer", "simple", "--async", "--concurrency-range=4")

    def test_triton_over_one_stream(self):
        self.assert_runs("triton", "ModelStreamInfer", "simple", "--async", "--streaming")

    def test_triton_of_an_unknown_model(self):
        result = self.run_analyzer("triton", "nope")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("nope", result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()

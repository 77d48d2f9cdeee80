"""Every field of config.pbtxt that Baton honours shows its effect on the server as a user runs
it."""

import concurrent.futures
import json
import unittest

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import Repository, Server, affine_model, batches, http_get, wait_until

SECOND = 1_000_000  # in microseconds


def tensor(rows):
    x = triton.InferInput("x", [rows, 4], "FP32")
    x.set_data_from_numpy(np.zeros((rows, 4), np.float32))
    return [x]


class ConfigTest(unittest.TestCase):
    def serve(self, config, versions=(1,)):
        """A server of one model, "m", with this config.pbtxt, and a client."""
        repository = Repository()
        self.addCleanup(repository.remove)
        (repository.path / "m").mkdir()
        (repository.path / "m/config.pbtxt").write_text(config)
        for version in versions:
            repository.add("m", version, affine_model(version))
        self.server = self.enterContext(
            Server(repository, "--file_system_poll_wait_seconds=0.1", ready=False))
        wait_until(lambda: self.settled(), "the model")
        self.client = triton.InferenceServerClient(self.server.address)
        self.addCleanup(self.client.close)

    def settled(self):
        """Whether each version serves or has failed, or the config has."""
        reasons = self.reasons()
        if reasons and not any("changing" in reason for reason in reasons):
            return True
        states = self.states().values()
        return states and all(state in ("AVAILABLE", "END") for state, _ in states)

    def reasons(self):
        """What is wrong with the model and its versions."""
        with triton.InferenceServerClient(self.server.address) as client:
            index = client.get_model_repository_index(as_json=True)
        return [model["reason"] for model in index.get("models", []) if model.get("reason")]

    def states(self):
        """The versions' states and what is wrong with them."""
        status, body = http_get(self.server.http_port, "/v1/models/m")
        versions = json.loads(body).get("model_version_status", []) if status == 200 else []
        return {int(v["version"]): (v["state"], v["status"].get("error_message", ""))
                for v in versions}

    def infer(self, rows=1, **options):
        return self.client.infer("m", tensor(rows), **options).as_numpy("y")

    def infer_at_once(self, requests, **options):
        """The status of each: "" is fine."""
        def one(_):
            with triton.InferenceServerClient(self.server.address) as client:
                try:
                    client.infer("m", tensor(1), **options)
                    return ""
                except InferenceServerException as error:
                    return error.status()
        with concurrent.futures.ThreadPoolExecutor(requests) as pool:
            return list(pool.map(one, range(requests)))

    def assert_fails(self, config, *texts):
        self.serve(config)
        for text in texts:
            self.assertIn(text, "\n".join(self.reasons()))

    def test_name(self):
        self.serve('name: "m"')
        self.assertEqual(self.infer()[0][0], 1)
        self.assert_fails('name: "other"', "other")

    def test_backend(self):
        self.serve('backend: "onnxruntime"')
        self.assertEqual(self.infer()[0][0], 1)
        self.assert_fails('backend: "tensorrt"', "tensorrt")

    def test_platform(self):
        self.serve('platform: "onnxruntime_onnx"')
        self.assertEqual(self.infer()[0][0], 1)
        self.assert_fails('platform: "tensorrt_plan"', "tensorrt_plan")

    def test_max_batch_size(self):
        self.serve("max_batch_size: 2")
        self.assertEqual(self.infer(2).shape, (2, 4))
        with self.assertRaisesRegex(InferenceServerException, "at most 2"):
            self.infer(3)

    def test_input(self):
        self.serve('max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: 4 }')
        self.assertEqual(self.infer()[0][0], 1)
        self.assert_fails('max_batch_size: 8 input { name: "x" data_type: TYPE_INT32 dims: 4 }',
                          "INT32")

    def test_output(self):
        self.serve('max_batch_size: 8 output { name: "y" data_type: TYPE_FP32 dims: 4 }')
        self.assertEqual(self.infer()[0][0], 1)
        self.assert_fails('max_batch_size: 8 output { name: "z" data_type: TYPE_FP32 dims: 4 }',
                          '"z"')

    def test_version_policy(self):
        def available():
            return {v for v, (state, _) in self.states().items() if state == "AVAILABLE"}
        for policy, expected in (("latest { num_versions: 2 }", {2, 3}), ("all { }", {1, 2, 3}),
                                 ("specific { versions: 1 }", {1})):
            self.serve(f"version_policy {{ {policy} }}", versions=(1, 2, 3))
            wait_until(lambda: available() == expected, policy)

    def test_max_queue_delay_microseconds(self):
        self.serve("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 500000 }")
        self.assertEqual(self.infer_at_once(8), [""] * 8)
        count, rows = batches(self.server)
        self.assertEqual(rows, 8)
        self.assertLess(count, 8)

    def test_preferred_batch_size(self):
        # With the preferred size reached nobody waits for the end of a delay of two minutes.
        self.serve("max_batch_size: 8 dynamic_batching { preferred_batch_size: 4 "
                   f"max_queue_delay_microseconds: {120 * SECOND} }}")
        self.assertEqual(self.infer_at_once(4, client_timeout=60), [""] * 4)
        self.assertEqual(batches(self.server), [1, 4])

    def policy(self, policy, delay=300_000, more=""):
        return ("max_batch_size: 8 dynamic_batching { "
                f"max_queue_delay_microseconds: {delay} {more} "
                f"default_queue_policy {{ {policy} }} }}")

    def test_max_queue_size(self):
        self.serve(self.policy("max_queue_size: 2", delay=2 * SECOND))
        refused = [status for status in self.infer_at_once(6) if status]
        self.assertEqual(set(refused), {"StatusCode.RESOURCE_EXHAUSTED"})
        self.assertLess(len(refused), 6)

    def test_default_timeout_microseconds(self):
        self.serve(self.policy("default_timeout_microseconds: 1000"))
        self.assertEqual(self.infer_at_once(1), ["StatusCode.DEADLINE_EXCEEDED"])

    def test_allow_timeout_override(self):
        timeout = "default_timeout_microseconds: 60000000"
        self.serve(self.policy(f"{timeout} allow_timeout_override: true"))
        self.assertEqual(self.infer_at_once(1, timeout=1000), ["StatusCode.DEADLINE_EXCEEDED"])
        self.serve(self.policy(f"{timeout} allow_timeout_override: false"))
        self.assertEqual(self.infer_at_once(1, timeout=1000), [""])

    def test_parameters(self):
        self.serve('parameters { key: "precision" value { string_value: "f32" } }')
        self.assertEqual(self.infer()[0][0], 1)
        self.assert_fails('parameters { key: "precision" value { string_value: "f7" } }', "f7")

    def test_a_field_that_is_not_honoured_is_named_in_a_warning(self):
        self.serve('optimization { priority: PRIORITY_MAX }')
        self.assertEqual(self.infer()[0][0], 1)
        self.assertIn("optimization", self.server.log())

    def test_an_unknown_field_is_an_error_with_its_line(self):
        self.assert_fails('name: "m"\nmax_batch_sise: 8\n', "max_batch_sise", "2")


if __name__ == "__main__":
    unittest.main()

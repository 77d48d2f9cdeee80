"""Triton's own Python client, unchanged: streams, classification, statistics, configurations and
compression."""

import queue
import unittest

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from support import Repository, Server, affine_model


def affine_input(values):
    x = triton.InferInput("x", list(values.shape), "FP32")
    x.set_data_from_numpy(values)
    return x


class Stream:
    """One stream of a client; its replies come as (result, error)."""

    def __init__(self, client, **options):
        self._client = client
        self._replies = queue.Queue()
        client.start_stream(lambda result, error: self._replies.put((result, error)), **options)

    def send(self, model, values, request_id, **options):
        self._client.async_stream_infer(model, [affine_input(values)], request_id=request_id,
                                        **options)

    def receive(self):
        return self._replies.get(timeout=60)


class TritonExtensionsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 7, affine_model(7))
        cls.repository.add("other", 1, affine_model(1))
        (cls.repository.path / "affine/labels.txt").write_text("zero\none\ntwo\nthree\n")
        (cls.repository.path / "affine/config.pbtxt").write_text(
            'max_batch_size: 8\noutput { name: "y" data_type: TYPE_FP32 dims: 4\n'
            '  label_filename: "labels.txt" }\n')
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))

    def setUp(self):
        self.client = triton.InferenceServerClient(self.server.address)
        self.addCleanup(self.client.close)

    def test_stream_answers_in_order(self):
        stream = Stream(self.client)
        for i in range(200):
            stream.send("affine" if i % 2 else "other", np.full((1, 4), i, np.float32), str(i))
        for i in range(200):
            result, error = stream.receive()
            self.assertIsNone(error)
            self.assertEqual(result.get_response().id, str(i))
            np.testing.assert_array_equal(result.as_numpy("y"),
                                          np.full((1, 4), i + (7 if i % 2 else 1)))
        self.client.stop_stream()

    def test_stream_survives_errors(self):
        stream = Stream(self.client)
        good = np.zeros((1, 4), np.float32)
        stream.send("affine", good, "1")
        stream.send("nope", good, "2")
        stream.send("affine", np.zeros((1, 5), np.float32), "3")
        stream.send("affine", good, "4", enable_empty_final_response=True)
        answers = [stream.receive() for _ in range(4)]
        self.assertEqual([error is None for _, error in answers], [True, False, False, True])
        self.assertIn("nope", answers[1][1].message())
        self.assertIn("must be 4", answers[2][1].message())
        final = answers[3][0].get_response().parameters["triton_final_response"]
        self.assertTrue(final.bool_param)
        self.client.stop_stream()

    def test_streams_of_several_clients(self):
        clients = [triton.InferenceServerClient(self.server.address) for _ in range(8)]
        streams = [Stream(client) for client in clients]
        for i in range(20):
            for n, stream in enumerate(streams):
                stream.send("affine", np.full((2, 4), n, np.float32), f"{n}.{i}")
        for i in range(20):
            for n, stream in enumerate(streams):
                result, error = stream.receive()
                self.assertIsNone(error)
                self.assertEqual(result.get_response().id, f"{n}.{i}")
        for client in clients:
            client.stop_stream()
            client.close()

    def test_cancelled_stream(self):
        stream = Stream(self.client)
        stream.send("affine", np.zeros((1, 4), np.float32), "1")
        self.assertIsNone(stream.receive()[1])
        self.client.stop_stream(cancel_requests=True)
        _, error = stream.receive()
        self.assertEqual(error.status(), "StatusCode.CANCELLED")

    def test_sequences_are_refused(self):
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer("affine", [affine_input(np.zeros((1, 4), np.float32))],
                              sequence_id=3, sequence_start=True)
        self.assertEqual(caught.exception.status(), "StatusCode.UNIMPLEMENTED")
        self.assertIn("sequence", caught.exception.message())

    def test_classification(self):
        values = np.array([[1, 5, 3, 2], [9, 0, 8, 7]], np.float32)
        result = self.client.infer("affine", [affine_input(values)],
                                   outputs=[triton.InferRequestedOutput("y", class_count=2)])
        classes = result.as_numpy("y")
        self.assertEqual(classes.tolist(), [[b"12.000000:1:one", b"10.000000:2:two"],
                                            [b"16.000000:0:zero", b"15.000000:2:two"]])

    def test_model_config(self):
        config = self.client.get_model_config("affine", as_json=True)["config"]
        self.assertEqual(config["name"], "affine")
        self.assertEqual(config["platform"], "onnxruntime_onnx")
        self.assertEqual(config["backend"], "onnxruntime")
        self.assertEqual(config["max_batch_size"], 8)
        self.assertEqual(config["input"],
                         [{"name": "x", "data_type": "TYPE_FP32", "dims": ["4"]}])
        self.assertEqual(config["output"],
                         [{"name": "y", "data_type": "TYPE_FP32", "dims": ["4"],
                           "label_filename": "labels.txt"}])
        self.assertEqual(config["version_policy"], {"latest": {"num_versions": 1}})
        self.assertEqual(self.client.get_model_config("other", "1").config.name, "other")
        with self.assertRaises(InferenceServerException) as caught:
            self.client.get_model_config("other", "9")
        self.assertEqual(caught.exception.status(), "StatusCode.NOT_FOUND")

    def test_statistics(self):
        repository = Repository().add("fresh", 1, affine_model(1))
        self.addCleanup(repository.remove)
        with Server(repository) as server, \
                triton.InferenceServerClient(server.address) as client:
            for rows in (1, 1, 3):
                client.infer("fresh", [affine_input(np.zeros((rows, 4), np.float32))])
            with self.assertRaises(InferenceServerException):
                client.infer("fresh", [affine_input(np.zeros((1, 5), np.float32))])
            [stats] = client.get_inference_statistics("fresh").model_stats
            self.assertEqual((stats.name, stats.version), ("fresh", "1"))
            self.assertEqual(stats.inference_count, 5)
            self.assertEqual(stats.execution_count, 3)
            self.assertGreater(stats.last_inference, 0)
            requests = stats.inference_stats
            self.assertEqual((requests.success.count, requests.fail.count), (3, 1))
            for phase in ("queue", "compute_input", "compute_infer", "compute_output"):
                self.assertEqual(getattr(requests, phase).count, 3, phase)
            self.assertGreater(requests.compute_infer.ns, 0)
            self.assertLess(requests.compute_infer.ns, requests.success.ns)
            batches = {batch.batch_size: batch.compute_infer.count for batch in stats.batch_stats}
            self.assertEqual(batches, {1: 2, 3: 1})
            self.assertEqual(len(client.get_inference_statistics().model_stats), 1)

    def test_extensions(self):
        extensions = self.client.get_server_metadata().extensions
        for name in ("classification", "statistics", "model_configuration", "schedule_policy"):
            self.assertIn(name, extensions)

    def test_compression(self):
        values = np.arange(32, dtype=np.float32).reshape(8, 4)
        for algorithm in ("gzip", "deflate"):
            for headers in (None, {"accept-encoding": algorithm}):
                result = self.client.infer("affine", [affine_input(values)],
                                           compression_algorithm=algorithm, headers=headers)
                np.testing.assert_array_equal(result.as_numpy("y"), values + 7)
        stream = Stream(self.client, compression_algorithm="gzip",
                        headers={"accept-encoding": "gzip"})
        stream.send("affine", values, "1")
        np.testing.assert_array_equal(stream.receive()[0].as_numpy("y"), values + 7)
        self.client.stop_stream()


if __name__ == "__main__":
    unittest.main()

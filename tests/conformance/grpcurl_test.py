"""grpcurl, which knows nothing of the server but what its reflection says. (Reflection of gRPC 1.51
does not tell the fields' JSON names, so replies have the names of the .proto files.)"""

import base64
import json
import unittest

import numpy as np

from support import Certificates, Repository, Server, affine_model, run_tool, simple_model

# grpcurl's exit code is the status code of the call, plus 64.
EXIT_OF_CODES = 64
INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED, UNAUTHENTICATED = 3, 5, 12, 16


class GrpcurlTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 3, affine_model(3))
        cls.repository.add("simple", 1, simple_model())
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))

    def grpcurl(self, *arguments):
        """stdout of a run that must end well."""
        result = run_tool("grpcurl", "-plaintext", *arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def call(self, method, request, *flags):
        return json.loads(self.grpcurl("-d", json.dumps(request), *flags, self.server.address,
                                       method))

    def assert_fails(self, code, *words, method, request):
        result = run_tool("grpcurl", "-plaintext", "-d", json.dumps(request), self.server.address,
                          method)
        self.assertEqual(result.returncode, EXIT_OF_CODES + code, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_list(self):
        services = self.grpcurl(self.server.address, "list").split()
        self.assertLessEqual({"tensorflow.serving.PredictionService",
                              "tensorflow.serving.ModelService", "inference.GRPCInferenceService",
                              "grpc.health.v1.Health"}, set(services))
        methods = self.grpcurl(self.server.address, "list", "inference.GRPCInferenceService")
        self.assertIn("inference.GRPCInferenceService.ModelInfer", methods.split())

    def test_describe(self):
        for symbol, word in (
                ("tensorflow.serving.PredictionService", "rpc Predict ( .tensorflow.serving"),
                ("tensorflow.serving.PredictRequest", "> inputs = 2;"),
                ("tensorflow.DataType", "DT_FLOAT = 1;"),
                ("inference.ModelInferRequest", "repeated bytes raw_input_contents = 7;"),
                ("inference.ModelConfig", "int32 max_batch_size = 4;"),
                ("grpc.health.v1.Health", "rpc Watch (")):
            with self.subTest(symbol):
                self.assertIn(word, self.grpcurl(self.server.address, "describe", symbol))

    def test_health(self):
        for request in ({}, {"service": "affine"}):
            self.assertEqual(self.call("grpc.health.v1.Health/Check", request),
                             {"status": "SERVING"})
        self.assert_fails(NOT_FOUND, "nope", method="grpc.health.v1.Health/Check",
                          request={"service": "nope"})

    def test_predict(self):
        reply = self.call("tensorflow.serving.PredictionService/Predict", {
            "model_spec": {"name": "affine"},
            "inputs": {"x": {"dtype": "DT_FLOAT",
                             "tensorShape": {"dim": [{"size": 2}, {"size": 4}]},
                             "floatVal": list(range(8))}}})
        self.assertEqual(reply["model_spec"],
                         {"name": "affine", "version": "3", "signature_name": "serving_default"})
        y = reply["outputs"]["y"]
        self.assertEqual(y["tensor_shape"], {"dim": [{"size": "2"}, {"size": "4"}]})
        self.assertEqual(tensor_values(y), list(range(3, 11)))

    def test_model_infer_with_typed_contents(self):
        reply = self.call("inference.GRPCInferenceService/ModelInfer", {
            "model_name": "simple", "id": "first",
            "inputs": [{"name": name, "datatype": "INT32", "shape": [1, 16],
                        "contents": {"int_contents": values}}
                       for name, values in (("INPUT0", list(range(16))), ("INPUT1", [1] * 16))]})
        self.assertEqual((reply["model_name"], reply["model_version"], reply["id"]),
                         ("simple", "1", "first"))
        self.assertEqual(raw_outputs(reply), {"OUTPUT0": list(range(1, 17)),
                                              "OUTPUT1": list(range(-1, 15))})

    def test_model_infer_with_raw_contents(self):
        raw = base64.b64encode(np.arange(16, dtype=np.int32).tobytes()).decode()
        reply = self.call("inference.GRPCInferenceService/ModelInfer", {
            "model_name": "simple", "outputs": [{"name": "OUTPUT1"}],
            "inputs": [{"name": name, "datatype": "INT32", "shape": [1, 16]}
                       for name in ("INPUT0", "INPUT1")],
            "raw_input_contents": [raw, raw]})
        self.assertEqual(raw_outputs(reply), {"OUTPUT1": [0] * 16})

    def test_metadata_and_status(self):
        reply = self.call("inference.GRPCInferenceService/ModelMetadata", {"name": "simple"})
        self.assertEqual(reply["inputs"], [
            {"name": name, "datatype": "INT32", "shape": ["-1", "16"]}
            for name in ("INPUT0", "INPUT1")])
        reply = self.call("tensorflow.serving.ModelService/GetModelStatus",
                          {"model_spec": {"name": "affine"}})
        self.assertEqual([(s["version"], s["state"]) for s in reply["model_version_status"]],
                         [("3", "AVAILABLE")])
        # The signature map is an Any: it can be printed because reflection knows its type.
        reply = self.call("tensorflow.serving.PredictionService/GetModelMetadata",
                          {"model_spec": {"name": "affine"}, "metadata_field": ["signature_def"]})
        signature = reply["metadata"]["signature_def"]["signature_def"]["serving_default"]
        self.assertEqual(signature["inputs"]["x"]["dtype"], "DT_FLOAT")

    def test_errors(self):
        predict = "tensorflow.serving.PredictionService/Predict"
        self.assert_fails(NOT_FOUND, "nope", method=predict,
                          request={"model_spec": {"name": "nope"}})
        self.assert_fails(INVALID_ARGUMENT, "x", method=predict,
                          request={"model_spec": {"name": "affine"}})
        self.assert_fails(UNIMPLEMENTED, method="inference.GRPCInferenceService/TraceSetting",
                          request={})


class GrpcurlTlsTest(unittest.TestCase):
    def test_reflection_and_tokens(self):
        certificates, repository = Certificates(), Repository().add("affine", 3, affine_model(3))
        self.addCleanup(certificates.remove)
        self.addCleanup(repository.remove)
        (certificates.path / "ssl.pbtxt").write_text(
            "server_key: 'server.key' server_cert: 'server.crt'")
        (certificates.path / "tokens").write_text("reader\n")
        with Server(repository, f"--ssl_config_file={certificates / 'ssl.pbtxt'}",
                    f"--auth_token_file={certificates / 'tokens'}",
                    tls=certificates.client_context()) as server:
            def grpcurl(*arguments, ca="ca.crt"):
                return run_tool("grpcurl", "-cacert", certificates / ca, *arguments)
            ready = ("-d", '{"name": "affine"}', server.address,
                     "inference.GRPCInferenceService/ModelReady")
            self.assertIn("inference.GRPCInferenceService", grpcurl(server.address, "list").stdout)
            self.assertEqual(grpcurl(*ready).returncode, EXIT_OF_CODES + UNAUTHENTICATED)
            reply = grpcurl("-H", "authorization: Bearer reader", *ready)
            self.assertEqual(json.loads(reply.stdout), {"ready": True}, reply.stderr)
            self.assertNotEqual(grpcurl(*ready, ca="server.crt").returncode, 0)


def tensor_values(tensor):
    """Of a TensorProto as JSON, in either of its forms."""
    if "float_val" in tensor:
        return tensor["float_val"]
    return np.frombuffer(base64.b64decode(tensor["tensor_content"]), np.float32).tolist()


def raw_outputs(reply):
    """Output's name → its int32 values."""
    return {output["name"]: np.frombuffer(base64.b64decode(raw), np.int32).tolist()
            for output, raw in zip(reply["outputs"], reply["raw_output_contents"], strict=True)}


if __name__ == "__main__":
    unittest.main()

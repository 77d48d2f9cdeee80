"""A stock gRPC client: message classes made from the server's reflection alone, and the health
service as load balancers use it."""

import signal
import unittest

import grpc
import numpy as np
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)

from support import Repository, Server, affine_model, wait_until

DT_FLOAT = 1
AVAILABLE = 30


class ReflectedService:
    """Calls a service that is known only by what the server says about itself."""

    def __init__(self, channel, name):
        self._channel = channel
        self._pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self._service = self._pool.FindServiceByName(name)

    def request(self, method):
        return message_factory.GetMessageClass(
            self._service.FindMethodByName(method).input_type)()

    def call(self, method, request):
        descriptor = self._service.FindMethodByName(method)
        reply = message_factory.GetMessageClass(descriptor.output_type)
        return self._channel.unary_unary(
            f"/{self._service.full_name}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString)(request, timeout=30)


class StockGrpcTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 3, affine_model(3))
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))
        cls.channel = cls.enterClassContext(grpc.insecure_channel(cls.server.address))

    def test_reflection_lists_every_service(self):
        services = ProtoReflectionDescriptorDatabase(self.channel).get_services()
        for name in ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService",
                     "inference.GRPCInferenceService", "grpc.health.v1.Health"):
            self.assertIn(name, services)

    def test_predict_with_classes_from_reflection(self):
        service = ReflectedService(self.channel, "tensorflow.serving.PredictionService")
        request = service.request("Predict")
        request.model_spec.name = "affine"
        x = request.inputs["x"]
        x.dtype = DT_FLOAT
        x.tensor_shape.dim.add().size = 2
        x.tensor_shape.dim.add().size = 4
        x.float_val.extend(range(8))
        reply = service.call("Predict", request)
        y = reply.outputs["y"]
        values = y.float_val or np.frombuffer(y.tensor_content, np.float32)
        np.testing.assert_array_equal(values, np.arange(8) + 3)
        self.assertEqual([d.size for d in y.tensor_shape.dim], [2, 4])
        self.assertEqual(reply.model_spec.version.value, 3)
        self.assertEqual(reply.model_spec.name, "affine")

    def test_model_infer_with_classes_from_reflection(self):
        service = ReflectedService(self.channel, "inference.GRPCInferenceService")
        request = service.request("ModelInfer")
        request.model_name, request.id = "affine", "first"
        x = request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
        x.contents.fp32_contents.extend([1, 2, 3, 4])
        reply = service.call("ModelInfer", request)
        y = reply.outputs[0]
        values = (y.contents.fp32_contents or
                  np.frombuffer(reply.raw_output_contents[0], np.float32))
        np.testing.assert_array_equal(values, [4, 5, 6, 7])
        self.assertEqual((reply.model_version, reply.id), ("3", "first"))
        self.assertEqual((y.name, y.datatype, list(y.shape)), ("y", "FP32", [1, 4]))

    def test_model_status_with_classes_from_reflection(self):
        service = ReflectedService(self.channel, "tensorflow.serving.ModelService")
        request = service.request("GetModelStatus")
        request.model_spec.name = "affine"
        [version] = service.call("GetModelStatus", request).model_version_status
        self.assertEqual((version.version, version.state), (3, AVAILABLE))
        self.assertEqual(version.status.error_code, 0)

    def test_health_check(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "affine"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
            self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING, service)
        with self.assertRaises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=30)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)


class HealthWatchTest(unittest.TestCase):
    def test_watch_follows_models_and_the_end_of_the_server(self):
        repository = Repository().add("affine", 1, affine_model(1))
        self.addCleanup(repository.remove)
        with Server(repository) as server, grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            states = health_pb2.HealthCheckResponse
            watch = {name: health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60)
                     for name in ("", "affine", "later")}
            self.assertEqual(next(watch[""]).status, states.SERVING)
            self.assertEqual(next(watch["affine"]).status, states.SERVING)
            self.assertEqual(next(watch["later"]).status, states.SERVICE_UNKNOWN)

            repository.add("later", 1, affine_model(1))
            status = states.SERVICE_UNKNOWN
            while status != states.SERVING:  # NOT_SERVING on the way is right, too
                status = next(watch["later"]).status

            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(next(watch[""]).status, states.NOT_SERVING)
            wait_until(lambda: server.process.poll() is not None, "end of the server")


if __name__ == "__main__":
    unittest.main()

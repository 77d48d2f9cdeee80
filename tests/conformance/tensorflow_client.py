"""The TensorFlow Serving client of tests/requirements-tensorflow.txt, on a command line of its own,
because it needs an older protobuf than every other test. Reads calls as JSON lines:

- `{"model", "version", "inputs": {NAME: {"dtype", "shape", "values"}}}`, a Predict; the answer is
  `{"version", "outputs": {NAME: values}}`;
- `{"method", "request"}`, any method of PredictionService with the JSON of its request; the answer
  is `{"reply"}`, the JSON of that;

or `{"code", "details"}` for a call that failed. Writes a line for each.
"""

import json
import os
import pathlib
import sys

# Its messages were generated for an old protobuf; only the Python implementation still takes them.
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
sys.path.insert(0, str(pathlib.Path(sys.prefix) / "tensorflow-client"))

import grpc
import numpy as np
from google.protobuf import json_format
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray
from tensorflow_serving.apis import (classification_pb2, inference_pb2, predict_pb2,
                                     prediction_service_pb2_grpc, regression_pb2)

REQUESTS = {"Classify": classification_pb2.ClassificationRequest,
            "Regress": regression_pb2.RegressionRequest,
            "MultiInference": inference_pb2.MultiInferenceRequest,
            "Predict": predict_pb2.PredictRequest}


def predict(client, call):
    inputs = {name: np.array(tensor["values"], tensor["dtype"]).reshape(tensor["shape"])
              for name, tensor in call["inputs"].items()}
    reply = client.predict_request(call["model"], inputs, model_version=call["version"])
    return {"version": reply.model_spec.version.value,
            "outputs": {name: tensor_proto_to_ndarray(tensor).tolist()
                        for name, tensor in reply.outputs.items()}}


def any_method(stub, call):
    request = json_format.ParseDict(call["request"], REQUESTS[call["method"]]())
    reply = getattr(stub, call["method"])(request, timeout=60)
    return {"reply": json_format.MessageToDict(reply, preserving_proto_field_name=True)}


def main():
    client = TensorServingClient("127.0.0.1", int(sys.argv[1]))
    channel = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            result = any_method(stub, call) if "method" in call else predict(client, call)
        except grpc.RpcError as error:
            result = {"code": error.code().name, "details": error.details()}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

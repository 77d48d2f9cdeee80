"""The TensorFlow Serving client of tests/requirements-tensorflow.txt, on a command line of its own,
because it needs an older protobuf than every other test. Reads calls as JSON lines, `{"model",
"version", "inputs": {NAME: {"dtype", "values"}}}`; writes a line for each, `{"version", "outputs":
{NAME: values}}` or `{"code", "details"}`.
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
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray


def main():
    client = TensorServingClient("127.0.0.1", int(sys.argv[1]))
    for line in sys.stdin:
        call = json.loads(line)
        inputs = {name: np.array(tensor["values"], tensor["dtype"]).reshape(tensor["shape"])
                  for name, tensor in call["inputs"].items()}
        try:
            reply = client.predict_request(call["model"], inputs, model_version=call["version"])
            result = {"version": reply.model_spec.version.value,
                      "outputs": {name: tensor_proto_to_ndarray(tensor).tolist()
                                  for name, tensor in reply.outputs.items()}}
        except grpc.RpcError as error:
            result = {"code": error.code().name, "details": error.details()}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

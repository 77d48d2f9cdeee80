"""Classify, Regress and MultiInference over tf.Examples, with TensorFlow Serving's own stubs and
messages (see tensorflow_client.py), through a signature map."""

import json
import pathlib
import subprocess
import sys
import unittest

from onnx import TensorProto, helper, numpy_helper
import numpy as np

from support import Repository, Server, serialize

CLIENT = pathlib.Path(__file__).parent / "tensorflow_client.py"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
SIGNATURES = {
    "serving_default": {"method": "classify", "scores": "scores", "labels_file": "labels.txt",
                        "inputs": {"x": "pixels", "scale": {"default": 2}}},
    "total": {"method": "regress", "output": "total",
              "inputs": {"x": {"feature": "pixels", "default": [1, 2, 3]},
                         "scale": {"feature": "scale", "default": 2}}},
    "renamed": {"inputs": {"x": "image", "scale": {"default": 1}}, "outputs": {"total": "sum"}},
}


def pixels_model():
    """scores = x * scale (floats [batch,3] and [batch,1]), total = the sum of a row."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["scores"]),
         helper.make_node("ReduceSum", ["scores", "axes"], ["total"], keepdims=1)],
        "pixels",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
         helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3]),
         helper.make_tensor_value_info("total", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.array([1], np.int64), "axes")])
    return serialize(graph)


def example(**features):
    return {"features": {"feature": {name: {"float_list": {"value": value}}
                                     for name, value in features.items()}}}


class TensorFlowExamplesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository()
        model = cls.repository.path / "pixels"
        model.mkdir()
        (model / "labels.txt").write_text("red\ngreen\nblue\n")
        (model / "config.pbtxt").write_text(
            'parameters { key: "signatures" value { string_value: '
            f"{json.dumps(json.dumps(SIGNATURES))} }} }}\n")
        cls.repository.add("pixels", 5, pixels_model())
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

    def call(self, method, request):
        self.client.stdin.write(json.dumps({"method": method, "request": request}) + "\n")
        self.client.stdin.flush()
        return json.loads(self.client.stdout.readline())

    def reply(self, method, request):
        answer = self.call(method, request)
        self.assertIn("reply", answer, answer)
        return answer["reply"]

    def test_classify(self):
        reply = self.reply("Classify", {
            "model_spec": {"name": "pixels"},
            "input": {"example_list": {"examples": [example(pixels=[1, 2, 3]),
                                                    example(pixels=[4, 5, 6], scale=[10])]}}})
        rows = [[(one["label"], one["score"]) for one in row["classes"]]
                for row in reply["result"]["classifications"]]
        self.assertEqual(rows, [[("red", 2), ("green", 4), ("blue", 6)],
                                [("red", 40), ("green", 50), ("blue", 60)]])
        self.assertEqual(reply["model_spec"]["version"], "5")
        self.assertEqual(reply["model_spec"]["signature_name"], "serving_default")

    def test_regress_with_context_and_default(self):
        reply = self.reply("Regress", {
            "model_spec": {"name": "pixels", "signature_name": "total"},
            "input": {"example_list_with_context": {
                "context": example(scale=[10]), "examples": [example(pixels=[1, 1, 1]), {}]}}})
        self.assertEqual(reply["result"], {"regressions": [{"value": 30}, {"value": 60}]})

    def test_multi_inference(self):
        spec = {"name": "pixels"}
        reply = self.reply("MultiInference", {
            "tasks": [{"model_spec": spec, "method_name": CLASSIFY},
                      {"model_spec": {**spec, "signature_name": "total"}, "method_name": REGRESS}],
            "input": {"example_list": {"examples": [example(pixels=[1, 2, 3])]}}})
        classify, regress = reply["results"]
        self.assertEqual(classify["classification_result"]["classifications"][0]["classes"][2],
                         {"label": "blue", "score": 6})
        self.assertEqual(regress["regression_result"]["regressions"], [{"value": 12}])

    def test_predict_by_signature(self):
        reply = self.reply("Predict", {
            "model_spec": {"name": "pixels", "signature_name": "renamed"},
            "inputs": {"image": {"dtype": "DT_FLOAT", "float_val": [1, 2, 3],
                                 "tensor_shape": {"dim": [{"size": 1}, {"size": 3}]}}}})
        self.assertEqual(list(reply["outputs"]), ["sum"])
        self.assertEqual(reply["outputs"]["sum"]["float_val"], [6])

    def test_errors(self):
        def fails(method, code, *words, signature="", **message):
            answer = self.call(method, {
                "model_spec": {"name": "pixels", "signature_name": signature}, **message})
            self.assertEqual(answer.get("code"), code, answer)
            for word in words:
                self.assertIn(word, answer["details"])

        def examples(*rows):
            return {"input": {"example_list": {"examples": rows}}}

        fails("Classify", "INVALID_ARGUMENT", "no examples")
        fails("Classify", "INVALID_ARGUMENT", "example 1", "pixels", "2 values", "expected 3",
              **examples(example(pixels=[1, 2, 3]), example(pixels=[1, 2])))
        fails("Classify", "INVALID_ARGUMENT", "example 0", "pixels", "missing",
              **examples(example(pixel=[1, 2, 3])))
        fails("Classify", "INVALID_ARGUMENT", "nope", "serving_default", signature="nope",
              **examples(example(pixels=[1, 2, 3])))
        fails("Regress", "INVALID_ARGUMENT", "classify", "regress", "total",
              **examples(example(pixels=[1, 2, 3])))


if __name__ == "__main__":
    unittest.main()

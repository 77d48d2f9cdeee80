"""Networks made smaller by ONNX Runtime's own tools, quantized as its documents recommend for CPUs:
quantize.py NAME… DIRECTORY makes DIRECTORY/NAME.onnx, where NAME is that of a network of export.py,
which must lie there, and what is done to it:
  _qdq      statically, QuantizeLinear and DequantizeLinear around operators on floats
  _qop      statically, operators on integers (QLinearConv …)
  _dynamic  activations as they come (DynamicQuantizeLinear, MatMulInteger, ConvInteger)
  _fp16     not quantized: all floats, inputs and outputs too, are float16
Weights are int8, statically with a scale for each channel; activations are int8 in the first format,
else uint8."""

import math
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import float16

FORMATS = {"qdq": quantization.QuantFormat.QDQ, "qop": quantization.QuantFormat.QOperator}
ACTIVATIONS = {"qdq": quantization.QuantType.QInt8, "qop": quantization.QuantType.QUInt8}
LENGTH = 64  # words of a text for calibration


def waves(shape, random):
    """Images as of `pattern` in export.py, of any direction, with noise."""
    y, x = np.indices(shape[2:]) / shape[2]
    images = random.uniform(-0.2, 0.2, shape)
    for image in images:
        across, down = random.uniform(1, 4, 2)
        for channel, plane in enumerate(image):
            plane += np.sin(8 * math.pi * (across * x + down * y) + channel)
    return images.astype(np.float32)


class Samples(quantization.CalibrationDataReader):
    """Batches of what the tests feed, seeded."""

    def __init__(self, path, count=4, batch=4):
        random = np.random.default_rng(1)
        inputs = onnx.load(path, load_external_data=False).graph.input
        self.left = [{i.name: self.sample(i, batch, random) for i in inputs} for _ in range(count)]

    @staticmethod
    def sample(info, batch, random):
        dims = info.type.tensor_type.shape.dim
        shape = [d.dim_value if d.HasField("dim_value") else LENGTH for d in dims]
        shape[0] = batch
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            return waves(shape, random)
        if "mask" in info.name:
            return np.ones(shape, np.int64)
        return random.integers(0, 30522, shape)

    def get_next(self):
        return self.left.pop() if self.left else None


def quantize(source, target, how):
    unfinished = target.with_suffix(".new")
    if how == "fp16":
        onnx.save(float16.convert_float_to_float16(onnx.load(source)), unfinished)
        unfinished.rename(target)
        return
    with tempfile.TemporaryDirectory() as scratch:
        prepared = pathlib.Path(scratch) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        if how == "dynamic":
            quantization.quantize_dynamic(prepared, unfinished)
        else:
            quantization.quantize_static(prepared, unfinished, Samples(source),
                                         quant_format=FORMATS[how], per_channel=True,
                                         activation_type=ACTIVATIONS[how])
    unfinished.rename(target)


def main():
    *names, directory = sys.argv[1:] or [""]
    directory = pathlib.Path(directory)
    for name in names:
        base, _, how = name.rpartition("_")
        if not base or how not in (*FORMATS, "dynamic", "fp16"):
            sys.exit(f"{__doc__}\n\nThere is no {name}.")
        quantize(directory / f"{base}.onnx", directory / f"{name}.onnx", how)


if __name__ == "__main__":
    main()

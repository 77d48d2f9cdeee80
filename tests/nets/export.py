#!/usr/bin/python3
"""Networks as PyTorch exports them, with seeded weights: export.py NAME… DIRECTORY writes
DIRECTORY/NAME.onnx. For tests against ONNX Runtime and for benchmarks. Needs Debian's python3-torch
and python3-torchvision.

Image networks: "x" float[batch,3,size,size]. Text networks: "input_ids" and "attention_mask"
int64[batch,length]."""

import math
import pathlib
import sys

import torch
from torch import nn
import torchvision.models as zoo


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.scale = heads, math.sqrt(width // heads)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / self.scale + mask
        y = torch.softmax(scores, dim=-1) @ v
        return self.out(y.permute(0, 2, 1, 3).reshape(x.shape))


class EncoderLayer(nn.Module):
    """As in BERT: normalization after each residual."""

    def __init__(self, width, heads):
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, mask):
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class Bert(nn.Module):
    """Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", 2018. `mean`: sentences are the mean of their words, as MiniLM's are used."""

    def __init__(self, layers, width, heads, mean, words=30522, positions=512):
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))
        self.pooler = None if mean else nn.Linear(width, width)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=1 / math.sqrt(width))

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.positions(places))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in self.layers:
            x = layer(x, mask)
        if self.pooler is not None:
            return torch.tanh(self.pooler(x[:, 0]))
        weights = attention_mask[:, :, None].to(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


class ConvBlock(nn.Sequential):
    def __init__(self, inputs, outputs, kernel=1, stride=1):
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                         nn.BatchNorm2d(outputs), nn.SiLU())


class Bottleneck(nn.Module):
    def __init__(self, width, residual):
        super().__init__()
        self.block = nn.Sequential(ConvBlock(width, width, 3), ConvBlock(width, width, 3))
        self.residual = residual

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


class Stage(nn.Module):
    """What YOLOv8 calls C2f: half of the channels go through the blocks, all results are joined."""

    def __init__(self, inputs, outputs, blocks, residual=True):
        super().__init__()
        self.half = outputs // 2
        self.enter = ConvBlock(inputs, outputs)
        self.blocks = nn.ModuleList(Bottleneck(self.half, residual) for _ in range(blocks))
        self.leave = ConvBlock((2 + blocks) * self.half, outputs)

    def forward(self, x):
        parts = list(self.enter(x).split(self.half, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """Spatial pyramid pooling of three maxima in a row."""

    def __init__(self, width):
        super().__init__()
        self.enter, self.leave = ConvBlock(width, width // 2), ConvBlock(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Head(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.boxes = nn.Sequential(ConvBlock(width, 64, 3), ConvBlock(64, 64, 3),
                                   nn.Conv2d(64, 64, 1))
        self.classes = nn.Sequential(ConvBlock(width, 80, 3), ConvBlock(80, 80, 3),
                                     nn.Conv2d(80, classes, 1))

    def forward(self, x):
        return torch.cat((self.boxes(x), self.classes(x)), 1).flatten(2)


class Detector(nn.Module):
    """A detector of YOLOv8's make and size n: three scales, boxes as distributions of distances."""

    def __init__(self, classes=80):
        super().__init__()
        self.classes = classes
        self.stem = nn.Sequential(ConvBlock(3, 16, 3, 2), ConvBlock(16, 32, 3, 2), Stage(32, 32, 1))
        self.stage3 = nn.Sequential(ConvBlock(32, 64, 3, 2), Stage(64, 64, 2))
        self.stage4 = nn.Sequential(ConvBlock(64, 128, 3, 2), Stage(128, 128, 2))
        self.stage5 = nn.Sequential(ConvBlock(128, 256, 3, 2), Stage(256, 256, 1), Pyramid(256))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.top4, self.top3 = Stage(384, 128, 1, False), Stage(192, 64, 1, False)
        self.down3, self.down4 = ConvBlock(64, 64, 3, 2), ConvBlock(128, 128, 3, 2)
        self.out4, self.out5 = Stage(192, 128, 1, False), Stage(384, 256, 1, False)
        self.heads = nn.ModuleList(Head(width, classes) for width in (64, 128, 256))
        self.register_buffer("bins", torch.arange(16.0))

    def forward(self, x):
        p3 = self.stage3(self.stem(x))
        p4 = self.stage4(p3)
        p5 = self.stage5(p4)
        top4 = self.top4(torch.cat((self.up(p5), p4), 1))
        out3 = self.top3(torch.cat((self.up(top4), p3), 1))
        out4 = self.out4(torch.cat((self.down3(out3), top4), 1))
        out5 = self.out5(torch.cat((self.down4(out4), p5), 1))
        y = torch.cat([head(p) for head, p in zip(self.heads, (out3, out4, out5))], 2)
        boxes, scores = y.split((64, self.classes), 1)
        distances = boxes.view(-1, 4, 16, y.shape[2]).transpose(2, 1).softmax(1)
        distances = (distances * self.bins.view(1, 16, 1, 1)).sum(1)
        return torch.cat((distances, scores.sigmoid()), 1)


def vit():
    model = zoo.vit_b_16()
    nn.init.normal_(model.heads.head.weight, std=0.02)  # which is made to begin with zeros
    return model


def calibrated(model, size):
    """With BatchNormalization's statistics as after training: activations keep their size."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 3, size, size))
    return model


PATTERNS = 16


def pattern(k, size):
    """Image k of PATTERNS: waves across it, the same as in tests/engine/oracle_test.cc."""
    y, x = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    phase = 8 * math.pi * ((k % 4 + 1) * x + (k // 4 + 1) * y)
    return torch.stack([torch.sin(phase + channel) for channel in range(3)])


def fitted(model, head, size):
    """The first classes of `head`, a linear layer, become the patterns: a classifier whose arg-max
    says something, as after training. That of random weights changes with the last digit."""
    features, copies = [], 12
    hook = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    model.eval()
    with torch.no_grad():
        clean = torch.stack([pattern(k, size) for k in range(PATTERNS)])
        for _ in range(copies):
            model(clean + torch.empty_like(clean).uniform_(-0.2, 0.2))
        hook.remove()
        # Ridge regression on which pattern it is.
        x = torch.cat(features).double()
        mean, wanted = x.mean(0), torch.eye(PATTERNS).double().repeat(copies, 1)
        x = x - mean
        gram = x @ x.T
        ridge = 0.01 * gram.diagonal().mean() * torch.eye(len(x)).double()
        own = (x.T @ torch.linalg.solve(gram + ridge, wanted)).T
        head.weight.mul_(0.01)
        head.bias.fill_(-1)
        head.weight[:PATTERNS] = own.float()
        head.bias[:PATTERNS] = (-own @ mean).float()
    return model


# name: (how it is made, size of its images or None for text, operator set)
NETS = {
    "bert_base": (lambda: Bert(12, 768, 12, mean=False), None, 17),
    "minilm": (lambda: Bert(6, 384, 12, mean=True), None, 13),
    "detector": (Detector, 320, 13),
    "efficientnet_b0": (zoo.efficientnet_b0, 224, 13),
    "mobilenet_v2": (zoo.mobilenet_v2, 224, 13),
    "mobilenet_v3": (zoo.mobilenet_v3_large, 224, 17),
    "resnet50": (zoo.resnet50, 224, 13),
    "squeezenet": (zoo.squeezenet1_1, 224, 13),
    "vit": (vit, 224, 17),
}

# What tells classes apart, of networks that tests quantize.
HEADS = {"resnet50": lambda model: model.fc, "mobilenet_v2": lambda model: model.classifier[1]}


def export(name, path):
    make, size, opset = NETS[name]
    torch.manual_seed(1)
    model = make()
    if size is None:
        example = (torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long))
        inputs = ["input_ids", "attention_mask"]
        axes = {name: {0: "batch", 1: "length"} for name in inputs}
    else:
        model = calibrated(model, size)
        if name in HEADS:
            model = fitted(model, HEADS[name](model), size)
        example, inputs, axes = (torch.randn(2, 3, size, size),), ["x"], {"x": {0: "batch"}}
    model.eval()
    unfinished = path.with_suffix(".new")
    torch.onnx.export(model, example, str(unfinished), opset_version=opset, input_names=inputs,
                      output_names=["y"], dynamic_axes={**axes, "y": {0: "batch"}})
    unfinished.rename(path)


def main():
    *names, directory = sys.argv[1:] or [""]
    wrong = [name for name in names if name not in NETS]
    if not names or wrong:
        sys.exit(f"{__doc__}\n\nNetworks: {', '.join(NETS)}" +
                 (f"\nThere is no {wrong[0]}." if wrong else ""))
    for name in names:
        export(name, pathlib.Path(directory) / f"{name}.onnx")


if __name__ == "__main__":
    main()

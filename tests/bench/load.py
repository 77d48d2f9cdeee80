"""What the benchmarks of the server share: servers whose CPU time and memory are read from outside,
loads, and tables. The load comes from `baton bench`, so that every server meets the same client."""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
import support  # noqa: E402
from support import BIN  # noqa: E402

median = statistics.median
CORES = len(os.sched_getaffinity(0))


def make_net(name, path):
    """Writes the network `name` (see make_net.cc) as ONNX."""
    subprocess.run([BIN / "make_net", name, path], check=True)


def write_input(path, shape):
    """A .npy file of float32 of `shape`, all values in [0, 1)."""
    count = 1
    for size in shape:
        count *= size
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    body = struct.pack("<997f", *[(i * 37 % 997) / 997 for i in range(997)])
    body = (body * (count * 4 // len(body) + 1))[:count * 4]
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body)


class Nets(support.Repository):
    """A temporary repository of benchmark networks, with an input for each.

    files[name] is a directory like a version's."""

    SHAPES = {"mlp": (1, 784)}

    def __init__(self, *names):
        super().__init__()
        self.scratch = support.Repository()
        self.files = {}
        for name in names:
            self.files[name] = self.scratch.path / name
            self.files[name].mkdir()
            make_net(name, self.files[name] / "model.onnx")
            (self.files[name] / "manifest.json").write_text(
                support.manifest(self.files[name] / "model.onnx"))
            write_input(self.input(name), self.SHAPES.get(name, (1, 3, 224, 224)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
        self.scratch.remove()

    def input(self, name):
        return self.scratch.path / f"{name}.npy"

    def publish(self, name, version, model=None):
        """As a training job does, but with hard links: what is measured is the server, not the
        copying."""
        model = self.path / (model or name)
        staged = model / f".tmp-{version}"
        staged.mkdir(parents=True)
        for file in self.files[name].iterdir():
            os.link(file, staged / file.name)
        staged.rename(model / str(version))

    def withdraw(self, name, version):
        """Removes a version's files."""
        shutil.rmtree(self.path / name / str(version))


class Watched:
    """A process whose CPU time and memory are read from /proc."""

    def __init__(self, pid):
        self.pid = pid

    def cpu_seconds(self):
        """Of all threads so far."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                pass  # the thread has ended
        return total / 1e9

    def memory_mb(self, which="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(which + ":"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"no {which} of process {self.pid}")


class Baton(support.Server):
    """baton-server; its log goes to a file."""

    def __init__(self, repository, *flags):
        super().__init__(repository, *flags)
        self.watched = Watched(self.process.pid)

    def metric(self, name, **labels):
        """The sum of a metric's samples that have all these labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{k}="{v}"' in head for k, v in labels.items()):
                total += float(value)
        return total


    def engine_seconds(self, model):
        """That the engine has run the model for so far."""
        status, body = support.http_get(self.http_port, f"/v2/models/{model}/stats")
        assert status == 200, body
        return sum(batch["compute_infer"]["ns"] for version in json.loads(body)["model_stats"]
                   for batch in version["batch_stats"]) / 1e9


class Echo:
    """echo_server, as a context. It has no engine."""

    def __init__(self, values=10):
        self.process = subprocess.Popen(
            [*support.DIE_WITH_PARENT, BIN / "echo_server", "0", str(values)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on port "), line
        self.address = "127.0.0.1:" + line.split()[-1]
        self.watched = Watched(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def engine_seconds(self, _model):
        return 0


def _first_in_line():
    """An open loop stands for clients on other machines: it does not wait for a core that the
    server uses, if it may say so. (In real time it would run where it ran last, on the server's
    core even while another is idle.)"""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        pass


def start_load(address, model, tensor, *flags, seconds=3.0, warm_up=0.5, protocol="tfs"):
    """Starts `baton bench`; finish_load gives its report."""
    open_loop = any(str(flag).startswith("--rate") for flag in flags)
    return subprocess.Popen(
        [*support.DIE_WITH_PARENT, BIN / "baton", "bench", f"--server={address}",
         f"--model={model}", f"--input=x={tensor}", f"--duration={seconds}",
         f"--warm-up={warm_up}", f"--protocol={protocol}", "--quiet", "--json", *map(str, flags)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        preexec_fn=_first_in_line if open_loop else None)


def finish_load(load):
    output, _ = load.communicate()
    if load.returncode != 0:
        raise AssertionError(f"baton bench ended with {load.returncode}")
    return json.loads(output)


def run_load(*arguments, **options):
    return finish_load(start_load(*arguments, **options))


def run_load_and_watch(server, *arguments, **options):
    """The report, with "cpu_us": the server's CPU time for each request, warm-up left out by
    not having any."""
    before = server.watched.cpu_seconds()
    report = run_load(server.address, *arguments, warm_up=0, **options)
    used = server.watched.cpu_seconds() - before
    report["cpu_us"] = used / max(report["requests"], 1) * 1e6
    return report


def table(head, rows):
    """Markdown; columns after the first are numbers."""
    print("| " + " | ".join(head) + " |")
    print("|---|" + "--:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    sys.stdout.flush()


def note(text):
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def arguments(description, **defaults):
    """The command line: one option for each default."""
    parser = argparse.ArgumentParser(description=description)
    for name, value in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    return parser.parse_args()

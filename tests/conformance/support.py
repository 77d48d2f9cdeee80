"""The real server as a child process, small models, and ports, for the tests of this folder."""

import datetime
import hashlib
import ipaddress
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np
import onnx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("BATON_BIN", ROOT / "build/release/bin"))
TOOLS = ROOT / "build/tools"  # made by tests/clients.sh
LIMIT = 120  # seconds, for anything that should take one or two
# Before a program's command line: it ends with its parent. Not a function for Popen to call in the
# child: that forks, and what gRPC runs in forked children sometimes aborts there.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


def free_port():
    """A port that nobody listens on now, below those that Linux gives to outgoing connections: one
    of them could take it before a server does."""
    while True:
        port = random.randrange(10000, 32768)
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
                return port
            except OSError:
                pass


def wait_until(condition, what):
    """Asks `condition` until it gives something true, which is returned."""
    end = time.monotonic() + LIMIT
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {LIMIT} s")
        time.sleep(0.02)


def http_get(port, path, tls=None):
    """Status and body; status 0 where nobody answers. `tls`: an SSLContext, or None."""
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=LIMIT, context=tls) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def affine_model(offset):
    """ONNX bytes of y = x + offset over float[batch,4]."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "offset"], ["y"])],
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.float32(offset), "offset")])
    return serialize(graph)


def cast_model():
    """ONNX bytes of a model with two inputs of other types: i64 = n * 2, f64 = double(i)."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["n", "n"], ["twice"]),
         helper.make_node("Cast", ["i"], ["real"], to=TensorProto.DOUBLE)],
        "cast",
        [helper.make_tensor_value_info("n", TensorProto.INT64, ["batch", 2]),
         helper.make_tensor_value_info("i", TensorProto.INT32, ["batch", 2])],
        [helper.make_tensor_value_info("twice", TensorProto.INT64, ["batch", 2]),
         helper.make_tensor_value_info("real", TensorProto.DOUBLE, ["batch", 2])])
    return serialize(graph)


def simple_model():
    """ONNX bytes with the interface of the model "simple" of Triton's client examples: OUTPUT0 =
    INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1, all of them int32[batch,16]."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
         helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])],
        "simple", _tensors(TensorProto.INT32, "INPUT0", "INPUT1"),
        _tensors(TensorProto.INT32, "OUTPUT0", "OUTPUT1"))
    return serialize(graph)


def simple_string_model():
    """As simple_model(), but every element is a string that holds the number."""
    numbers = [helper.make_node("Cast", [f"INPUT{i}"], [f"number{i}"], to=TensorProto.INT32)
               for i in range(2)]
    results = [helper.make_node(operator, ["number0", "number1"], [f"result{i}"])
               for i, operator in enumerate(("Add", "Sub"))]
    strings = [helper.make_node("Cast", [f"result{i}"], [f"OUTPUT{i}"], to=TensorProto.STRING)
               for i in range(2)]
    graph = helper.make_graph(
        numbers + results + strings,
        "simple_string", _tensors(TensorProto.STRING, "INPUT0", "INPUT1"),
        _tensors(TensorProto.STRING, "OUTPUT0", "OUTPUT1"))
    return serialize(graph)


def simple_identity_model():
    """ONNX bytes of OUTPUT0 = INPUT0 over strings [batch,16]."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])], "simple_identity",
        _tensors(TensorProto.STRING, "INPUT0"), _tensors(TensorProto.STRING, "OUTPUT0"))
    return serialize(graph)


def _tensors(element_type, *names):
    return [helper.make_tensor_value_info(name, element_type, ["batch", 16]) for name in names]


def serialize(graph):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def manifest(file):
    """A manifest.json for a version that has this file only."""
    contents = file.read_bytes()
    return json.dumps({"format": 1, "files": [{"path": file.name, "bytes": len(contents),
                                               "sha256": hashlib.sha256(contents).hexdigest()}]})


class Repository:
    """A temporary model repository; remove() takes it away."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="baton-"))

    def add(self, model, version, contents):
        """Puts a version in place whole, as a rename does, with a manifest: it is taken at once."""
        (self.path / model).mkdir(exist_ok=True)
        staged = pathlib.Path(tempfile.mkdtemp(prefix=".tmp-", dir=self.path / model))
        (staged / "model.onnx").write_bytes(contents)
        (staged / "manifest.json").write_text(manifest(staged / "model.onnx"))
        staged.chmod(0o755)
        staged.rename(self.path / model / str(version))
        return self

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Certificates:
    """A directory with a CA, a server and a client that it has signed: NAME.crt and NAME.key."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="baton-"))
        ca_key, ca_name = self._write_key("ca"), self._name("baton test CA")
        self._write_certificate("ca", ca_name, ca_key.public_key(), ca_name, ca_key)
        for name in ("server", "client"):
            self._write_certificate(name, self._name(name), self._write_key(name).public_key(),
                                    ca_name, ca_key)

    def __truediv__(self, name):
        return str(self.path / name)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)

    def client_context(self):
        """An SSLContext that trusts the CA and shows the client."""
        context = ssl.create_default_context(cafile=self / "ca.crt")
        context.load_cert_chain(self / "client.crt", self / "client.key")
        return context

    @staticmethod
    def _name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def _write_key(self, name):
        key = ec.generate_private_key(ec.SECP256R1())
        (self.path / f"{name}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        return key

    def _write_certificate(self, name, subject, public_key, issuer, issuer_key):
        ca = name == "ca"
        now, hour = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(hours=1)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
            .public_key(public_key).serial_number(x509.random_serial_number())
            .not_valid_before(now - hour).not_valid_after(now + hour)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            # What Python 3.13 asks of a CA.
            .add_extension(x509.KeyUsage(
                digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False,
                encipher_only=False, decipher_only=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                issuer_key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([address, x509.DNSName("localhost")]),
                           critical=False)
            .sign(issuer_key, hashes.SHA256()))
        (self.path / f"{name}.crt").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM))


class Server:
    """baton-server on free ports. Use as a context: it must be alive, and end with 0, at the end.
    Without a repository the flags say what it serves.
    `tls`: an SSLContext to talk to it with, where its flags ask for TLS; `cwd`, `env`: as Popen."""

    def __init__(self, repository, *flags, ready=True, drain_seconds=1, tls=None, cwd=None,
                 env=None):
        self.port, self.http_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._log = tempfile.NamedTemporaryFile(prefix="baton-log-")
        self.process = subprocess.Popen(
            [*DIE_WITH_PARENT, BIN / "baton-server", f"--port={self.port}",
             f"--rest_api_port={self.http_port}", f"--drain_seconds={drain_seconds}",
             *([f"--model_repository={repository.path}"] if repository else []), *flags],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, cwd=cwd, env=env)
        path = "/readyz" if ready else "/healthz"
        try:
            wait_until(lambda: self._alive() and
                       http_get(self.http_port, path, tls)[0] == 200, path)
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}; the server's log:\n{self.log()}") from None

    def _alive(self):
        if self.process.poll() is not None:
            raise AssertionError(f"baton-server ended with {self.process.returncode}")
        return True

    def log(self):
        return pathlib.Path(self._log.name).read_text(errors="replace")

    def metrics(self):
        status, body = http_get(self.http_port, "/metrics")
        assert status == 200, f"/metrics: {status}"
        return body

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = "nothing: it did not end"
        if kind is None and code != 0:
            raise AssertionError(f"baton-server ended with {code}; its log:\n{self.log()}")


def batches(server):
    """How many batches of the model "m" ran, and how many rows were in them."""
    text = server.metrics()
    return [sum(float(value) for value in re.findall(
        rf'^baton_batch_size_{part}{{[^}}]*model="m"[^}}]*}} (\S+)$', text, re.MULTILINE))
            for part in ("count", "sum")]


def run_server_to_its_end(*flags):
    """Runs baton-server with flags that must not work: exit code and stderr's lines."""
    result = subprocess.run([BIN / "baton-server", *flags], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=LIMIT)
    return result.returncode, [line for line in result.stderr.splitlines() if line]


def installed(path):
    """`path`, of a client that must be there: no test is skipped because it is not."""
    if not path.exists():
        raise AssertionError(f"{path} is missing; tests/clients.sh and tests/venv.sh install what "
                             "these tests run")
    return path


def run_tool(program, *arguments):
    """Runs a client out of TOOLS (a name) or from elsewhere (a path) to its end."""
    path = program if isinstance(program, pathlib.Path) else TOOLS / "bin" / program
    return subprocess.run([installed(path), *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=LIMIT)

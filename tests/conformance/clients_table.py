#!/usr/bin/env python3
"""The table in docs/conformance.md: which clients call the server in the tests, and how.

Versions come from the lock files, what is exercised from the names of the tests. Exit 1 if the page
says anything else, or if a test of this folder is in no row; --update writes the page.
"""

import ast
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs/conformance.md"
BEGIN, END = "<!-- clients: begin -->\n", "<!-- clients: end -->\n"

GO = "tests/conformance/clients/go.mod"
NPM = "tests/conformance/clients/package-lock.json"
PYPI = "tests/requirements.txt"
DEBIAN = "deploy/install-deps.sh"

# Client, the lock file that names its version, its name there, the test without "_test.py".
ROWS = (
    ("tritonclient", PYPI, "tritonclient", "triton_client"),
    ("tritonclient, as its examples", PYPI, "tritonclient", "triton_examples"),
    ("tritonclient, Triton's extensions", PYPI, "tritonclient", "triton_extensions"),
    ("tritonclient with TLS and tokens", PYPI, "tritonclient", "secure_clients"),
    ("tritonclient over HTTP, urllib", PYPI, "tritonclient", "rest_client"),
    ("perf_analyzer", "tests/requirements-perf-analyzer.txt", "tritonclient", "perf_analyzer"),
    ("KServe's InferenceGRPCClient", "tests/requirements-kserve.txt", "kserve", "kserve_client"),
    ("min-tfs-client", "tests/requirements-tensorflow.txt", "min-tfs-client",
     "tensorflow_client"),
    ("min-tfs-client, examples", "tests/requirements-tensorflow.txt", "min-tfs-client",
     "tensorflow_examples"),
    ("grpcio with grpcio-reflection", PYPI, "grpcio", "stock_grpc"),
    ("@grpc/grpc-js with @grpc/proto-loader", NPM, "@grpc/grpc-js", "grpc_js"),
    ("grpcurl", GO, "github.com/fullstorydev/grpcurl", "grpcurl"),
    ("ghz", GO, "github.com/bojand/ghz", "ghz"),
    ("grpc-health-probe", GO, "github.com/grpc-ecosystem/grpc-health-probe", "health_probe"),
    ("Prometheus, promtool", DEBIAN, "prometheus", "prometheus"),
)
NO_CLIENTS = {"wrong_input", "flags", "config"}  # tests of the server that use a client, but do not test it


def version_of(lock, package):
    text = (ROOT / lock).read_text(encoding="utf-8")
    if lock == NPM:
        return json.loads(text)["packages"][f"node_modules/{package}"]["version"]
    if lock == DEBIAN:
        assert re.search(rf"\b{package}\b", text), f"{lock} does not install {package}"
        return "Debian's"
    separator = r" v" if lock == GO else "=="
    found = re.search(rf"^\s*{re.escape(package)}{separator}(\S+)$", text, re.MULTILINE)
    assert found, f"{lock} does not name a version of {package}"
    return found[1]


def words(name):
    """"FooBarTest" or "test_foo_bar" → "foo bar"."""
    name = re.sub(r"^test_|Test$", "", name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).lower()


def is_open(test):
    return any(ast.unparse(d) == "unittest.expectedFailure" for d in test.decorator_list)


def exercised(test):
    """What passes, and what is marked as not answered yet: by class, where there are several."""
    tree = ast.parse((HERE / f"{test}_test.py").read_text(encoding="utf-8"))
    passing, open_ones = {}, []
    for case in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for method in case.body:
            if not getattr(method, "name", "").startswith("test_"):
                continue
            if is_open(method):
                open_ones.append(words(method.name))
            else:
                passing.setdefault(words(case.name), []).append(words(method.name))
    parts = [(f"*{case}*: " if len(passing) > 1 else "") + ", ".join(names)
             for case, names in passing.items()]
    return "; ".join(parts), ", ".join(open_ones)


def table():
    lines = ["| client | version | what is exercised | not answered yet | where |",
             "|---|---|---|---|---|"]
    for client, lock, package, test in ROWS:
        cells = (client, version_of(lock, package), *exercised(test), f"`{test}_test.py`")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    tests = {file.name.removesuffix("_test.py") for file in HERE.glob("*_test.py")}
    rows = {row[-1] for row in ROWS} | NO_CLIENTS
    if tests != rows:
        sys.exit(f"clients_table.py: tests and rows differ: {', '.join(sorted(tests ^ rows))}")
    listed = (HERE / "CMakeLists.txt").read_text(encoding="utf-8")
    for test in tests:
        if not re.search(rf"\b{test}\b", listed):
            sys.exit(f"clients_table.py: {test}_test.py is not in CMakeLists.txt: it never runs")
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    wanted = before + BEGIN + table() + END + after
    if sys.argv[1:] == ["--update"]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        sys.exit("clients_table.py: docs/conformance.md is not what the tests and lock files say; "
                 "run tests/conformance/clients_table.py --update")


if __name__ == "__main__":
    main()

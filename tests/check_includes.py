#!/usr/bin/env python3
"""Checks who includes whom, by the #include lines of every source file.

DESIGN.md says which folder may include which, and in which order the stages of the engine stand.
The tables below are that text in a form that can be checked; a file of the engine that no stage
claims is an error, so that a new file gets a place. Prints one line for each wrong include; exit 1
if there is any.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("engine", "server", "client", "trainer", "proto", "tests", "deploy", "cmake")

# The stages of the engine: name, its files (without suffix, or one file with it; "x/" is a folder,
# "x*" a prefix), and the stages it may include beside itself. The first row that fits counts.
ENGINE = (
    ("base", ("engine/base/",), ()),
    ("tensor", ("engine/tensor", "engine/tensor_io", "engine/tensor_types", "engine/npy",
                "engine/random_tensor"), ("base",)),
    # The words that all stages share with the engine's users: Signature, options, Plan's interface.
    ("model.h", ("engine/model.h",), ("base", "tensor")),
    ("graph", ("engine/graph",), ("base", "tensor", "model.h")),
    ("onnx_import", ("engine/onnx_*",), ("base", "tensor", "model.h", "graph")),
    ("dnnl_util", ("engine/dnnl_util",), ("base", "tensor", "graph")),
    ("kernel", ("engine/kernel",), ("base", "tensor", "graph", "dnnl_util")),
    ("kernels", ("engine/kernels/",), ("base", "tensor", "graph", "dnnl_util", "kernel")),
    ("kernel_table", ("engine/kernel_table",),
     ("base", "tensor", "graph", "kernel", "kernels")),
    ("plan", ("engine/plan", "engine/evaluate"),
     ("base", "tensor", "model.h", "graph", "dnnl_util", "kernel", "kernel_table")),
    # Rewrites stand above plans, because folding constants runs the kernels.
    ("rewrite", ("engine/rewrite/",),
     ("base", "tensor", "model.h", "graph", "dnnl_util", "kernel", "kernels", "kernel_table",
      "plan")),
    ("rows", ("engine/rows", "engine/head"), ("tensor", "graph", "kernel", "kernels", "plan")),
    ("model", ("engine/model",),
     ("base", "tensor", "model.h", "graph", "onnx_import", "dnnl_util", "kernel", "kernel_table",
      "plan", "rewrite", "rows")),
    ("session", ("engine/session",), ("base", "tensor", "model.h", "kernel", "plan")),
    ("golden", ("engine/golden",), ("base", "tensor", "model.h", "session")),
)

# Folder → what it may include beside itself. The longest matching prefix counts.
FOLDER_RULES = {
    "engine/": (),
    "server/repository/": ("engine/", "proto/"),
    "server/serving/": ("engine/", "server/repository/", "proto/"),
    "server/api/": ("engine/", "server/repository/", "server/serving/", "proto/"),
    "server/": ("engine/", "server/", "proto/"),
    "client/model_": ("client/", "engine/", "server/repository/", "server/serving/",
                      "server/api/tfs_warm_up"),
    "client/": ("proto/", "engine/base/", "engine/tensor", "engine/npy"),
    "trainer/": ("engine/base/", "engine/tensor", "engine/dnnl_util", "server/repository/publish"),
    "tests/": ("engine/", "server/", "client/", "trainer/", "proto/"),
}

# Includes from outside that some folders must do without.
GRPC = re.compile(r"^(grpc|grpcpp|grpc\+\+)/|\.grpc\.pb\.h$")
NO_GRPC = ("engine/", "server/repository/", "server/serving/", "client/model_")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def stem(path):
    return re.sub(r"(\.grpc)?(\.pb)?\.(h|cc)$", "", path)


def matches(path, pattern):
    if pattern.endswith("/"):
        return path.startswith(pattern)
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern in (path, stem(path))


def engine_stage(path):
    for name, patterns, _ in ENGINE:
        if any(matches(path, pattern) for pattern in patterns):
            return name
    return None


def engine_error(path, target):
    stage, other = engine_stage(path), engine_stage(target)
    if stage is None or other is None:
        lost = path if stage is None else target
        return f"{lost} belongs to no stage of the engine; give it one in tests/check_includes.py"
    allowed = {name: may for name, _, may in ENGINE}
    if other == stage or other in allowed[stage]:
        return None
    return (f"the engine's stage {stage} may include {', '.join(allowed[stage]) or 'nothing'}"
            f" beside itself, not {other}")


def folder_of(path):
    return max((f for f in FOLDER_RULES if path.startswith(f)), key=len, default=None)


def error_of(path, target):
    """What is wrong with `path` including the project's `target`, or None."""
    if path.startswith("engine/") and target.startswith("engine/"):
        return engine_error(path, target)
    folder = folder_of(path)
    if folder is None or folder_of(target) == folder:
        return None
    if any(target.startswith(prefix) for prefix in FOLDER_RULES[folder]):
        return None
    allowed = ", ".join(FOLDER_RULES[folder]) or "nothing"
    return f"{folder} may include {allowed} beside itself, not {target}"


def find_cycle(graph):
    """A list of files that include each other in a circle, or None."""
    done = set()

    def visit(node, trail):
        if node in trail:
            return trail[trail.index(node):] + [node]
        if node in done:
            return None
        for target in graph.get(node, ()):
            cycle = visit(target, trail + [node])
            if cycle:
                return cycle
        done.add(node)
        return None

    return next(filter(None, (visit(node, []) for node in sorted(graph))), None)


def main():
    files = sorted(p for folder in FOLDERS for suffix in ("h", "cc")
                   for p in (ROOT / folder).rglob(f"*.{suffix}"))
    if not files:
        sys.exit(f"check_includes.py: no source files under {ROOT}")
    errors, graph = [], {}
    for file in files:
        path = file.relative_to(ROOT).as_posix()
        text = file.read_text(encoding="utf-8")
        if path.endswith(".h") and "#pragma once" not in text:
            errors.append(f"{path}: a header needs #pragma once")
        for match in INCLUDE.finditer(text):
            bracket, target = match.groups()
            where = f"{path}:{text.count(chr(10), 0, match.start(2)) + 1}"
            if GRPC.search(target) and path.startswith(NO_GRPC):
                errors.append(f"{where}: {target}: no gRPC in {folder_of(path)}")
            own = target.split("/")[0] in FOLDERS
            if not own:
                if bracket == '"' and (file.parent / target).exists():
                    errors.append(f"{where}: {target}: write the path from the project's root")
                continue
            if not target.endswith(".pb.h") and not (ROOT / target).exists():
                errors.append(f"{where}: {target}: no such file")
            error = error_of(path, target)
            if error:
                errors.append(f"{where}: {target}: {error}")
            graph.setdefault(path, []).append(target)
    cycle = find_cycle(graph)
    if cycle:
        errors.append("these include each other in a circle: " + " → ".join(cycle))
    for error in errors:
        print(error)
    print(f"{len(files)} files, {len(errors)} wrong includes")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

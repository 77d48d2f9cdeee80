#!/usr/bin/env bash
# Makes the tests' Python environment, or finds it made, and prints the path of its interpreter.
#   tests/venv.sh [DIR]        (default: build/venv)
# It is made anew when tests/requirements*.txt or the system's Python changes. Safe to run twice at
# the same time.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/build/venv}
requirements=$root/tests/requirements

# The system's own Python, where there is one: another on PATH may lack ensurepip.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || {
  echo "tests/venv.sh: no python3; run deploy/install-deps.sh test" >&2
  exit 1
}

mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
stamp=$( (cat "$requirements"*.txt; "$python" --version; echo "$dir") | sha256sum | cut -d' ' -f1)
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  echo "Installing Python packages into $dir" >&2
  rm -rf "$dir"
  "$python" -m venv "$dir" >&2 || {
    echo "tests/venv.sh: cannot make $dir; run deploy/install-deps.sh test" >&2
    exit 1
  }
  pip=("$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input)
  "${pip[@]}" --requirement "$requirements.txt" --requirement "$requirements-kserve.txt" >&2
  # These need older packages than all others: each has a directory of its own.
  "${pip[@]}" --requirement "$requirements-tensorflow.txt" --no-deps \
    --target "$dir/tensorflow-client" >&2
  "${pip[@]}" --requirement "$requirements-perf-analyzer.txt" --no-deps \
    --target "$dir/perf-analyzer" >&2
  echo "$stamp" >"$dir/stamp"
fi
echo "$dir/bin/python"

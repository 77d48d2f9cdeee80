#!/usr/bin/env bash
# Exports the networks named, or finds them exported, and prints their directory, build/nets.
#   tests/nets/nets.sh NAME…        (see export.py for the names)
# They are made anew when export.py changes. Safe to run twice at the same time.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/build/nets
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
stamp=$(sha256sum <"$root/tests/nets/export.py")
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  rm -f "$dir"/*
  echo "$stamp" >"$dir/stamp"
fi
missing=()
for name in "$@"; do
  [ -e "$dir/$name.onnx" ] || missing+=("$name")
done
if [ ${#missing[@]} -gt 0 ]; then
  # The system's Python has Debian's PyTorch.
  /usr/bin/python3 "$root/tests/nets/export.py" "${missing[@]}" "$dir" >&2 || {
    echo "tests/nets/nets.sh: cannot export ${missing[*]}; run deploy/install-deps.sh test" >&2
    exit 1
  }
fi
echo "$dir"

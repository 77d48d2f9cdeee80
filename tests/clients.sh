#!/usr/bin/env bash
# Installs the tests' clients that are not Python's, or finds them installed, and prints their
# directory: bin/ holds Go's programs, node_modules/ the packages for Node.js.
#   tests/clients.sh [DIR]        (default: build/tools)
# What is installed, and in which version, say the lock files in tests/conformance/clients; DIR is
# made anew when they, Go or Node.js change. Safe to run twice at the same time.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/build/tools}
locks=$root/tests/conformance/clients

for tool in go node npm; do
  command -v "$tool" >/dev/null || {
    echo "tests/clients.sh: no $tool; run deploy/install-deps.sh test" >&2
    exit 1
  }
done

mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
stamp=$( (cat "$locks"/*; go version; node --version; echo "$dir") | sha256sum | cut -d' ' -f1)
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  echo "Installing clients into $dir" >&2
  rm -rf "$dir"
  mkdir -p "$dir/bin"
  # Go: exactly what go.sum says, with the Go that is here, and without C.
  (cd "$locks" && sed -n 's/^\t_ "\(.*\)"$/\1/p' tools.go |
    GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 GOBIN="$dir/bin" \
      xargs go install -trimpath -buildvcs=false -ldflags='-s -w') >&2
  cp "$locks"/package*.json "$dir"
  (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
  echo "$stamp" >"$dir/stamp"
fi
echo "$dir"

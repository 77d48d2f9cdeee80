#!/usr/bin/env bash
# Runs the benchmarks on this machine and writes their tables into docs/performance.md, each
# between its markers.
#   tests/bench/run.sh [engine_vs_ort's options…]
# Needs build/release (cmake --preset release && cmake --build --preset release) and the tests'
# Python environment, which it makes. Takes about ten minutes; leave the machine alone meanwhile.
set -euo pipefail

case "${1-}" in
  --help | -h) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
cd "$(dirname "$0")/../.."
bench=build/release/bin/engine_vs_ort
[ -x "$bench" ] || {
  echo "tests/bench/run.sh: no $bench; build it with: cmake --preset release && cmake --build --preset release" >&2
  exit 1
}
tests/venv.sh >/dev/null

# replace DOCUMENT NAME FILE: puts FILE between the markers of NAME.
replace() {
  local begin="<!-- $2: begin -->" end="<!-- $2: end -->"
  if ! grep -qF "$begin" "$1" || ! grep -qF "$end" "$1"; then
    echo "tests/bench/run.sh: $1 has no markers \"$begin\" and \"$end\"" >&2
    exit 1
  fi
  awk -v begin="$begin" -v end="$end" -v file="$3" '
    index($0, end) { inside = 0 }
    !inside { print }
    index($0, begin) { inside = 1; while ((getline line < file) > 0) print line }
  ' "$1" >"$1.new"
  mv "$1.new" "$1"
}

table=$(mktemp)
trap 'rm -f "$table"' EXIT
{
  # shellcheck disable=SC1091
  echo "Measured $(date -u +%F) on $(. /etc/os-release && echo "$PRETTY_NAME"), kernel $(uname -r), with \`tests/bench/run.sh${*:+ $*}\`."
  echo
  "$bench" "$@"
} | tee "$table"
replace docs/performance.md engine_vs_ort "$table"

#!/usr/bin/env bash
# Runs the benchmarks on this machine and writes their tables into docs/performance.md, each
# between its markers.
#   tests/bench/run.sh                        all of them; takes about two hours
#   tests/bench/run.sh NAME [its options…]    one: engine_vs_ort, overhead, throughput, overload,
#                                             fairness or soak
# Needs build/release (cmake --preset release && cmake --build --preset release) and the tests'
# Python environment, which it makes. Leave the machine alone meanwhile.
set -euo pipefail

case "${1-}" in
  --help | -h) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
cd "$(dirname "$0")/../.."
bin=build/release/bin
[ -x "$bin/engine_vs_ort" ] || {
  echo "tests/bench/run.sh: no $bin/engine_vs_ort; build it with: cmake --preset release && cmake --build --preset release" >&2
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

# run NAME [options…]
run() {
  local name=$1 command
  shift
  case "$name" in
    engine_vs_ort) command=("$bin/engine_vs_ort") ;;
    overhead | throughput | overload | fairness | soak)
      command=(env BATON_BIN="$PWD/$bin" PYTHONDONTWRITEBYTECODE=1
        build/venv/bin/python "tests/bench/$name.py") ;;
    *) echo "tests/bench/run.sh: no benchmark \"$name\"; see --help" >&2; exit 2 ;;
  esac
  case " $* " in
    *" --help "* | *" -h "*) "${command[@]}" --help; return ;;
  esac
  {
    # shellcheck disable=SC1091
    echo "Measured $(date -u +%F) on $(. /etc/os-release && echo "$PRETTY_NAME"), kernel $(uname -r), $(nproc) cores, with \`tests/bench/run.sh $name${*:+ $*}\`."
    echo
    "${command[@]}" "$@"
  } | tee "$table"
  replace docs/performance.md "$name" "$table"
}

table=$(mktemp)
trap 'rm -f "$table"' EXIT
if [ $# -gt 0 ]; then
  run "$@"
else
  for name in engine_vs_ort overhead throughput overload fairness soak; do run "$name"; done
fi

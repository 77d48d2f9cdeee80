#!/usr/bin/env bash
# Installs what Baton needs, builds it and runs every test. Exit 0 only if all of it passed.
set -uo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/run.sh [--only SECTION]… [--fast] [--no-install]
Installs what Baton needs (as root or with sudo), builds it and runs every test.

Sections, in this order:
  checks      format, include order, shell scripts
  tsan        engine, repository and serving under ThreadSanitizer
  asan-ubsan  all tests under AddressSanitizer and UndefinedBehaviorSanitizer
  release     all tests, built as it ships
The sanitizers' sections compile with clang, and with its thread-safety analysis.

Options:
  --only SECTION   only this section; repeatable
  --fast           only checks and release, without the tests labelled "slow"
  --no-install     do not install Debian packages
  --help           this text

Exit status: 0 if everything passed, 1 if anything failed, 2 for a wrong option.
TEXT
}

all_sections=(checks tsan asan-ubsan release)
sections=()
fast=0
install=1
while [ $# -gt 0 ]; do
  case "$1" in
    --only) shift; sections+=("${1-}") ;;
    --only=*) sections+=("${1#*=}") ;;
    --fast) fast=1 ;;
    --no-install) install=0 ;;
    --help | -h) usage; exit 0 ;;
    *) echo "tests/run.sh: unknown option \"$1\"; see tests/run.sh --help" >&2; exit 2 ;;
  esac
  shift
done
for section in ${sections[@]+"${sections[@]}"}; do
  case " ${all_sections[*]} " in
    *" $section "*) ;;
    *) echo "tests/run.sh: unknown section \"$section\"; expected one of: ${all_sections[*]}" >&2; exit 2 ;;
  esac
done
if [ ${#sections[@]} -eq 0 ]; then
  sections=("${all_sections[@]}")
  [ "$fast" -eq 0 ] || sections=(checks release)
fi

cd "$(dirname "$0")/.." || exit 1
exec </dev/null
export CCACHE_DIR=${CCACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ccache}
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G}
jobs=$(nproc)

section_checks() {
  local failed=0 python
  python=$(tests/venv.sh) || return 1
  list() {  # list NAME…: the project's files with such names
    local name names=()
    for name in "$@"; do names+=(-o -name "$name"); done
    find . \( -path ./build -o -path ./.git \) -prune -o -type f \( -false "${names[@]}" \) -print0
  }

  echo "-- format"
  list '*.cc' '*.h' | xargs -0 -r "${python%/*}/clang-format" --dry-run --Werror || {
    echo "Format: run ${python%/*}/clang-format -i on the files named above"; failed=1; }
  echo "-- include order"
  "$python" tests/check_includes.py || failed=1
  echo "-- shell scripts"
  { list '*.sh'; printf '.ci/run\0'; } | xargs -0 -r shellcheck --severity=warning || failed=1
  return "$failed"
}

# section_preset PRESET: configures, builds, tests; keeps ctest's summary for the end.
section_preset() {
  local preset=$1 args=()
  [ "$fast" -eq 0 ] || args=(--label-exclude slow)
  # Some C++ tests compare with a library out of the Python environment.
  tests/venv.sh >/dev/null && cmake --preset "$preset" && cmake --build --preset "$preset" ||
    return 1
  ctest --preset "$preset" --no-tests=error --parallel "$jobs" ${args[@]+"${args[@]}"} 2>&1 |
    tee "build/$preset/ctest.log"
}

report=()
failures=()
timed() {  # timed NAME COMMAND…: runs a section, whatever it ends with
  local name=$1 start=$SECONDS status
  shift
  printf '\n===== %s =====\n' "$name"
  "$@"
  status=$?
  report+=("$(printf '%-12s %-7s %5d s' "$name" "$([ $status -eq 0 ] && echo passed || echo FAILED)" $((SECONDS - start)))")
  [ $status -eq 0 ] || failures+=("$name")
}

if [ "$install" -eq 1 ]; then
  timed install deploy/install-deps.sh build test
  # Nothing after it can be believed without the packages.
  [ ${#failures[@]} -eq 0 ] || { echo "tests/run.sh: FAILED: install" >&2; exit 1; }
fi
for section in "${sections[@]}"; do
  case "$section" in
    checks) timed checks section_checks ;;
    *)
      rm -f "build/$section/ctest.log"
      timed "$section" section_preset "$section"
      ;;
  esac
done

printf '\n===== summary: %d s in all =====\n' "$SECONDS"
printf '%s\n' "${report[@]}"
for section in "${sections[@]}"; do
  [ -f "build/$section/ctest.log" ] || continue
  printf '\n-- ctest, %s\n' "$section"
  sed -n '/^[0-9]*% tests passed/,$p' "build/$section/ctest.log"
done
if [ ${#failures[@]} -gt 0 ]; then
  echo "tests/run.sh: FAILED: ${failures[*]}" >&2
  exit 1
fi

#!/usr/bin/env bash
# Prints the Debian packages that programs need to run, one a line: those of the shared libraries
# they are linked with. The Dockerfile installs exactly these, so that no list can grow stale.
#   deploy/runtime-deps.sh PROGRAM…
set -euo pipefail

[ $# -gt 0 ] || { echo "runtime-deps.sh: no program named; usage: runtime-deps.sh PROGRAM…" >&2; exit 2; }

libraries=$(ldd "$@")
if missing=$(grep 'not found' <<<"$libraries"); then
  echo "runtime-deps.sh: libraries are missing here: $missing" >&2
  exit 1
fi
awk '$2 == "=>" { print $3 }' <<<"$libraries" | sort -u | while read -r library; do
  # dpkg knows a file by one of its names: before or after /lib became a link to /usr/lib.
  dpkg-query --search "$library" 2>/dev/null || dpkg-query --search "/usr$library" 2>/dev/null ||
    dpkg-query --search "${library#/usr}" 2>/dev/null || {
    echo "runtime-deps.sh: no package has $library" >&2
    exit 1
  }
done | cut -d: -f1 | sort -u

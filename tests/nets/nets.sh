#!/usr/bin/env bash
# Makes the networks named, or finds them made, and prints their directory, build/nets.
#   tests/nets/nets.sh NAME…    (see export.py, quantize.py and fetch_ppocr.sh for the names)
# They are made anew when one of those changes. Safe to run twice at the same time.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$root/build/nets
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
stamp=$(cat "$root"/tests/nets/{export.py,quantize.py,fetch_ppocr.sh} | sha256sum)
if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
  rm -f "$dir"/*
  echo "$stamp" >"$dir/stamp"
fi
exported=()
quantized=()
fetched=()
need() {  # need LIST NAME: adds it to the list, once, if it is not there yet
  local -n list=$1
  [ -e "$dir/$2.onnx" ] || [[ " ${list[*]-} " == *" $2 "* ]] || list+=("$2")
}
for name in "$@"; do
  case "$name" in
    *_qdq | *_qop | *_dynamic | *_fp16)
      need quantized "$name"
      [ -e "$dir/$name.onnx" ] || need exported "${name%_*}"
      ;;
    ppocr_*) need fetched "$name" ;;
    *) need exported "$name" ;;
  esac
done
[ ${#fetched[@]} -eq 0 ] || "$root/tests/nets/fetch_ppocr.sh" "$dir"
if [ ${#exported[@]} -gt 0 ]; then
  # The system's Python has Debian's PyTorch.
  /usr/bin/python3 "$root/tests/nets/export.py" "${exported[@]}" "$dir" >&2 || {
    echo "tests/nets/nets.sh: cannot export ${exported[*]}; run deploy/install-deps.sh test" >&2
    exit 1
  }
fi
if [ ${#quantized[@]} -gt 0 ]; then
  "$("$root/tests/venv.sh")" "$root/tests/nets/quantize.py" "${quantized[@]}" "$dir" >&2
fi
echo "$dir"

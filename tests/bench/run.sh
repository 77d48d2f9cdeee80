#!/usr/bin/env bash
# Runs the benchmarks on this machine and writes their tables into docs/performance.md, each
# between its markers.
#   tests/bench/run.sh                        all but engine_debian13; takes about three hours
#   tests/bench/run.sh NAME [its options…]    one: engine_f32, engine_lengths, engine_bf16,
#                                             engine_int8 (each engine_vs_peers), engine_debian13
#                                             (of what tests/debian13.sh built), engine_load,
#                                             profile, overhead, throughput, overload, fairness
#                                             or soak
# Needs build/release (cmake --preset release && cmake --build --preset release) and the tests'
# Python environment, which it makes. Leave the machine alone meanwhile.
set -euo pipefail

case "${1-}" in
  --help | -h) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
cd "$(dirname "$0")/../.."
bin=build/release/bin
[ -x "$bin/engine_vs_peers" ] || {
  echo "tests/bench/run.sh: no $bin/engine_vs_peers; build it with: cmake --preset release && cmake --build --preset release" >&2
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

# files NAME…: the networks of tests/nets/nets.sh as a list for --files
files() {
  local dir name list=
  dir=$(tests/nets/nets.sh "$@")
  for name in "$@"; do list+=${list:+,}$dir/$name.onnx; done
  echo "$list"
}

# OpenVINO, which only these benchmarks need: 180 MB.
install_openvino() {
  [ -d build/openvino/openvino ] || build/venv/bin/python -m pip install --quiet --no-deps \
    --disable-pip-version-check --target build/openvino openvino==2026.4.1
}

# Where the time of each network goes, by operator.
profile() {
  local name options
  for name in resnet50 mobilenet_v2 mobilenet_v3 efficientnet_b0 squeezenet detector \
    ppocr_det ppocr_cls ppocr_rec vit minilm bert_base resnet50:bf16 bert_base:bf16 resnet50_qdq mobilenet_v2_qdq minilm_qdq; do
    options=(--batch=1 --threads=1 --seconds=2)
    case "$name" in
      minilm* | bert*) options+=(--dim=length=128) ;;
      ppocr_det) options+=(--dim=p2o.DynamicDimension.1=640 --dim=p2o.DynamicDimension.2=640) ;;
      ppocr_cls) options+=(--dim=p2o.DynamicDimension.1=48 --dim=p2o.DynamicDimension.2=192) ;;
      ppocr_rec) options+=(--dim=p2o.DynamicDimension.1=320) ;;
    esac
    case "$name" in *:bf16) options+=(--precision=bf16) ;; esac
    echo "**${name/:/, }**"
    echo '```'
    "$bin/baton-model" bench "$(tests/nets/nets.sh "${name%:*}")/${name%:*}.onnx" \
      "${options[@]}" --profile "$@" | awk '/operator +implementation/ { n++ } n == 2 && NF'
    echo '```'
    echo
  done
}

# run NAME [options…]
run() {
  local name=$1 command files net
  shift
  case "$name" in
    engine_f32)
      install_openvino
      command=("$bin/engine_vs_peers" "--nets=mlp,resnet50,mobilenetv2,squeezenet"
        "--files=$(files mobilenet_v3 efficientnet_b0 detector ppocr_det ppocr_cls ppocr_rec vit minilm bert_base)")
      ;;
    engine_lengths)
      install_openvino
      command=("$bin/engine_vs_peers" "--length=16,384" "--batch=1,8" "--files=$(files minilm bert_base)")
      ;;
    engine_bf16)
      install_openvino
      command=("$bin/engine_vs_peers" --precision=bf16
        "--files=$(files resnet50 mobilenet_v2 minilm bert_base)")
      ;;
    engine_int8)
      install_openvino
      tests/nets/nets.sh resnet50 mobilenet_v2 minilm bert_base >/dev/null  # to compare with
      command=("$bin/engine_vs_peers"
        "--files=$(files resnet50_qdq mobilenet_v2_qdq minilm_qdq minilm_dynamic bert_base_qdq bert_base_dynamic)")
      ;;
    engine_debian13)
      files=
      for net in resnet50 mobilenet_v2 mobilenet_v3 efficientnet_b0 detector minilm bert_base; do
        files+=${files:+,}build/nets/$net.onnx
      done
      command=(tests/debian13.sh --run "$bin/engine_vs_peers" --no-openvino
        "--nets=mlp,squeezenet" "--files=$files" "--batch=1,8")
      ;;
    engine_load) command=("$bin/load_vs_ort" "--files=$(files resnet50 bert_base)") ;;
    profile) command=(profile) ;;
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
  for name in engine_f32 engine_lengths engine_bf16 engine_int8 engine_load profile overhead throughput overload fairness soak; do run "$name"; done
fi

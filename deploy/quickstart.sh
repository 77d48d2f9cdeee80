#!/usr/bin/env bash
# From nothing to a model that is served and swapped under load: installs what Baton needs, builds
# it, trains a network on handwritten digits, serves it, and publishes its next version while
# clients call it. Leaves everything in build/; a second run starts over with a new repository.
set -euo pipefail
export LC_ALL=C   # numbers are read and written with a point

usage() {
  cat <<'TEXT'
Usage: deploy/quickstart.sh [--keep] [--port N] [--http-port N] [--no-install]
Installs (as root or with sudo), builds, trains, serves and swaps: all that Baton does, once.

  --keep          leave the server running at the end, and say how to stop it
  --port N        gRPC port (default: the first free one from 8500 on)
  --http-port N   HTTP port: metrics, health (default: the first free one after it)
  --no-install    do not install Debian packages
  --help          this text

Exit status: 0 if all went well, 1 if not, 2 for a wrong option.
TEXT
}

min_accuracy=97.0   # percent, of the test images as they are served
digit=0             # which test image is shown
keep=0 install=1 port='' http_port=''

wrong_option() { echo "quickstart.sh: $1; see deploy/quickstart.sh --help" >&2; exit 2; }
check_port() {
  [[ "$2" =~ ^[0-9]+$ ]] && [ "$2" -ge 1 ] && [ "$2" -le 65535 ] ||
    wrong_option "$1 is \"$2\", expected a port from 1 to 65535"
}
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=1 ;;
    --no-install) install=0 ;;
    --port | --http-port)
      [ $# -ge 2 ] || wrong_option "$1 needs a value"
      check_port "$1" "$2"
      if [ "$1" = --port ]; then port=$2; else http_port=$2; fi
      shift ;;
    --port=*) port=${1#*=}; check_port --port "$port" ;;
    --http-port=*) http_port=${1#*=}; check_port --http-port "$http_port" ;;
    --help | -h) usage; exit 0 ;;
    *) wrong_option "unknown option \"$1\"" ;;
  esac
  shift
done

cd "$(dirname "$0")/.."
work=$PWD/build/quickstart
models=$work/models
mnist=$PWD/build/mnist
bin=$PWD/build/release/bin
server_pid='' bench_pid=''

# Whatever ends this script ends what it started.
stop() {  # stop PID: asks it to end, and makes it if it does not
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in {1..100}; do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
}
clean_up() {
  local status=$?
  trap - EXIT
  [ -z "$bench_pid" ] || stop "$bench_pid"
  [ -z "$server_pid" ] || { stop "$server_pid"; rm -f "$work/server.pid"; }
  exit "$status"
}
trap clean_up EXIT
trap 'echo >&2; echo "quickstart.sh: interrupted" >&2; exit 130' INT
trap 'exit 143' TERM

say() { printf '\n==> %s\n' "$*"; }
fail() { echo "quickstart.sh: $*" >&2; exit 1; }
# logged NAME COMMAND…: its output goes to a file; if it fails, its last line is what is told.
logged() {
  local log=$work/$1.log
  shift
  "$@" >"$log" 2>&1 || fail "\"${1##*/} ${*:2}\" failed: $(grep . "$log" | tail -n 1); all of it: $log"
}

# A server that an earlier run was told to keep would watch the directory that goes now.
if [ -f "$work/server.pid" ]; then
  old=$(cat "$work/server.pid")
  if [ "$(readlink "/proc/$old/exe" 2>/dev/null)" = "$bin/baton-server" ]; then
    echo "Stopping the server that an earlier run left (process $old)"
    stop "$old"
  fi
fi
rm -rf "$work"
mkdir -p "$models"

say "Installing what Baton needs"
[ "$install" -eq 0 ] || deploy/install-deps.sh build fetch || fail "cannot install the packages"

say "Building (some minutes the first time; log: $work/build.log)"
logged configure cmake --preset release
logged build cmake --build --preset release --target baton-server baton baton-model baton-train

say "Getting MNIST: 60,000 digits to train with, 10,000 to test with"
deploy/fetch-mnist.sh "$mnist" || fail "cannot get MNIST"
images=$mnist/t10k-images-idx3-ubyte
labels=$mnist/t10k-labels-idx1-ubyte

say "Training a 784-64-16-10 network; it is published as version 1"
train() {  # train SEED: a gate of its own keeps a bad model from being published
  "$bin/baton-train" --preset=mnist-mlp --repository="$models" --data="$mnist" --seed="$1" \
    --min-accuracy=0.97
}
train 1 || fail "training failed"

free_port() {  # free_port FROM: the first port from there on that nobody listens on
  local candidate=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; do candidate=$((candidate + 1)); done
  echo "$candidate"
}
port=${port:-$(free_port 8500)}
http_port=${http_port:-$(free_port $((port + 1)))}
address=127.0.0.1:$port

say "Starting the server: gRPC on $port, HTTP on $http_port (log: $work/server.log)"
setsid "$bin/baton-server" --model_repository="$models" --port="$port" \
  --rest_api_port="$http_port" --drain_seconds=1 >"$work/server.log" 2>&1 </dev/null &
server_pid=$!
echo "$server_pid" >"$work/server.pid"

# wait_for SECONDS WHAT COMMAND…: until the command succeeds, as long as the server lives.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$server_pid" 2>/dev/null || {
      server_pid=''
      fail "the server ended: $(grep . "$work/server.log" | tail -n 1)"
    }
    [ $SECONDS -lt $end ] || fail "$what: not within a minute; see $work/server.log"
    sleep 0.2
  done
}
version_serves() {
  "$bin/baton" status --server="$address" --model=mnist --version="$1" | grep -q AVAILABLE
}
wait_for 60 "the server is ready" curl -fsS "http://127.0.0.1:$http_port/readyz"

# The label byte of test image N stands after a header of 8 bytes.
true_label=$(od -An -tu1 -j$((8 + digit)) -N1 "$labels" | tr -d ' ')
predict() {  # predict VERSION: asks for the digit; it must be that version that answers
  local answer label
  answer=$("$bin/baton" predict --server="$address" --model=mnist --idx="$images" --index="$digit" --top=1)
  label=$(sed -n 's/^label \([0-9]*\),.*/\1/p' <<<"$answer")
  [ -n "$label" ] || fail "no label in the server's answer: $answer"
  grep -q "^model mnist, version $1\$" <<<"$answer" ||
    fail "expected version $1 to answer, got: ${answer%%$'\n'*}"
  echo "Test digit $digit is a $true_label. Version $1 says: $label"
  [ "$label" = "$true_label" ] || fail "version $1 does not recognise test digit $digit"
}
accuracy() {  # accuracy VERSION: of all test images, served
  local answer percent
  answer=$("$bin/baton" predict --server="$address" --model=mnist --idx="$images" --labels="$labels")
  percent=$(sed -n 's/^accuracy \([0-9.]*\) %.*/\1/p' <<<"$answer")
  [ -n "$percent" ] || fail "no accuracy in: $answer"
  echo "Version $1, all 10,000 test images through gRPC: ${answer##*$'\n'}"
  awk -v is="$percent" -v least="$min_accuracy" 'BEGIN { exit !(is >= least) }' ||
    fail "version $1 has an accuracy of $percent %, expected at least $min_accuracy %"
}

say "Predicting through gRPC"
predict 1
accuracy 1

say "Publishing version 2 while clients call (training goes on beside the server)"
"$bin/baton" bench --server="$address" --model=mnist --idx="$images" --concurrency=8 --connections=4 \
  --duration=0 --json --quiet >"$work/bench.json" 2>"$work/bench.log" &
bench_pid=$!
train 2 || fail "training failed"
wait_for 60 "version 2 serves" version_serves 2
sleep 2   # of load on version 2
kill -TERM "$bench_pid"
wait "$bench_pid" || { bench_pid=''; fail "the load failed: $(tail -n 1 "$work/bench.log")"; }
bench_pid=''

# number NAME: a number of the load's report.
number() { sed -n "s/^ *\"$1\": \([0-9.]*\),\{0,1\}\$/\1/p" "$work/bench.json" | head -n 1; }
answered_by() { grep -q "\"version\": \"$1\"" "$work/bench.json"; }
requests=$(number requests) failed=$(number failed) went_back=$(number versions_went_back)
printf "%d requests, %d failed; p50 %.2f ms, p99 %.2f ms\n" "$requests" "$failed" "$(number p50)" "$(number p99)"
[ "$failed" = 0 ] || fail "$failed requests failed across the swap; see $work/bench.json"
[ "$went_back" = 0 ] || fail "clients saw version 1 after version 2; see $work/bench.json"
for version in 1 2; do
  answered_by "$version" || fail "version $version answered none of the requests; see $work/bench.json"
done

say "Predicting by version 2"
predict 2
accuracy 2

say "Done: two versions trained, served and swapped; $requests requests, 0 failed"
if [ "$keep" -eq 1 ]; then
  cat <<TEXT
The server goes on (process $server_pid; stop it with: kill $server_pid). Try:
  build/release/bin/baton status --server=$address --model=mnist
  build/release/bin/baton predict --server=$address --model=mnist --idx=build/mnist/t10k-images-idx3-ubyte --index=7
  curl http://127.0.0.1:$http_port/metrics
TEXT
  server_pid=''
else
  echo "The server is stopped. --keep leaves it running."
fi

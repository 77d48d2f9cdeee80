#!/usr/bin/env bash
# Builds and tests Baton in a Debian 13 of its own: newer g++, oneDNN 3.7, newer Python and PyTorch.
set -uo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/debian13.sh [--root DIR] [--mirror URL] [--no-install] [--remove]
                         [option of tests/run.sh]… [--run COMMAND…]
Makes a Debian 13 in a directory (or finds it made), copies the source into it and runs tests/run.sh
there, with --only release where no section is named. Needs root, for chroot; where mounts are
allowed, it has /proc and /dev. Takes some 7 GB and, the first time, most of an hour.

Options:
  --root DIR     that directory (default: /var/cache/baton/debian13)
  --mirror URL   where Debian's packages come from (default: where this machine's apt has them from)
  --no-install   install no Debian packages, neither here nor there
  --remove       remove the directory, and do nothing else
  --run COMMAND… run the command there instead of the tests, on what they have built
  --help         this text

Exit status: as tests/run.sh has it; 1 also if there is no Debian 13 to run it in.
TEXT
}

fail() { echo "tests/debian13.sh: $*" >&2; exit 1; }
wrong() { echo "tests/debian13.sh: $*; see tests/debian13.sh --help" >&2; exit 2; }

root=/var/cache/baton/debian13
mirror=
install=1
remove=0
sections=(--only release)
options=()
command=()
while [ $# -gt 0 ]; do
  case "$1" in
    --root | --mirror)
      [ $# -gt 1 ] || wrong "$1 wants a value"
      if [ "$1" = --root ]; then root=$2; else mirror=$2; fi
      shift ;;
    --root=*) root=${1#*=} ;;
    --mirror=*) mirror=${1#*=} ;;
    --no-install) install=0; options+=("$1") ;;
    --remove) remove=1 ;;
    --only) sections=(); options+=("$1" "${2-}"); [ $# -eq 1 ] || shift ;;
    --only=*) sections=(); options+=("$1") ;;
    --fast) options+=("$1") ;;
    --run)
      [ $# -gt 1 ] || wrong "$1 wants a command"
      command=("${@:2}")
      break ;;
    --help | -h) usage; exit 0 ;;
    *) wrong "unknown option \"$1\"" ;;
  esac
  shift
done
options=("${sections[@]}" "${options[@]}")

cd "$(dirname "$0")/.." || exit 1
exec </dev/null
[ "$(id -u)" -eq 0 ] || fail "needs root: it runs programs in a directory of their own (chroot)"
root=$(realpath -m "$root")
made=$root/etc/baton-debian13  # says that the directory is this script's own
mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9

if [ "$remove" -eq 1 ]; then
  if [ -e "$root" ]; then
    [ -e "$made" ] || fail "$root was not made by this script: remove it yourself"
    rm -rf "$root"
  fi
  rm -rf "$root.new" "$root.lock"
  exit 0
fi

# enter COMMAND…: runs it in the Debian 13, with mounts that end with it.
enter() {
  local program=(chroot "$root" env -u TMPDIR -u CCACHE_DIR -u BATON_ONNXRUNTIME -u BATON_NETS
    HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@")
  # shellcheck disable=SC2016 # the inner shell's
  local mounts='mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"'
  local namespace=(unshare --mount --pid --fork --kill-child bash -c)
  if "${namespace[@]}" "$mounts" "$root" 2>/dev/null; then
    "${namespace[@]}" "$mounts"' && exec "$@"' "$root" "${program[@]}"
  else
    echo "tests/debian13.sh: mounts are refused: what needs /proc fails" >&2
    "${program[@]}"
  fi
}

make_root() {
  [ "$install" -eq 0 ] || deploy/install-deps.sh debian13 || return 1
  command -v debootstrap >/dev/null || fail "no debootstrap; run deploy/install-deps.sh debian13"
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
  [ -n "$mirror" ] || fail "this machine's apt knows no mirror of Debian's; name one with --mirror"
  echo "Making a Debian 13 in $root" >&2
  rm -rf "$root.new"
  debootstrap --variant=minbase trixie "$root.new" "$mirror" >&2 &&
    touch "$root.new/etc/${made##*/}" && mv "$root.new" "$root"
}

# What programs in there must know of this machine: names of hosts, proxies, whom to trust.
copy_settings() {
  cp /etc/resolv.conf /etc/hosts "$root/etc/" || return 1
  local certificates=/usr/local/share/ca-certificates
  if [ -d "$certificates" ]; then
    mkdir -p "$root$certificates" && cp -r "$certificates/." "$root$certificates" || return 1
    [ ! -e "$root/usr/sbin/update-ca-certificates" ] || enter update-ca-certificates >/dev/null
  fi
}

# All but build/ of /baton becomes what it is here; build/ is that Debian's own.
copy_source() {
  mkdir -p "$root/baton" &&
    find "$root/baton" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} + &&
    tar --create --exclude=./build --exclude=./.git . | tar --extract --directory "$root/baton"
}

if command -v apt-config >/dev/null; then
  eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
  [ -z "${http_proxy-}" ] || export http_proxy
  [ -z "${https_proxy-}" ] || export https_proxy
fi
if [ ${#command[@]} -gt 0 ]; then
  [ -e "$root/baton/build/release" ] || fail "nothing is built in $root; run tests/debian13.sh"
  enter bash -c 'cd /baton && exec "$@"' - "${command[@]}"
  exit
fi
if [ ! -e "$root" ]; then
  make_root || fail "cannot make a Debian 13 in $root"
fi
[ -e "$made" ] || fail "$root was not made by this script; name another with --root"
copy_settings && copy_source || fail "cannot copy into $root"
enter bash -c 'cd /baton && exec tests/run.sh "$@"' - "${options[@]}"

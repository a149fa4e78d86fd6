#!/bin/sh
# Checks that the tools of a build are there before anything compiles. As root on a Debian it installs what is missing;
# otherwise it names what to install in one line. With the argument `pip` a way to fetch Python packages is needed too.
set -eu

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }

can_fetch() {
    for tool in pip pip3 uv; do command -v "$tool" >/dev/null 2>&1 && return 0; done
    python3 -m pip --version >/dev/null 2>&1
}

need cc gcc
need c++ g++
need make make
if [ "${1:-}" = pip ] && ! can_fetch; then missing="$missing python3-pip"; fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    else
        echo "missing:$missing; install with: sudo apt-get install$missing" >&2
        exit 1
    fi
fi
command -v cargo >/dev/null 2>&1 || { echo "missing: cargo; install Rust with rustup (https://rustup.rs)" >&2; exit 1; }

#!/bin/sh
# Checks bans, licences and sources of all dependencies, installing the checker once where it is missing.
set -eu

version=0.20.2
command -v cargo-deny >/dev/null 2>&1 || cargo install --quiet --locked "cargo-deny@$version"
cargo deny --log-level warn check bans licenses sources

#!/bin/sh
# Everything that needs no GPU, part by part. The demo model is fetched first, as the tests speak to a real model.
set -eu

GRISTMILL_DEMO_MODEL=$(tools/demo-model.sh)
PARTS=$(mktemp)
export GRISTMILL_DEMO_MODEL PARTS
trap 'echo; cat "$PARTS"; rm -f "$PARTS"' EXIT

tools/part.sh "build" 14 cargo build --workspace --all-targets --locked
tools/part.sh "path and engine" 8 \
    cargo test --locked -p gristmill-proto -p gristmill-model -p gristmill-text -p gristmill-cpu -p gristmill-shard
tools/part.sh "front door" 4 \
    cargo test --locked -p gristmill-router -p gristmill-launcher -p gristmill-integration-tests

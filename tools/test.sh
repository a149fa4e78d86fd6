#!/bin/sh
# Everything that needs no GPU, part by part. The demo model is fetched first, as the tests speak to a real model.
#
# All test programs are built at once and then run one by one: asking cargo for some packages at a time would build their
# dependencies again with other features.
set -eu

GRISTMILL_DEMO_MODEL=$(tools/demo-model.sh)
PARTS=$(mktemp)
PROGRAMS=$(mktemp)
export GRISTMILL_DEMO_MODEL PARTS PROGRAMS
trap 'echo; cat "$PARTS"; rm -f "$PARTS" "$PROGRAMS"' EXIT

tools/part.sh "build" 14 tools/test-programs.sh build
tools/part.sh "path and engine" 8 tools/test-programs.sh run \
    '/(proto|model|text|cpu|shard) |/deps/(bad_files|invariance|numerics|tokens|wire)-'
tools/part.sh "front door" 4 tools/test-programs.sh run \
    '/(router|launcher) |/integration-tests .*/deps/(gristmill_integration_tests|house|http|life|schedule)-'
tools/test-programs.sh left

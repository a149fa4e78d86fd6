#!/bin/sh
# Runs one part of the tests and prints its minutes beside its budget, also into the file PARTS if set:
# part.sh NAME MINUTES COMMAND...
set -eu

name=$1 budget=$2
shift 2
start=$(date +%s)
status=0
"$@" || status=$?
seconds=$(($(date +%s) - start))
printf 'part: %-18s %d.%d min (budget %s)\n' "$name" $((seconds / 60)) $((seconds % 60 / 6)) "$budget" |
    tee -a "${PARTS:-/dev/null}"
exit "$status"

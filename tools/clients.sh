#!/bin/sh
# Real Python clients, pinned, in a virtual environment of their own, against the real program: clients.sh PROGRAM
set -eu

program=$1
folder=integration-tests/clients
venv="${GRISTMILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gristmill}/clients"
stamp="$venv/$(cksum <"$folder/requirements.txt" | tr ' ' -)"

make_venv() {
    if command -v uv >/dev/null 2>&1; then uv venv --quiet "$venv"; return; fi
    python3 -c 'import ensurepip' 2>/dev/null || apt-get install -y -qq --no-install-recommends python3-venv
    python3 -m venv "$venv"
}

if [ ! -f "$stamp" ]; then
    rm -rf "$venv"
    make_venv
    if [ -x "$venv/bin/pip" ]; then
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$folder/requirements.txt"
    else
        uv pip install --quiet --python "$venv/bin/python" -r "$folder/requirements.txt"
    fi
    touch "$stamp"
fi
GRISTMILL_DEMO_MODEL=$(tools/demo-model.sh) "$venv/bin/python" "$folder/run.py" "$program"

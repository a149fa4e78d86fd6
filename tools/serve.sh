#!/bin/sh
# Serves a model, the demo model by default, and says how to talk to it: serve.sh PROGRAM PORT [MODEL]
set -eu

program=$1 port=$2 model=${3:-}
[ -n "$model" ] || model=$(tools/demo-model.sh)
cat <<TEXT

Serving $model on port $port. When it says "Connected", try:

curl 127.0.0.1:$port/generate -H 'Content-Type: application/json' \\
  -d '{"inputs":"The capital of France is","parameters":{"max_new_tokens":20}}'

TEXT
exec "$program" serve --model-id "$model" --port "$port"

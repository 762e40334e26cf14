#!/bin/sh
# The API with nothing but curl: the models, an answer, and one as it is written.
set -eu
url=${VENEER_URL:-http://127.0.0.1:8000}/v1
ask() {
    path=$1
    shift
    curl --fail-with-body -sS "$url/$path" -H "Authorization: Bearer ${VENEER_API_KEY:-none}" "$@"
}
question='"messages": [{"role": "user", "content": "What does a lighthouse do?"}]'

ask models
echo
ask chat/completions -H 'Content-Type: application/json' \
    -d "{\"model\": \"pirate\", \"max_tokens\": 80, $question}"
echo
ask chat/completions -N -H 'Content-Type: application/json' \
    -d "{\"model\": \"pirate\", \"max_tokens\": 80, \"stream\": true, $question}"

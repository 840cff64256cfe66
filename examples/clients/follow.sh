#!/usr/bin/env bash
# Submit a run, and follow it to its end. Whatever breaks the stream meanwhile, it goes on after the last whole event.
set -euo pipefail
url=${HOLDFAST_URL:-http://127.0.0.1:8080}
auth=${HOLDFAST_KEY:+Authorization: Bearer $HOLDFAST_KEY}

# The key makes this one run, however often the request is sent.
run=$(curl -sS --fail-with-body -D - -o /dev/null --retry 5 "$url/v1/runs" -H "$auth" -H 'Content-Type: application/json' \
  -H "Idempotency-Key: $RANDOM-$RANDOM-$(date +%s)" \
  -d "{\"agent\": \"assistant\", \"input\": {\"messages\": [{\"role\": \"user\", \"content\": \"$1\"}]}}" |
  tr -d '\r' | sed -n 's/^[Ll]ocation: //p')

part=$(mktemp)
trap 'rm -f "$part"' EXIT
last=  # a header without a value is not sent: from the start
while true; do
  # curl succeeds only when the gateway has ended the stream: then the run has ended.
  curl -sS --fail -N --retry 5 "$url$run/events" -H "$auth" -H "Last-Event-ID: $last" | tee "$part" && break
  [ $? -ne 22 ] || exit 1 # refused
  seen=$(awk '/^id: / {id = $2} /^$/ && id {last = id} END {print last}' "$part")
  last=${seen:-$last}
  sleep 1
done

#!/usr/bin/env bash
# Follow a run where a proxy holds streams back: the same events, by one request after another.
set -euo pipefail
url=${HOLDFAST_URL:-http://127.0.0.1:8080}
auth=${HOLDFAST_KEY:+Authorization: Bearer $HOLDFAST_KEY}

next=
while true; do
  # It is answered as soon as there is an event, and after 30 s without one.
  answer=$(curl -sS --fail --retry 5 "$url/v1/runs/$1/events?wait_s=30${next:+&after=$next}" -H "$auth" \
    -H 'Accept: application/json') || { [ $? -ne 22 ] || exit 1; sleep 1; continue; }
  echo "$answer"
  place=${answer##*\"next\":} # as "1-17","more":false,"ended":false…
  [[ $place != *'"ended":true'* ]] || break
  next=$(sed -n 's/^"\([^"]*\)".*/\1/p' <<<"$place")
done

#!/usr/bin/env bash
# make replace-proxy: start nginx anew from its image, and measure for how long nobody listened.
#
# A deploy only reloads nginx. A new image or a change of its ports needs a new container, which can have the port when
# the old one has let go of it: this is the one command with a gap.
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"
need_engine

address=$(docker compose port nginx 8443) || give_up "nginx is not running: make up"
port=${address##*:}
answers=$(mktemp)
trap 'rm -f "$answers"' EXIT

# When it answered, in milliseconds. Nothing is looked into, so the certificate need not be known here.
while :; do
    if curl --silent --insecure --output /dev/null --max-time 1 "https://127.0.0.1:$port/livez"; then date +%s%3N >>"$answers"; fi
done &
probe=$!
sleep 1
docker compose up --detach --no-deps --force-recreate --wait nginx
sleep 1
kill "$probe"
wait "$probe" 2>/dev/null || true
awk 'NR > 1 && $1 - last > gap { gap = $1 - last } { last = $1 } END { printf "nginx was replaced. Longest time without an answer: %.2f s.\n", gap / 1000 }' "$answers"

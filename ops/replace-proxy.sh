#!/usr/bin/env bash
# make replace-proxy: replace nginx's container, and measure how long its port was closed.
#
# A deploy only reloads nginx. A new image or a change of its ports needs a new container, which can open the port only
# after the old one has closed it: this is the one command with a gap.
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"
need_engine

address=$(docker compose port nginx 8443) || give_up "nginx is not running: make up"
case $address in 0.0.0.0:* | "[::]":* | :::*) address=127.0.0.1:${address##*:} ;; esac
answers=$(mktemp)
probe=''
# shellcheck disable=SC2154 # set by the trap
trap 'status=$?; [ -z "$probe" ] || kill "$probe" 2>/dev/null; rm -f "$answers"; exit $status' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# When it answered, in milliseconds. Nothing is looked into, so the certificate need not be known here.
while :; do
    if curl --silent --insecure --output /dev/null --max-time 1 "https://$address/livez"; then date +%s%3N >>"$answers"; fi
done &
probe=$!
sleep 1
[ -s "$answers" ] || give_up "nginx does not answer on $address, so no gap can be measured: make ps, make logs SERVICE=nginx"
docker compose up --detach --no-deps --force-recreate --wait nginx
sleep 1
kill "$probe"
wait "$probe" 2>/dev/null || true
probe=''
awk 'NR > 1 && $1 - last > gap { gap = $1 - last } { last = $1 } END { printf "nginx was replaced. Longest time without an answer: %.2f s.\n", gap / 1000 }' "$answers"

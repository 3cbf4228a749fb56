#!/usr/bin/env bash
# make monitoring-check: let promtool and amtool, in the images that compose.yaml names, check what is in monitoring/, and
# run the tests of the alert rules.
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"
need_engine

images=$(docker compose --file compose.yaml --profile monitoring config --images)

# in_image NAME FOLDER TOOL ARGUMENT...: runs a tool of an image on a folder of monitoring/.
in_image() {
    docker run --rm --network none --read-only --tmpfs /tmp --volume "$PWD/monitoring/$2:/etc/$2:ro" --entrypoint "$3" \
        "$(grep "/$1:" <<<"$images")" "${@:4}"
}

tests=(monitoring/prometheus/tests/*.yml)
in_image prometheus prometheus promtool check config /etc/prometheus/prometheus.yml
in_image prometheus prometheus promtool test rules "${tests[@]/#monitoring//etc}"
in_image alertmanager alertmanager amtool check-config /etc/alertmanager/alertmanager.yml

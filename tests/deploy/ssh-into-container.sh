#!/usr/bin/env bash
# ssh, as `make ecs-deploy` uses it: the host's shell gets the words as one line. The host is a container.
set -euo pipefail
host=${1##*@}
shift
exec docker exec --interactive "$host" bash -c "$*"

#!/usr/bin/env bash
# Functions that every program here needs to reach the stack: `source ops/stack.sh`.
#
# `docker compose` finds the files and the project by itself: COMPOSE_FILE, COMPOSE_PROJECT_NAME and COMPOSE_PROFILES
# come from the environment or from .env, in production compose.yaml:compose.prod.yaml.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() {
    printf '%s\n' "$*"
}

give_up() {
    printf '%s\n' "$*" >&2
    exit 1
}

need_engine() {
    command -v docker >/dev/null ||
        give_up "This needs Docker with Compose 2.24 or newer, and there is no \`docker\` here. Without Docker: make run"
    docker compose version >/dev/null 2>&1 ||
        give_up "This needs Docker Compose 2.24 or newer: \`docker compose\` is not there (Debian and Ubuntu: docker-compose-v2 or docker-compose-plugin)."
    docker info >/dev/null 2>&1 ||
        give_up "Docker does not answer. Is it running, and may $(id -un) use it (group docker)?"
}

# only_one PROJECT: take the lock for replacing or stopping containers, until this program ends.
only_one() {
    mkdir -p .local
    exec 9>".local/operation-$1.lock"
    flock --nonblock 9 || give_up "Another deploy or restore of $1 is under way."
}

# running SERVICE: the ids of its running containers, one a line.
running() {
    docker compose ps --quiet --status running "$1" 2>/dev/null || true
}

# healthy SECONDS ID...: wait until each of these containers is healthy; 1 if one is not by then, or has stopped.
healthy() {
    local deadline=$((SECONDS + $1)) id state
    shift
    for id in "$@"; do
        while :; do
            state=$(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$id" 2>/dev/null) || return 1
            case $state in
                "running healthy") break ;;
                running*) ((SECONDS < deadline)) || return 1 ;;
                *) return 1 ;;
            esac
            sleep 0.5
        done
    done
}

#!/usr/bin/env bash
# make deploy: replace the API, the worker and beat by new containers, without a failed request and without a gap in
# reminders. Migrations run first, so they must suit the old code as well (docs/migrations.md).
#
#   deploy.sh               build (or, where nothing is built, pull) the images; migrate; replace
#   deploy.sh --no-build    the same with the images that are here, for new settings or secrets
#   deploy.sh --rollback    replace by the images of before the last deploy; the database stays as it is
#
# Whatever goes wrong before the new containers are healthy leaves the old ones serving.
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"

HEALTHY_SECONDS=${DEPLOY_HEALTHY_SECONDS:-120}
STOP_SECONDS=${DEPLOY_STOP_SECONDS:-40}
# Clients whose connection an old nginx worker holds send on it once more. Those who do so later than this wait for two
# seconds (proxy_connect_timeout) until that worker has found that the old API is gone.
SETTLE_SECONDS=${DEPLOY_SETTLE_SECONDS:-6}

build=yes
case "${1:-}" in
    "") ;;
    --no-build) build=no ;;
    --rollback) build=rollback ;;
    *) give_up "usage: ops/deploy.sh [--no-build|--rollback]" ;;
esac

need_engine
[ -n "$(running api)" ] || give_up "No API is running here: start the stack first (make up)."

# One at a time: two would take each other's new containers for old ones.
mkdir -p .local
exec 9>".local/deploy-${COMPOSE_PROJECT_NAME:-default}.lock"
flock --nonblock 9 || give_up "Another deploy is under way."

# image_of SERVICE: the image that Compose looks for. `config --images SERVICE` also lists those of what it depends on,
# in any order.
image_of() {
    docker compose config | awk -v service="  $1:" '
        /^[a-z]/ { services = $0 == "services:" }
        services && /^  [^ ]/ { here = $0 == service }
        here && $1 == "image:" { print $2; exit }'
}

# rollback_name SERVICE: what its image of before is called. Local, and in no registry.
rollback_name() {
    local project
    project=$(docker inspect --format '{{index .Config.Labels "com.docker.compose.project"}}' "$(running "$1" | head -1)")
    echo "${project}-$1:rollback"
}

remember() {
    local service id
    for service in api worker; do
        id=$(running "$service" | head -1)
        [ -z "$id" ] || docker tag "$(docker inspect --format '{{.Image}}' "$id")" "$(rollback_name "$service")"
    done
}

# lead_requests LINE...: give nginx these servers. Requests that it has in hand end where they began.
lead_requests() {
    printf '%s\n' "$@" | docker compose exec -T nginx sh -c \
        'cat >/etc/nginx/conf.d/upstream.new && mv /etc/nginx/conf.d/upstream.new /etc/nginx/conf.d/upstream.inc &&
         nginx -c /etc/nginx/todo/nginx.conf -t -q && nginx -c /etc/nginx/todo/nginx.conf -s reload 2>/dev/null'
}

RESOLVED='server api:8000 resolve fail_timeout=2s;'

# The new ones alone; then, when the old ones have gone, whoever answers to the name. In between both, because nginx
# begins with no address for a name, and takes over those that it had.
lead_to_new() {
    local id network
    static=()
    for id in "$@"; do
        network=$(docker inspect --format '{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{$net.IPAddress}}{{"\n"}}{{end}}' "$id" |
            awk '$1 ~ /_app$/ { print $2 }')
        [ -n "$network" ] || return 1
        static+=("server $network:8000;")
    done
    lead_requests "${static[@]}"
    sleep "$SETTLE_SECONDS"
}

lead_to_all() {
    lead_requests "$RESOLVED" "${static[@]}"
    sleep 3 # nginx asks the DNS at once, and again every two seconds
    lead_requests "$RESOLVED"
}

# replace SERVICE: as many new containers as there are old ones; the old ones go when the new ones are healthy.
replace() {
    local service=$1 old new count
    mapfile -t old < <(running "$service")
    count=${#old[@]}
    ((count)) || { say "$service: none is running, none is replaced"; return; }
    say "$service: starting $count beside the $count that run"
    docker compose --progress quiet up --detach --no-deps --no-recreate --no-build --scale "$service=$((2 * count))" "$service"
    # Those that have stopped again are among them.
    mapfile -t new < <(docker compose ps --all --quiet "$service" | grep -v -x -F -f <(printf '%s\n' "${old[@]}") || true)
    if ((${#new[@]} != count)) || ! healthy "$HEALTHY_SECONDS" "${new[@]}"; then
        for id in "${new[@]}"; do docker logs --tail 10 "$id" >&2 || true; done
        if ((${#new[@]})); then docker rm --force "${new[@]}" >/dev/null; fi
        give_up "$service: the new ones did not become healthy within $HEALTHY_SECONDS s. The old ones go on; nothing was replaced."
    fi
    say "$service: the new ones are healthy"
    if [ "$service" = api ] && [ -n "$(running nginx)" ]; then
        lead_to_new "${new[@]}" || give_up "nginx could not be led to the new API. Both run: look at \`docker compose logs nginx\`."
        say "api: nginx sends every request to the new ones"
    fi
    # They close their streams politely, finish what they have in hand, and give back the rest.
    docker stop --time "$STOP_SECONDS" "${old[@]}" >/dev/null
    docker rm "${old[@]}" >/dev/null
    if [ "$service" = api ] && [ -n "$(running nginx)" ]; then lead_to_all; fi
    say "$service: the old ones have ended"
}

began=$SECONDS
case $build in
    yes)
        remember
        if docker compose config --format json | grep -q '"dockerfile": "services/api/Dockerfile"'; then
            say "Building the images"
            docker compose build --quiet api worker
        else
            say "Pulling the images"
            docker compose pull --quiet api worker
        fi
        ;;
    no)
        remember
        ;;
    rollback)
        # The images get the names that Compose looks for; those stay as they are until something newer is pulled or built.
        for service in api worker; do
            docker image inspect "$(rollback_name "$service")" >/dev/null 2>&1 ||
                give_up "There is no image of before for $service: nothing was deployed here yet."
            [[ $(image_of "$service") != *@* ]] ||
                give_up "$service is pinned by its digest, which no other image can have: set the TAG and digests of before, and make deploy."
        done
        for service in api worker; do
            before=$(rollback_name "$service")
            now=$(docker inspect --format '{{.Image}}' "$(running "$service" | head -1)")
            docker tag "$before" "$(image_of "$service")"
            docker tag "$now" "$before" # so that a second rollback undoes the first
        done
        ;;
esac

if [ "$build" != rollback ]; then
    say "Migrating the database"
    docker compose run --rm --no-deps --no-TTY migrate ||
        give_up "The migration failed. Nothing was replaced: the old code goes on."
fi
for service in api worker beat; do replace "$service"; done
say "Deployed in $((SECONDS - began)) s."

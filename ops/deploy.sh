#!/usr/bin/env bash
# make deploy: replace the API, the worker and beat by new containers, without a failed request and without a gap in
# reminders. Migrations run first, so they must suit the old code as well (docs/migrations.md).
#
#   deploy.sh               build (or, where nothing is built, pull) the images; migrate; replace
#   deploy.sh --no-build    the same with the images that are here, for new settings or secrets
#   deploy.sh --rollback    replace by the images of before the last deploy; the database stays as it is
#
# Whatever goes wrong before the new containers are healthy leaves the old ones serving. A deploy that was cut off is put
# right by the next one, which finds in a journal how far that came.
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"

HEALTHY_SECONDS=${DEPLOY_HEALTHY_SECONDS:-120}
# Seconds in which clients may send once more on a connection to an old nginx worker. A later request waits for two
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
CONFIGURATION=$(docker compose config)
PROJECT=$(sed -n 's/^name: //p' <<<"$CONFIGURATION")
JOURNAL=.local/deploy-$PROJECT.journal
[ -n "$(docker compose ps --all --quiet)" ] || give_up "Nothing of $PROJECT is here: start the stack first (make up)."
only_one "$PROJECT"

# configured SERVICE KEY: a value of the service as Compose has it. (`config --images SERVICE` also lists the images of
# those that it depends on, in any order.)
configured() {
    awk -v service="  $1:" -v key="$2:" '
        /^[a-z]/ { services = $0 == "services:" }
        services && /^  [^ ]/ { here = $0 == service }
        here && /^    [^ ]/ && $1 == key { print $2; exit }' <<<"$CONFIGURATION"
}

# containers SERVICE: all that are not stopped for good; with those that cannot start, as Docker tries again.
containers() {
    docker compose ps --all --quiet --status running --status restarting --status paused "$1"
}

# Runs a command that signals from the calling terminal do not reach, so that it is not interrupted.
undisturbed() {
    setsid --wait "$@"
}

# remove ID...: stop and remove them. Within their stop_grace_period they end their streams with a reason, finish
# requests and deliveries under way, and give back the rest.
remove() {
    (($#)) || return 0
    undisturbed docker stop "$@" >/dev/null
    undisturbed docker rm "$@" >/dev/null
}

# ---- How far it came -------------------------------------------------------------------------------------------------

# note PHASE SERVICE ID...: `beside` while new ones start beside these, `instead` from when they are to go.
note() {
    printf '%s\n' "$*" >"$JOURNAL.new" && mv "$JOURNAL.new" "$JOURNAL"
}

# Repairs an interrupted deploy: removes the new containers if they had not taken over, else the old ones.
put_right() {
    local phase service known here id proxy='' left=() stay=()
    [ -s "$JOURNAL" ] || return 0
    read -r phase service known <"$JOURNAL"
    for id in $(docker compose ps --all --quiet "$service"); do
        here=$([[ " $known " == *" $id "* ]] && echo old || echo new)
        case $phase:$here in beside:new | instead:old) left+=("$id") ;; *) stay+=("$id") ;; esac
    done
    if [ "$service" = api ] && ((${#stay[@]})); then proxy=$(running nginx); fi
    if [ -n "$proxy" ]; then lead_to "${stay[@]}" || say "nginx could not be led to the API that stays: make logs SERVICE=nginx"; fi
    if ((${#left[@]})); then say "$service: removing what is left of a deploy that did not come to its end"; fi
    remove "${left[@]}"
    if [ -n "$proxy" ]; then lead_to_all || true; fi
    rm -f "$JOURNAL"
}

interrupted() {
    trap '' INT TERM HUP
    say "Interrupted. The old ones go on."
    put_right
    exit 130
}

# ---- nginx -----------------------------------------------------------------------------------------------------------

# lead_requests LINE...: give nginx these servers. Requests under way end at the old ones. If nginx refuses the
# configuration, the old one is restored.
lead_requests() {
    printf '%s\n' "$@" | docker compose exec -T nginx sh -c '
        cd /etc/nginx/conf.d && cat >upstream.new && cp upstream.inc upstream.before && mv upstream.new upstream.inc &&
        nginx -c /etc/nginx/todo/nginx.conf -t -q && nginx -c /etc/nginx/todo/nginx.conf -s reload 2>/dev/null ||
        { mv upstream.before upstream.inc; exit 1; }'
}

RESOLVED='server api:8000 resolve fail_timeout=2s;'

# lead_to ID...: send requests to these containers alone; then, when the others are gone, to the name's addresses. In
# between to both, because nginx starts without addresses for a new name, and keeps those that it had.
lead_to() {
    local id network
    static=()
    for id in "$@"; do
        network=$(docker inspect --format '{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{$net.IPAddress}}{{"\n"}}{{end}}' "$id" |
            awk '$1 ~ /_app$/ { print $2 }')
        [ -n "$network" ] || return 1
        static+=("server $network:8000;")
    done
    lead_requests "${static[@]}" && sleep "$SETTLE_SECONDS"
}

lead_to_all() {
    lead_requests "$RESOLVED" "${static[@]}" && sleep 3 && # nginx asks the DNS at once, and again every two seconds
        lead_requests "$RESOLVED"
}

# ---- Replacing -------------------------------------------------------------------------------------------------------

# replace SERVICE: the old ones go when as many new ones as there shall be are healthy.
replace() {
    local service=$1 old new count proxy=''
    # Remove ended containers: Compose would start them again in place of new ones.
    mapfile -t new < <(docker compose ps --all --quiet --status exited --status created --status dead "$service")
    if ((${#new[@]})); then docker rm "${new[@]}" >/dev/null; fi
    mapfile -t old < <(containers "$service")
    count=$(configured "$service" scale)
    count=${count:-$((${#old[@]} ? ${#old[@]} : 1))}
    if [ "$service" = api ]; then proxy=$(running nginx); fi
    say "$service: starting $count beside the ${#old[@]} that run"
    note beside "$service" "${old[@]}"
    trap interrupted INT TERM HUP
    new=()
    if docker compose --progress quiet up --detach --no-deps --no-recreate --no-build \
        --scale "$service=$((${#old[@]} + count))" "$service"; then
        # Includes those that have stopped again.
        mapfile -t new < <(docker compose ps --all --quiet "$service" | grep -v -x -F -f <(printf '%s\n' "${old[@]:-none}") || true)
    fi
    if ((${#new[@]} != count)) || ! healthy "$HEALTHY_SECONDS" "${new[@]}"; then
        for id in "${new[@]}"; do docker logs --tail 10 "$id" >&2 || true; done
        put_right
        give_up "$service: the new ones did not become healthy within $HEALTHY_SECONDS s. The old ones go on; nothing was replaced."
    fi
    say "$service: the new ones are healthy"
    if [ -n "$proxy" ]; then
        lead_to "${new[@]}" || { put_right; give_up "nginx could not be led to the new API: make logs SERVICE=nginx. The old ones go on."; }
        say "api: nginx sends every request to the new ones"
    fi
    trap '' INT TERM HUP # from here on there is no way back
    note instead "$service" "${old[@]}"
    remove "${old[@]}"
    if [ -n "$proxy" ]; then lead_to_all || say "api: nginx knows the new ones by their addresses only: make replace-proxy"; fi
    rm -f "$JOURNAL"
    trap - INT TERM HUP
    remember
    say "$service: the old ones have ended"
}

# rollback_name SERVICE: the local name of its previous image, in no registry.
rollback_name() {
    echo "$PROJECT-$1:rollback"
}

image_that_runs() {
    local id
    local id
    id=$({ containers "$1"; docker compose ps --all --quiet "$1"; } | sed -n 1p)
    [ -z "$id" ] || docker inspect --format '{{.Image}}' "$id"
}

# The images of before, of both, as soon as one has been replaced; never by a deploy that replaced none or changed none.
remember() {
    local service
    for service in api worker; do
        if [ "${changed:-}" = yes ] && [ -n "${before[$service]}" ]; then
            docker tag "${before[$service]}" "$(rollback_name "$service")"
        fi
    done
}

declare -A before=()
began=$SECONDS
put_right
for service in api worker; do before[$service]=$(image_that_runs "$service"); done
case $build in
    yes)
        if grep -q 'dockerfile: services/Dockerfile' <<<"$CONFIGURATION"; then
            say "Building the images"
            docker compose build --quiet api worker
        else
            say "Pulling the images"
            docker compose pull --quiet api worker
        fi
        ;;
    rollback)
        # The images get the names that Compose looks for; those stay as they are until something newer is pulled or built.
        for service in api worker; do
            docker image inspect "$(rollback_name "$service")" >/dev/null 2>&1 ||
                give_up "There is no image of before for $service: nothing else was deployed here yet."
            [[ $(configured "$service" image) != *@* ]] ||
                give_up "$service is pinned by its digest, which no other image can have: set the TAG and digests of before, and make deploy."
        done
        for service in api worker; do docker tag "$(rollback_name "$service")" "$(configured "$service" image)"; done
        ;;
esac
changed=no
for service in api worker; do
    now=$(docker image inspect --format '{{.Id}}' "$(configured "$service" image)" 2>/dev/null) || true
    if [ "$now" != "${before[$service]}" ]; then changed=yes; fi
done

if [ "$build" != rollback ]; then
    say "Migrating the database"
    docker compose run --rm --no-deps --no-TTY migrate ||
        give_up "The migration failed. Nothing was replaced: the old code goes on."
fi
for service in api worker beat; do replace "$service"; done
say "Deployed in $((SECONDS - began)) s."

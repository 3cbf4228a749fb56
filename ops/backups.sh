#!/usr/bin/env bash
# make backup, make backups, make restore: run the service `backup`; a restore stops the services that write meanwhile.
#
#   backups.sh make              make a backup now
#   backups.sh list              what there is
#   backups.sh restore [NAME]    put a backup (the newest) in place of what the database holds, for which CONFIRM=yes
#                                must be set
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"

# backup_container PROGRAM ARGUMENT...: runs in a container of the service `backup`, whether that runs itself or not.
backup_container() {
    docker compose --progress quiet run --rm --no-deps --no-TTY --env CONFIRM="${CONFIRM:-}" \
        --entrypoint "/ops/$1" backup "${@:2}"
}

restore() {
    local arguments=()
    only_one "$PROJECT"
    [ -z "${1:-}" ] || arguments=("$1")
    if [ "${CONFIRM:-}" = yes ]; then arguments=(--replace "${arguments[@]}"); fi
    backup_container restore.sh --check "${arguments[@]}" ||
        give_up "Nothing was stopped, and nothing changed. To replace what the database holds: make restore BACKUP=<name> CONFIRM=yes"
    mapfile -t working < <(for service in api worker beat; do running "$service"; done)
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    trap not_restored EXIT
    say "Stopping API, worker and beat"
    [ ${#working[@]} = 0 ] || docker stop "${working[@]}" >/dev/null
    backup_container restore.sh "${arguments[@]}" || exit 1
    trap - EXIT INT TERM HUP
    # A backup may be of an older release.
    docker compose --progress quiet run --rm --no-deps --no-TTY migrate ||
        give_up "The backup is restored, but could not be migrated, so API, worker and beat stay stopped. When it can: make migrate, make up"
    start_again
    say "Restored. API, worker and beat run again."
}

# Whatever kept it from its end: one transaction puts all in place, or nothing. Where only this program was ended, its
# container might go on: it must not end after people have begun to write again.
not_restored() {
    local left
    trap '' INT TERM HUP
    set +e   # continue, even if Docker has begun some of this already
    while
        left=$(docker ps --quiet --filter "label=com.docker.compose.project=$PROJECT" \
            --filter label=com.docker.compose.service=backup --filter label=com.docker.compose.oneoff=True)
        [ -n "$left" ]
    do
        xargs docker rm --force <<<"$left" >/dev/null 2>&1 || sleep 0.5
    done
    # Docker goes on with the stops that it has begun: wait for them, so that none ends after its start.
    [ ${#working[@]} = 0 ] || docker stop "${working[@]}" >/dev/null
    start_again
    give_up "Nothing was restored: the database is as it was, and API, worker and beat run again."
}

start_again() {
    [ ${#working[@]} = 0 ] || docker start "${working[@]}" >/dev/null
    healthy 120 "${working[@]}" || give_up "They were started and did not become healthy: make ps, make logs"
}

need_engine
PROJECT=$(docker compose config | sed -n 's/^name: //p')
working=()   # the containers that were stopped for a restore
case ${1:-} in
    make)
        docker compose --progress quiet run --rm --no-deps --no-TTY backup-folder
        backup_container backup.sh once
        ;;
    list) backup_container backup.sh list ;;
    restore) restore "${2:-}" ;;
    *) give_up "usage: ops/backups.sh make|list|restore [NAME]" ;;
esac

#!/usr/bin/env bash
# make backup, make backups, make restore: the programs of the service `backup`, and what stands still around a restore.
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
    local arguments=() working=()
    [ -z "${1:-}" ] || arguments=("$1")
    if [ "${CONFIRM:-}" = yes ]; then arguments=(--replace "${arguments[@]}"); fi
    backup_container restore.sh --check "${arguments[@]}" ||
        give_up "Nothing was stopped, and nothing changed. To replace what the database holds: make restore BACKUP=<name> CONFIRM=yes"
    mapfile -t working < <(for service in api worker beat; do running "$service"; done)
    say "Stopping API, worker and beat"
    [ ${#working[@]} = 0 ] || docker stop --time 40 "${working[@]}" >/dev/null
    if ! backup_container restore.sh "${arguments[@]}"; then
        start_again
        give_up "Nothing was restored: the database is as it was, and API, worker and beat run again."
    fi
    # A backup may be of an older release.
    docker compose --progress quiet run --rm --no-deps --no-TTY migrate ||
        give_up "The backup is restored, but could not be migrated, so API, worker and beat stay stopped. When it can: make migrate, make up"
    start_again
    say "Restored. API, worker and beat run again."
}

start_again() {
    [ ${#working[@]} = 0 ] || docker start "${working[@]}" >/dev/null
    healthy 120 "${working[@]}" || give_up "They were started and did not become healthy: make ps, make logs"
}

need_engine
case ${1:-} in
    make)
        docker compose --progress quiet run --rm --no-deps --no-TTY backup-folder
        backup_container backup.sh once
        ;;
    list) backup_container backup.sh list ;;
    restore) restore "${2:-}" ;;
    *) give_up "usage: ops/backups.sh make|list|restore [NAME]" ;;
esac

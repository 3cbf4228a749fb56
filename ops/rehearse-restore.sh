#!/usr/bin/env bash
# make rehearse-restore: back up the running stack, restore that into an empty database beside it, and compare. Nothing
# of the running stack is touched. Damaged copies of the backup must be refused.
#
#   rehearse-restore.sh [NAME]      rehearse with this backup instead of a new one
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"
need_engine

project=$(docker compose config | sed -n 's/^name: //p')
rehearsal=$project-rehearsal
began=$SECONDS

# In the rehearsal's stack the database is always its own, also where the product's is a managed one.
beside() {
    env COMPOSE_PROJECT_NAME="$rehearsal" DATABASE_URL=postgresql://todo@db:5432/todo \
        docker compose --progress quiet --profile db --profile backup "$@"
}

in_container() {
    beside run --rm --no-deps --no-TTY --entrypoint "/ops/$1" backup "${@:2}"
}

shell_beside() {
    beside run --rm --no-deps --no-TTY --entrypoint bash backup -euo pipefail -c "$1" rehearsal "${@:2}"
}

sql() {
    beside exec --no-TTY db psql --no-psqlrc --quiet --tuples-only --no-align --username todo --dbname todo --command "$1"
}

clean_up() {
    beside --profile '*' down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
}
trap clean_up EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# refused WHAT NAME: a damaged backup must fail, and leave the database empty.
refused() {
    local said
    if said=$(in_container restore.sh "$2" 2>&1); then
        give_up "The rehearsal FAILED: a backup that was $1 has been restored."
    fi
    grep --quiet 'is refused' <<<"$said" || give_up "The rehearsal FAILED: $said"
    [ "$(sql "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")" = 0 ] ||
        give_up "The rehearsal FAILED: a backup that was $1 left tables behind."
    say "  $1: refused, and the database is empty"
}

name=${1:-}
name=${name%.dump}
if [ -z "$name" ]; then
    ops/backups.sh make
    name=$(ops/backups.sh list | awk '/^todo-/ { print $1; exit }')
fi

say "Starting an empty database beside it ($rehearsal)"
clean_up
beside run --rm --no-deps --no-TTY backup-folder
beside up --detach --wait --wait-timeout 120 --no-deps db
docker compose --progress quiet run --rm --no-deps --no-TTY --entrypoint tar backup --create --directory /backups \
    "$name.dump" "$name.dump.sha256" "$name.manifest" | beside run --rm --no-deps --no-TTY --entrypoint tar backup \
    --extract --directory /backups
in_container restore.sh --check "$name" || give_up "The rehearsal FAILED: $name cannot be restored."

say "Damaging two copies of it"
flipped=todo-19700101T000001Z truncated=todo-19700101T000002Z
# shellcheck disable=SC2016 # the container's shell expands these
shell_beside '
    cd /backups
    for copy in "$2" "$3"; do
        cp "$1.dump" "$copy.dump"
        cp "$1.manifest" "$copy.manifest"
        sed "s/$1/$copy/" "$1.dump.sha256" >"$copy.dump.sha256"
    done
    middle=$(($(stat --format=%s "$1.dump") / 2))
    byte=$(od --address-radix=n --format=u1 --skip-bytes="$middle" --read-bytes=1 "$1.dump")
    printf "%b" "\\x$(printf %02x $((byte ^ 1)))" |
        dd of="$2.dump" bs=1 seek="$middle" conv=notrunc status=none
    truncate --size=-1 "$3.dump"
    ' "$name" "$flipped" "$truncated"
refused "with one bit flipped" "$flipped"
refused "one byte short" "$truncated"

say "Restoring $name"
in_container restore.sh "$name"
revision=$(sql "SELECT version_num FROM alembic_version")

say "Backing up what was restored, and comparing the manifests"
# shellcheck disable=SC2016
shell_beside '
    rm /backups/todo-1970*
    /ops/backup.sh once
    again=$(/ops/backup.sh list | awk "/^todo-/ { print \$1; exit }")
    [ "$again" != "$1" ]
    diff <(grep --invert-match "^#" "/backups/$1.manifest") <(grep --invert-match "^#" "/backups/$again.manifest")
    ' "$name" || give_up "The rehearsal FAILED: what is in the restored database is not what was backed up."

say "The restored database is at revision $revision. The code here says:"
beside run --rm --no-deps --no-TTY migrate
say "The rehearsal of $name has passed in $((SECONDS - began)) s: every table has the rows and the checksum of the backup."

#!/usr/bin/env bash
# Backs up the product's database: a pg_dump in custom format, a manifest of what is in it, and checksums of both.
#
#   backup.sh            once; with BACKUP_EVERY_SECONDS, again and again
#   backup.sh once       once in any case
#   backup.sh list       what there is, the newest first
#   backup.sh check      whether the service of BACKUP_EVERY_SECONDS does its work (the health check)
#
# BACKUP_KEEP_DAYS (14)         how long a backup is kept; the newest is always
# BACKUP_COMPRESSION (gzip)     zstd is several times as fast, where pg_dump has it
# BACKUP_UPLOAD_COMMAND         a shell command that takes a file away: 'rclone copyto "$1" "tos:backups/${1##*/}"'
# BACKUP_RETRY_SECONDS (300)    how soon the service tries again what has failed
set -euo pipefail
umask 027
# shellcheck source=backup-common.sh
. "$(dirname "$0")/backup-common.sh"

KEEP_DAYS=${BACKUP_KEEP_DAYS:-14}
RETRY=${BACKUP_RETRY_SECONDS:-300}
EVERY=${BACKUP_EVERY_SECONDS:-0}
UPLOAD=${BACKUP_UPLOAD_COMMAND:-}
ALIVE=${BACKUP_ALIVE_FILE:-/tmp/backup-alive}
HEARTBEAT=${BACKUP_HEARTBEAT_SECONDS:-20}

number() {
    [[ $2 =~ ^[0-9]{1,9}$ ]] || fail "$1 must be a whole number, not '$2'."
}

# ---- One backup ------------------------------------------------------------------------------------------------------

children=()
scratch=
locked=

clean_up() {
    [ ${#children[@]} = 0 ] || kill "${children[@]}" 2>/dev/null || true
    [ -z "$scratch" ] || rm -rf "$scratch"
    # Only with the lock, so that no other process's files are removed.
    [ -z "$locked" ] || rm -f "$BACKUP_DIR"/.todo-*.partial
}

# A signal interrupts `wait`, and no foreground command: so that SIGTERM ends a backup at once.
patiently() {
    "$@" &
    children+=($!)
    wait "$!"
}

begin() {
    trap clean_up EXIT
    trap 'exit 143' TERM
    trap 'exit 130' INT
    scratch=$(mktemp -d)
    { [ -d "$BACKUP_DIR" ] && [ -w "$BACKUP_DIR" ]; } || fail "this user cannot write to $BACKUP_DIR."
    exec 9>"$BACKUP_DIR/.lock"
    patiently flock --wait 3600 9 || fail "another backup has been running for an hour."
    locked=yes
    sweep
}

back_up() {
    local name
    name=$(new_name)
    open_snapshot
    dump "$name"
    manifest "$name"
    publish "$name"
    retire
    printf '%s: %s, %s bytes, %s rows in %s tables.\n' "${0##*/}" "$name.dump" "$(stat --format=%s \
        "$BACKUP_DIR/$name.dump")" "$(awk -F '\t' '!/^#/ { n += $2 } END { print n + 0 }' "$BACKUP_DIR/$name.manifest")" \
        "$(grep --count --invert-match '^#' "$BACKUP_DIR/$name.manifest" || true)"
}

# Removes what crashed runs left: files under temporary names, and companions of a dump that never got its name.
sweep() {
    local companion
    rm -f "$BACKUP_DIR"/.todo-*.partial
    for companion in "$BACKUP_DIR"/todo-[0-9]*Z.manifest "$BACKUP_DIR"/todo-[0-9]*Z.dump.sha256 \
        "$BACKUP_DIR"/todo-[0-9]*Z.to-upload; do
        if [ -e "$companion" ] && [ ! -e "${companion%%Z.*}Z.dump" ]; then rm -f "$companion"; fi
    done
}

# Names have seconds, and no two backups one name.
new_name() {
    local name
    name=todo-$(date --utc +%Y%m%dT%H%M%SZ)
    while [ -e "$BACKUP_DIR/$name.dump" ]; do
        sleep 0.1
        name=todo-$(date --utc +%Y%m%dT%H%M%SZ)
    done
    echo "$name"
}

# A session that holds one snapshot of the database, for pg_dump and the manifest to look at, and its tables, so that no
# migration takes one away in between.
open_snapshot() {
    mkfifo "$scratch/in" "$scratch/out"
    psql_quietly --file=- <"$scratch/in" >"$scratch/out" 2>"$scratch/errors" &
    session=$!
    children+=("$session")
    exec 3>"$scratch/in" 4<"$scratch/out"
    ask "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;" "SELECT pg_export_snapshot();"
    read -r snapshot <&4 || fail "PostgreSQL does not answer as it should: $(one_line "$scratch/errors")"
    ask "SELECT format('LOCK TABLE %I.%I IN ACCESS SHARE MODE', nspname, relname) FROM ($TABLES) tables \\gexec"
}

ask() {
    # A session that has ended gives the reason on its standard error; the closed pipe is not reported.
    (trap '' PIPE && printf '%s\n' "$@" >&3) 2>/dev/null || fail "PostgreSQL does not answer as it should: $(one_line "$scratch/errors")"
}

dump() {
    local partial=$BACKUP_DIR/.$1.dump.partial
    patiently pg_dump --format=custom --compress="${BACKUP_COMPRESSION:-gzip}" --snapshot="$snapshot" \
        --lock-wait-timeout=60s --file="$partial" 2>"$scratch/dump-errors" ||
        fail "pg_dump has failed: $(one_line "$scratch/dump-errors")"
    # Reads and unpacks all of it, and not just the table of contents.
    patiently pg_restore --file=/dev/null "$partial" 2>"$scratch/dump-errors" ||
        fail "pg_restore cannot read what pg_dump wrote: $(one_line "$scratch/dump-errors")"
}

manifest() {
    local partial=$BACKUP_DIR/.$1.manifest.partial
    {
        echo "# $1: table, rows, sum of hashtextextended(row::text, 0)"
        echo "# made by $(pg_dump --version)"
    } >"$partial"
    ask "\\o $scratch/tables" "$(manifest_commands)" "COMMIT;" "\\o" "\\echo done"
    local answer=
    read -r answer <&4 || true
    exec 3>&-
    wait "$session" && [ "$answer" = "done" ] || fail "the manifest has failed: $(one_line "$scratch/errors")"
    cat "$scratch/tables" >>"$partial"
}

# Syncs the files to disk, then renames them, the dump last: a file with its final name is complete after any crash.
publish() {
    local partial=$BACKUP_DIR/.$1
    (cd "$BACKUP_DIR" && sha256sum ".$1.dump.partial" ".$1.manifest.partial") |
        sed 's/ \.\(todo-.*\)\.partial$/ \1/' >"$partial.dump.sha256.partial"
    chmod 600 "$partial.dump.partial"
    chmod 644 "$partial.dump.sha256.partial" # a monitor may see that there is one
    sync "$partial.dump.partial" "$partial.manifest.partial" "$partial.dump.sha256.partial"
    mv "$partial.manifest.partial" "$BACKUP_DIR/$1.manifest"
    mv "$partial.dump.sha256.partial" "$BACKUP_DIR/$1.dump.sha256"
    if [ -n "$UPLOAD" ]; then : >"$BACKUP_DIR/$1.to-upload"; fi
    mv "$partial.dump.partial" "$BACKUP_DIR/$1.dump"
    sync "$BACKUP_DIR"
}

# Removes backups that are too old. It runs only after a backup, so the newest one is good and stays.
retire() {
    local name oldest
    oldest=todo-$(date --utc --date="-$KEEP_DAYS days" +%Y%m%dT%H%M%SZ)
    backups | tail --lines=+2 | while read -r name; do
        # The dump goes first: if this is interrupted, `sweep` removes the other files.
        if [[ $name < $oldest ]]; then
            rm -f "$BACKUP_DIR/$name.dump" "$BACKUP_DIR/$name.dump.sha256" "$BACKUP_DIR/$name.manifest" \
                "$BACKUP_DIR/$name.to-upload"
        fi
    done
}

# Uploads the backups that are not uploaded yet, the oldest first; of each backup the dump last, as above.
upload() {
    [ -n "$UPLOAD" ] || return 0
    local marker name path
    for marker in "$BACKUP_DIR"/todo-[0-9]*Z.to-upload; do
        [ -e "$marker" ] || continue
        name=$(basename "$marker" .to-upload)
        for path in "$BACKUP_DIR/$name".{manifest,dump.sha256,dump}; do
            patiently bash -c "$UPLOAD" upload "$path" >"$scratch/upload" 2>&1 ||
                fail "the upload of ${path##*/} has failed, and the local file is kept: $(one_line "$scratch/upload")"
        done
        rm -f "$marker"
        printf '%s: %s is uploaded.\n' "${0##*/}" "$name"
    done
}

# ---- Again and again -------------------------------------------------------------------------------------------------

# Each round is a separate process, so that its failure is an exit status. After a failed round the heartbeat stops
# until one succeeds, and the health check fails.
serve() {
    local well=yes due=0
    round='' pause=''
    trap 'stop_serving 143' TERM
    trap 'stop_serving 130' INT
    while true; do
        if [ "$well" = yes ]; then touch "$ALIVE"; fi
        if [ "$(date +%s)" -lt "$due" ]; then
            doze
        elif round_of_service; then
            well=yes
            due=$(next_due)
        else
            well=no
            due=$(($(date +%s) + (RETRY < EVERY ? RETRY : EVERY)))
            printf '%s: trying again in %s seconds.\n' "${0##*/}" "$((RETRY < EVERY ? RETRY : EVERY))" >&2
        fi
    done
}

stop_serving() {
    # shellcheck disable=SC2086 # either may be empty
    kill $round $pause 2>/dev/null || true
    wait
    exit "$1"
}

doze() {
    sleep "$HEARTBEAT" &
    pause=$!
    wait "$pause" || true
    pause=''
}

# A service that is started anew goes on where it was: it makes no backup for that alone.
next_due() {
    local newest
    newest=$(backups | head -1)
    if [ -n "$newest" ]; then echo $(($(taken_at "$newest") + EVERY)); else echo 0; fi
}

# Makes a backup if one is due; if not, only uploads the missing ones. The heartbeat goes on meanwhile.
round_of_service() {
    local what=once ended status
    if [ "$(date +%s)" -lt "$(next_due)" ]; then what=upload; fi
    "$BASH" "$0" "$what" &
    round=$!
    while true; do
        sleep "$HEARTBEAT" &
        pause=$!
        status=0
        wait -n -p ended "$round" "$pause" || status=$?
        if [ "$ended" = "$round" ]; then break; fi
        if [ "$well" = yes ]; then touch "$ALIVE"; fi
    done
    kill "$pause" 2>/dev/null || true
    round='' pause=''
    return "$status"
}

# ---- What there is ---------------------------------------------------------------------------------------------------

list() {
    local name now age state
    now=$(date +%s)
    for name in $(backups); do
        age=$(((now - $(taken_at "$name")) / 60))
        state=
        if [ -e "$BACKUP_DIR/$name.to-upload" ]; then state='not uploaded yet'; fi
        printf '%s  %4d d %02d:%02d h ago  %8s  %s\n' "$name" $((age / 1440)) $((age / 60 % 24)) $((age % 60)) \
            "$(numfmt --to=iec --suffix=B "$(stat --format=%s "$BACKUP_DIR/$name.dump")")" "$state"
    done | sed 's/ *$//'
    [ -n "$(backups)" ] || echo "There is no backup in $BACKUP_DIR."
}

number BACKUP_KEEP_DAYS "$KEEP_DAYS"
number BACKUP_RETRY_SECONDS "$RETRY"
number BACKUP_EVERY_SECONDS "$EVERY"
if [ -z "${1:-}" ] && [ "$EVERY" -gt 0 ]; then set -- serve; fi
case ${1:-once} in
    once)
        database_settings
        begin
        back_up
        upload
        ;;
    upload)
        begin
        upload
        ;;
    serve) serve ;;
    list) list ;;
    check) [ -n "$(find "$ALIVE" -newermt '-90 seconds')" ] || fail "the last backup has failed, or none is being made." ;;
    *) fail "there is no command '$1': once, list, check." ;;
esac

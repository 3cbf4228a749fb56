# shellcheck shell=bash
# Functions that backup.sh and restore.sh share. Both run in a container of the postgres image. The database is that of
# DATABASE_URL, or of libpq's own variables, which win: PGHOST, PGPORT, PGUSER, PGDATABASE, PGSSLMODE, PGSSLROOTCERT, and
# PGPASSWORD, for which a file /run/secrets/database_password does as well.

BACKUP_DIR=${BACKUP_DIR:-/backups}
SECRETS=${SECRETS:-/run/secrets}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

decoded() {
    printf '%b' "${1//%/\\x}"
}

# libpq would take the URL as an argument, and `ps` would show the password in it.
take_url() {
    local pair
    [[ $1 =~ ^postgres(ql)?(\+[a-z0-9]+)?://(([^@:/]*)(:([^@/]*))?@)?(\[[^]]*\]|[^:/?]*)(:([0-9]+))?/([^?]*)(\?(.*))?$ ]] ||
        fail "DATABASE_URL is not a postgresql:// URL."
    local user=${BASH_REMATCH[4]} password=${BASH_REMATCH[6]} host=${BASH_REMATCH[7]} port=${BASH_REMATCH[9]}
    local database=${BASH_REMATCH[10]} query=${BASH_REMATCH[12]}
    host=${host#[} && host=${host%]}
    for pair in ${query//&/ }; do
        case $pair in
            host=*) host=$(decoded "${pair#*=}") ;;
            port=*) port=${pair#*=} ;;
            user=*) user=${pair#*=} ;;
            password=*) password=${pair#*=} ;;
            sslmode=*) PGSSLMODE=${PGSSLMODE:-${pair#*=}} ;;
            sslrootcert=*) PGSSLROOTCERT=${PGSSLROOTCERT:-$(decoded "${pair#*=}")} ;;
            *) fail "DATABASE_URL says ${pair%%=*}, which is not known here." ;;
        esac
    done
    PGHOST=${PGHOST:-$(decoded "$host")} PGPORT=${PGPORT:-$port} PGUSER=${PGUSER:-$(decoded "$user")}
    PGDATABASE=${PGDATABASE:-$(decoded "$database")} URL_PASSWORD=$(decoded "$password")
}

# An empty variable counts as none, as everywhere in this project; libpq would take it at its word.
database_settings() {
    local name
    if [ -n "${DATABASE_URL:-}" ]; then take_url "$DATABASE_URL"; fi
    PGHOST=${PGHOST:-db} PGUSER=${PGUSER:-todo} PGDATABASE=${PGDATABASE:-todo}
    if [ -z "${PGPASSWORD:-}" ] && [ -r "$SECRETS/database_password" ]; then
        PGPASSWORD=$(<"$SECRETS/database_password")
    fi
    PGPASSWORD=${PGPASSWORD:-${URL_PASSWORD:-}}
    for name in PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGSSLMODE PGSSLROOTCERT; do
        if [ -n "${!name:-}" ]; then export "${name?}"; else unset "$name"; fi
    done
    export PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-10} PGAPPNAME=todo-${0##*/}
    # A backup may take its hours, but not wait long for a lock. The rest fixes how a row reads as text, and with it the
    # checksums.
    PGOPTIONS="-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=60s -c row_security=off"
    PGOPTIONS+=" -c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1"
    export PGOPTIONS
}

psql_quietly() {
    psql --no-psqlrc --quiet --tuples-only --no-align --field-separator=$'\t' --set=ON_ERROR_STOP=1 "$@"
}

# Prints an error of several lines as one line, for a backup's own message.
one_line() {
    tr '\n\t' '  ' <"$1" | sed 's/  */ /g; s/ $//'
}

# The tables that are backed up: all that are the product's own, under whatever name.
TABLES="SELECT c.oid, n.nspname, c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid = c.oid AND d.deptype = 'e')"

# Writes psql commands that give a line for each table: its name, its rows, and the sum of a 64-bit hash of each row's
# text. A sum does not depend on the order of rows and needs no memory. $1 may put INSERT INTO ... before each SELECT.
manifest_commands() {
    cat <<END
SELECT pg_catalog.format(
    '${1:-} SELECT %L, count(*), coalesce(sum(hashtextextended(t::text COLLATE "C", 0)), 0) FROM %I.%I t',
    nspname || '.' || relname, nspname, relname)
FROM ($TABLES) tables ORDER BY nspname COLLATE "C", relname COLLATE "C" \gexec
END
}

# The names of whole backups, the newest first: a dump gets its name last, when all that belongs to it is on disk.
backups() {
    local path
    for path in "$BACKUP_DIR"/todo-[0-9]*Z.dump; do
        [ ! -e "$path" ] || basename "$path" .dump
    done | sort --reverse
}

# Seconds since 1970 of a backup's name: todo-20261124T083000Z.
taken_at() {
    local stamp=${1#todo-}
    date --utc --date="${stamp:0:4}-${stamp:4:2}-${stamp:6:2} ${stamp:9:2}:${stamp:11:2}:${stamp:13:2}" +%s
}

# Fails with a sentence unless the checksums of dump and manifest match.
check_whole() {
    local name=$1 report
    [ -f "$BACKUP_DIR/$name.dump" ] || fail "there is no backup $name."
    [ -f "$BACKUP_DIR/$name.dump.sha256" ] || fail "$name is refused: it has no checksums ($name.dump.sha256)."
    [ -f "$BACKUP_DIR/$name.manifest" ] || fail "$name is refused: it has no manifest ($name.manifest)."
    [ "$(awk '{ print $2 }' "$BACKUP_DIR/$name.dump.sha256")" = "$name.dump"$'\n'"$name.manifest" ] ||
        fail "$name is refused: $name.dump.sha256 does not list its files."
    report=$(cd "$BACKUP_DIR" && sha256sum --check --strict --quiet "$name.dump.sha256" 2>/dev/null) ||
        fail "$name is refused: it is not what was written (${report//$'\n'/, })."
}

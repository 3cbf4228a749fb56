#!/usr/bin/env bash
# Restores a backup of backup.sh into an empty database, and compares what came back with what was backed up.
#
#   restore.sh [--replace] [--check] [NAME]      NAME as backup.sh list shows it; without one, the newest
#
# --replace    puts the backup in place of what is there, for which CONFIRM=yes must be set
# --check      says whether it would, and does nothing
#
# All is one transaction, the comparison too: whatever fails, the database is as it was.
set -euo pipefail
# shellcheck source=backup-common.sh
. "$(dirname "$0")/backup-common.sh"

USED="SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid = c.oid AND d.deptype = 'e')"

# The whole restore as one script for psql. It is written while it runs, and COMMIT only at the very end: should
# pg_restore or this program die, psql sees no COMMIT and PostgreSQL takes everything back.
script() {
    echo "BEGIN;"
    if [ -n "$replace" ]; then
        echo "DROP SCHEMA public CASCADE;"
        echo "CREATE SCHEMA public AUTHORIZATION pg_database_owner;"
        echo "GRANT USAGE ON SCHEMA public TO PUBLIC;"
        echo "COMMENT ON SCHEMA public IS 'standard public schema';"
    fi
    # pg_restore 17 sets a limit that PostgreSQL 15 and 16 do not know, at the beginning and nowhere else.
    pg_restore --exit-on-error --no-owner --no-privileges --file=- "$BACKUP_DIR/$name.dump" |
        sed '1,60 { /^SET transaction_timeout = 0;$/d }' || return 1
    echo "CREATE TEMPORARY TABLE expected (name text, rows bigint, checksum numeric);"
    echo "CREATE TEMPORARY TABLE found (name text, rows bigint, checksum numeric);"
    echo "COPY pg_temp.expected FROM STDIN;"
    grep --invert-match '^#' "$BACKUP_DIR/$name.manifest" || true
    echo "\\."
    manifest_commands "INSERT INTO pg_temp.found"
    cat <<'SQL'
DO $$
DECLARE differences text;
BEGIN
    SELECT string_agg(format('%s had %s rows and has %s', name, coalesce(e.rows::text, 'no'),
                             CASE WHEN e.rows = f.rows THEN 'others' ELSE coalesce(f.rows::text, 'none') END), ', ')
    INTO differences FROM pg_temp.expected e FULL JOIN pg_temp.found f USING (name)
    WHERE (e.rows, e.checksum) IS DISTINCT FROM (f.rows, f.checksum);
    IF differences IS NOT NULL THEN
        RAISE EXCEPTION 'what came back is not what was backed up: %', differences;
    END IF;
END
$$;
DROP TABLE pg_temp.expected, pg_temp.found;
COMMIT;
ANALYZE;
SQL
}

replace=
check=
name=
for argument; do
    case $argument in
        --replace) replace=yes ;;
        --check) check=yes ;;
        -*) fail "there is no option '$argument'." ;;
        *) name=$argument ;;
    esac
done
name=$(basename "${name:-$(backups | head -1)}" .dump)
[ -n "$name" ] || fail "there is no backup in $BACKUP_DIR."
[[ $name =~ ^todo-[0-9]{8}T[0-9]{6}Z$ ]] || fail "'$name' is not the name of a backup."
if [ -n "$replace" ] && [ "${CONFIRM:-}" != yes ]; then
    fail "--replace removes all that the database holds; set CONFIRM=yes if that is what you want."
fi
# So that no backup is made, and none removed, while this one is read.
if [ -e "$BACKUP_DIR/.lock" ]; then
    exec 9<"$BACKUP_DIR/.lock"
    flock --wait 3600 9 || fail "a backup has been running for an hour."
fi
check_whole "$name"
database_settings
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

used=$(psql_quietly --command="$USED" 2>"$scratch/errors") ||
    fail "PostgreSQL does not answer as it should: $(one_line "$scratch/errors")"
if [ "$used" != 0 ] && [ -z "$replace" ]; then
    fail "the database $PGDATABASE on $PGHOST is not empty ($used tables and the like), so nothing is restored into it."
fi
if [ -n "$check" ]; then
    printf '%s: %s is whole, and could be restored into %s on %s.\n' "${0##*/}" "$name" "$PGDATABASE" "$PGHOST"
    exit
fi
started=$(date +%s)
script 2>"$scratch/script-errors" | psql_quietly --file=- >/dev/null 2>"$scratch/errors" ||
    fail "$name is not restored, and the database is as it was: $(cat "$scratch"/*errors | grep --invert-match '^NOTICE' |
        head -3 >"$scratch/said" && one_line "$scratch/said")"
printf '%s: %s is restored into %s on %s in %s s, row for row what was backed up:\n' "${0##*/}" "$name" "$PGDATABASE" \
    "$PGHOST" "$(($(date +%s) - started))"
awk -F '\t' '!/^#/ { printf "  %-40s %12d rows\n", $1, $2 }' "$BACKUP_DIR/$name.manifest"

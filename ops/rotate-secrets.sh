#!/usr/bin/env bash
# make rotate-secrets: new secrets for a service that goes on.
#
#   rotate-secrets.sh                  a new key for tokens. Nobody is signed out: the old key still verifies
#   DROP_OLD=1 rotate-secrets.sh       TOKEN_ACCESS_SECONDS later or any time after: take the old keys away. With them go
#                                      the links in mails that they signed: to confirm an address (good for 3 days) and
#                                      to unsubscribe (good as long as the key is kept)
#   DROP_OLD=now rotate-secrets.sh     without waiting, for a key that others know: whoever holds a token that it signed
#                                      has to refresh it
#   WHAT=database rotate-secrets.sh    a new password for the database of this stack
#
# After an interruption, run it again: the secret's file shows the next step. Processes read it when they start, so they
# are replaced after each step (ROLL_COMMAND: ops/deploy.sh --no-build).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=secret-files.sh
source ops/secret-files.sh

DEPLOY="ops/deploy.sh --no-build"
ROLL_COMMAND=${ROLL_COMMAND:-$DEPLOY}
FILE=$SECRETS_DIR/token_keys
SIGNING=$SECRETS_DIR/.token_keys.signing   # which key every process signs with; the file's age says since when

roll() {
    printf 'Replacing the processes, so that they %s\n' "$1"
    bash -c "$ROLL_COMMAND" || give_up "The processes could not be replaced. The file is as it should be: run this again."
}

# ---- Keys for tokens -------------------------------------------------------------------------------------------------

keys=()   # id:secret, in the order of the file

read_keys() {
    local key
    [ -r "$FILE" ] || give_up "There is no $FILE that can be read: make secrets"
    keys=()
    while read -r key; do
        [ -n "$key" ] || continue
        [[ $key == ?*:?* ]] || give_up "$FILE is not key-id:secret, comma-separated."
        keys+=("$key")
    done < <(tr --delete ' ' <"$FILE" | tr , '\n'; echo)
    [ ${#keys[@]} -gt 0 ] || give_up "$FILE holds no key: make secrets"
}

write_keys() {
    local IFS=,
    printf '%s\n' "$*" | write_secret token_keys
    read_keys
}

id_of() {
    printf '%s' "${1%%:*}"
}

# The newest of the keys made here, if there is one: ids that are times sort by age.
newest_key() {
    printf '%s\n' "${keys[@]}" | grep --extended-regexp '^[0-9]{8}T[0-9]{6}Z:' | sort | tail --lines=1 || true
}

access_seconds() {
    setting TOKEN_ACCESS_SECONDS 900
}

# Three states of the file, each reached by one replacement of it:
#   old          the newest key signs, and there is no other    -> append a new one
#   old,new      the newest key is known, and does not sign yet -> roll, and put it first
#   new,old      the newest key signs, and the old ones verify  -> roll, and wait for DROP_OLD
rotate_keys() {
    local newest id key rest=()
    read_keys
    newest=$(newest_key)
    if [ ${#keys[@]} = 1 ] || [ -z "$newest" ]; then
        id=$(new_key_id)
        while [ "$id" = "$(id_of "$newest")" ]; do
            sleep 0.1
            id=$(new_key_id)
        done
        [ -z "$newest" ] || [[ $id > $(id_of "$newest") ]] ||
            give_up "The clock is behind: the key $(id_of "$newest") would be newer than the new one."
        write_keys "${keys[@]}" "$id:$(random_secret)"
        newest=$(newest_key)
    fi
    if [ "${keys[0]}" != "$newest" ]; then
        roll "know the new key, $(id_of "$newest")"
        for key in "${keys[@]}"; do [ "$key" = "$newest" ] || rest+=("$key"); done
        write_keys "$newest" "${rest[@]}"
    fi
    roll "sign with the new key, $(id_of "$newest")"
    printf '%s\n' "$(id_of "$newest")" | write_secret .token_keys.signing
    printf 'The key %s signs. In %s s the tokens of the old keys have expired: make rotate-secrets DROP_OLD=1\n' \
        "$(id_of "$newest")" "$(access_seconds)"
    echo "Links in mails that the old keys signed end with them: keep them for some days, until the next rotation if you like."
}

drop_old_keys() {
    local newest left key dropped=()
    read_keys
    newest=$(newest_key)
    if [ "${keys[0]}" != "$newest" ]; then
        give_up "The newest key does not sign yet, so no old one can go: make rotate-secrets"
    fi
    # With one key as well, an interrupted run may not have replaced the processes yet.
    if [ "$DROP_OLD" != now ] && [ ${#keys[@]} -gt 1 ]; then
        [ "$(cat "$SIGNING" 2>/dev/null)" = "$(id_of "$newest")" ] ||
            give_up "It is not certain that every process signs with the key $(id_of "$newest"): make rotate-secrets"
        left=$(($(stat --format=%Y "$SIGNING") + $(access_seconds) - $(date +%s)))
        ((left <= 0)) ||
            give_up "Tokens of the old keys are good for another $left s. To sign out who holds one: make rotate-secrets DROP_OLD=now"
    fi
    for key in "${keys[@]:1}"; do dropped+=("$(id_of "$key")"); done
    if [ ${#keys[@]} -gt 1 ]; then write_keys "$newest"; fi
    roll "know the key $(id_of "$newest") alone"
    printf 'The key %s is the only one.%s\n' "$(id_of "$newest")" "${dropped:+ Gone: ${dropped[*]}}"
}

# ---- The database's password -----------------------------------------------------------------------------------------

# PostgreSQL has one password for a role. Between its change and the end of the roll, open connections stay usable, but
# old processes cannot open new ones: they answer 503 to requests that need one.
rotate_database_password() {
    local next=.database_password.next
    [ -e "$SECRETS_DIR/database_password" ] || give_up "There is no $SECRETS_DIR/database_password: make secrets"
    [ -n "$(docker compose ps --quiet --status running db 2>/dev/null)" ] ||
        give_up "The database is none of this stack. Change its password where it is managed, write it to $SECRETS_DIR/database_password, and: $ROLL_COMMAND"
    # Before PostgreSQL knows it, so that a run that is interrupted goes on with the same.
    [ -e "$SECRETS_DIR/$next" ] || random_secret | write_secret "$next"
    # By the socket, inside of the container: there, no password is asked for. It is hexadecimal, and needs no quoting.
    printf "ALTER ROLE CURRENT_USER PASSWORD '%s';\n" "$(<"$SECRETS_DIR/$next")" |
        docker compose exec --no-TTY db psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username todo --dbname todo \
            >/dev/null || give_up "PostgreSQL did not take the new password. Run this again."
    write_secret database_password <"$SECRETS_DIR/$next"
    roll "know the database's new password"
    rm "$SECRETS_DIR/$next"
    # Restart the other services that connect to the database, which a deploy does not replace.
    for service in $(docker compose ps --services --status running | grep --extended-regexp 'backup|exporter' || true); do
        docker compose --progress quiet up --detach --no-deps --force-recreate "$service"
    done
    echo "The database has a new password, and every process knows it."
}

# The development set has its secrets in compose.yaml: nothing would read the files.
expect_secret() {
    [ "$ROLL_COMMAND" != "$DEPLOY" ] || [ -n "$(docker compose config | sed -n "s|^      - source: $1\$|&|p")" ] ||
        give_up "This stack reads no file for $1, so there is nothing to rotate: it is for production (compose.prod.yaml)."
}

case ${WHAT:-tokens} in
    database) expect_secret database_password ;;
    *) expect_secret token_keys ;;
esac

case ${WHAT:-tokens} in
    tokens) if [ -n "${DROP_OLD:-}" ]; then drop_old_keys; else rotate_keys; fi ;;
    database) rotate_database_password ;;
    *) give_up "WHAT is tokens or database, not '$WHAT'." ;;
esac

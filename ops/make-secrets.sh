#!/usr/bin/env bash
# make secrets: make the files of ./secrets for compose.prod.yaml. Existing files stay as they are.
#
# Only its owner can enter the folder. The files in it are readable by all, because Docker mounts them with their modes
# into containers of other user ids.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=secret-files.sh
source ops/secret-files.sh

made=()
kept=()

# secret NAME: its standard input, unless there is a file already.
secret() {
    if [ -e "$SECRETS_DIR/$1" ]; then
        kept+=("$1")
    else
        write_secret "$1"
        made+=("$1")
    fi
}

mkdir -p "$SECRETS_DIR"
chmod 700 "$SECRETS_DIR"
secret database_password < <(random_secret)
secret redis_password < <(random_secret)
secret token_keys < <(printf '%s:%s' "$(new_key_id)" "$(random_secret)")
# redis_exporter wants to know which address the password is for.
secret redis_exporter_passwords < <(printf '{"redis://redis:6379": "%s"}' "$(<"$SECRETS_DIR/redis_password")")
# These come from elsewhere, or are not needed: an empty file counts as not set.
for name in email_password database_ca redis_ca; do secret "$name" </dev/null; done
[ ${#made[@]} = 0 ] || printf 'Made in %s: %s\n' "$SECRETS_DIR" "${made[*]}"
[ ${#kept[@]} = 0 ] || printf 'Kept as they are: %s\n' "${kept[*]}"

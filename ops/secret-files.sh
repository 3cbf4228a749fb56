# shellcheck shell=bash
# Functions that make-secrets.sh and rotate-secrets.sh share: they keep secrets off screens and command lines.

# setting NAME DEFAULT: from the environment or from .env, where Compose finds it too.
setting() {
    local value=${!1:-}
    if [ -z "$value" ] && [ -r .env ]; then
        value=$(sed --quiet "s/^$1=\(.*\)/\1/p" .env | tail --lines=1)
    fi
    printf '%s' "${value:-$2}"
}

SECRETS_DIR=$(setting SECRETS_DIR ./secrets)

give_up() {
    printf '%s\n' "$*" >&2
    exit 1
}

random_secret() {
    head --bytes=32 /dev/urandom | od --address-radix=n --format=x1 | tr --delete ' \n'
}

# Ids of keys are times, so that they tell which key is the newest.
new_key_id() {
    date --utc +%Y%m%dT%H%M%SZ
}

# write_secret NAME: puts its standard input in place of the file, all at once, and keeps owner and mode. A container
# that runs goes on with the file that it was started with: Docker mounts a file, not its name.
write_secret() (
    umask 077
    new=$(mktemp "$SECRETS_DIR/.$1.XXXXXX") || give_up "Nothing can be written to $SECRETS_DIR."
    trap 'rm -f "$new"' EXIT
    { cat >"$new" && chmod 444 "$new"; } || give_up "$SECRETS_DIR/$1 could not be written."
    if [ -e "$SECRETS_DIR/$1" ]; then
        { chown --reference="$SECRETS_DIR/$1" "$new" && chmod --reference="$SECRETS_DIR/$1" "$new"; } ||
            give_up "The owner of $SECRETS_DIR/$1 could not be kept: be root, or that owner."
    fi
    { sync "$new" && mv "$new" "$SECRETS_DIR/$1" && sync "$SECRETS_DIR"; } ||
        give_up "$SECRETS_DIR/$1 could not be written."
)

#!/usr/bin/env bash
# Makes a fresh host run the container stack: cloud-init.yaml calls it at the first boot, and it can be run again.
#
# It reads /etc/todo/containers.env, which cloud-init.yaml writes. Each step says what it does before it does it.
# It ends with 3 if all that is missing is the password of the registry, which cannot be in user data.
set -euo pipefail
umask 022
STACK=${STACK:-/opt/todo}
PLUGINS=${PLUGINS:-/usr/local/lib/docker/cli-plugins}
SETTINGS=${SETTINGS:-/etc/todo/containers.env}
REGISTRY_PASSWORD_FILE=/etc/todo/registry_password

say() {
    printf 'containers.sh: %s\n' "$*"
}

fail() {
    printf 'containers.sh: %s\n' "$*" >&2
    exit 1
}

# NAME=value, as it stands: a database's address has characters in it that mean something to a shell.
read_settings() {
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        if [[ $line =~ ^([A-Z][A-Z0-9_]*)=(.*)$ ]]; then printf -v "${BASH_REMATCH[1]}" %s "${BASH_REMATCH[2]}"; fi
    done <"$SETTINGS"
}

has_compose() {
    local version
    version=$(docker compose version --short 2>/dev/null) || return 1
    [[ ${version#v} =~ ^([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] > 2 || BASH_REMATCH[1] == 2 && BASH_REMATCH[2] >= 24))
}

# Debian 12 has Compose v1 only, and Docker's own repository does not know veLinux's code name. So the plugin is one file,
# checked against a sum that was written down beside its address; or it is Debian 13's package, which apt checks against
# Debian's signature, and of which the one file is taken.
install_compose() {
    install --directory "$PLUGINS"
    if [ -n "${COMPOSE_PLUGIN_URL:-}" ]; then
        [[ ${COMPOSE_PLUGIN_SHA256:-} =~ ^[0-9a-f]{64}$ ]] || fail "COMPOSE_PLUGIN_URL needs COMPOSE_PLUGIN_SHA256 beside it."
        compose_from_url
    else
        compose_from_debian
    fi
    has_compose || fail "the Compose plugin in $PLUGINS does not run, or is older than 2.24."
}

compose_from_url() {
    local scratch
    say "fetching the Compose plugin from $COMPOSE_PLUGIN_URL"
    scratch=$(mktemp -d)
    curl --fail --silent --show-error --location --retry 3 --output "$scratch/docker-compose" "$COMPOSE_PLUGIN_URL"
    echo "$COMPOSE_PLUGIN_SHA256  $scratch/docker-compose" | sha256sum --check --quiet ||
        fail "what came from $COMPOSE_PLUGIN_URL is not what COMPOSE_PLUGIN_SHA256 says; it was thrown away."
    install --mode 755 "$scratch/docker-compose" "$PLUGINS/docker-compose"
    rm -rf "$scratch"
}

# With lists of its own, so that nothing else of that release ever comes to this host.
compose_from_debian() {
    local scratch mirror
    mirror=${DEBIAN_MIRROR:-$(debian_mirror)}
    [ -n "$mirror" ] || fail "this host names no Debian mirror: set DEBIAN_MIRROR, or COMPOSE_PLUGIN_URL and COMPOSE_PLUGIN_SHA256."
    say "taking the Compose plugin out of Debian 13's package docker-compose, from $mirror"
    scratch=$(mktemp -d)
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$scratch/sources.list"
    local apt=(apt-get -o "Dir::Etc::SourceList=$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache" -o APT::Sandbox::User=root -q -q)
    "${apt[@]}" update
    (cd "$scratch" && "${apt[@]}" download docker-compose && dpkg --extract docker-compose_*.deb unpacked)
    install --mode 755 "$scratch/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$PLUGINS/docker-compose"
    rm -rf "$scratch"
}

debian_mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' | grep --max-count 1 '/debian/\?$' || true
}

write_env() {
    local name
    [ ! -e "$STACK/.env" ] || return 0
    say "writing $STACK/.env"
    install --mode 600 /dev/null "$STACK/.env.new"
    {
        echo "# Written by containers.sh from $SETTINGS. .env.production.example explains it; secrets are in ./secrets."
        for name in COMPOSE_PROJECT_NAME COMPOSE_FILE COMPOSE_PROFILES TAG REGISTRY BASE_PREFIX PUBLIC_URL ACME_EMAIL \
            DATABASE_URL REDIS_URL NGINX_TRUSTED_PROXIES; do
            [ -z "${!name:-}" ] || printf '%s=%s\n' "$name" "${!name}"
        done
    } >"$STACK/.env.new"
    mv "$STACK/.env.new" "$STACK/.env"
}

log_in() {
    [ -n "${REGISTRY_USER:-}" ] || return 0
    if [ ! -s "$REGISTRY_PASSWORD_FILE" ]; then
        say "all is installed, and nothing is started: the images need the password of $REGISTRY_USER." \
            "Write it into $REGISTRY_PASSWORD_FILE, then run $STACK/deploy/ecs/containers.sh again." >&2
        exit 3
    fi
    say "signing in at ${REGISTRY%%/*}"
    docker login --username "$REGISTRY_USER" --password-stdin "${REGISTRY%%/*}" <"$REGISTRY_PASSWORD_FILE" ||
        fail "$REGISTRY_PASSWORD_FILE was refused. Mend it, then run $STACK/deploy/ecs/containers.sh again."
}

install_unit() {
    say "installing todo-compose.service, which starts with the host"
    install --mode 644 "$STACK/deploy/ecs/todo-compose.service" /etc/systemd/system/todo-compose.service
    systemctl daemon-reload
    systemctl enable todo-compose.service
}

main() {
    [ "$(id -u)" = 0 ] || fail "run it as root."
    [ -r "$SETTINGS" ] || fail "there is no $SETTINGS; cloud-init.yaml shows what it holds."
    read_settings
    COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-todo}
    COMPOSE_FILE=${COMPOSE_FILE:-compose.yaml:compose.prod.yaml}
    [ -n "${TAG:-}" ] && [ -n "${PUBLIC_URL:-}" ] || fail "$SETTINGS must set TAG and PUBLIC_URL."
    if has_compose; then say "Compose v2 is there"; else install_compose; fi
    write_env
    say "making the secrets that are not there yet"
    make -C "$STACK" secrets
    install_unit
    log_in
    say "starting todo-compose.service"
    systemctl start todo-compose.service
    say "done: make -C $STACK ps shows what runs"
    say "an upgrade: cd $STACK && git fetch --tags && git checkout v<version>, TAG in .env, make deploy"
}

# Sourced, it only brings its functions.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main; fi

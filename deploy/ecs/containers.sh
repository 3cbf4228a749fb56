#!/usr/bin/env bash
# Makes a fresh host run the container stack: cloud-init.yaml calls it at the first boot, and it can be run again.
# It ends with 3 if all that is missing is the password of the registry, which cannot be in user data.
set -euo pipefail
umask 022
STACK=$(cd "$(dirname "$0")/../.." && pwd)
PLUGIN=/usr/local/lib/docker/cli-plugins/docker-compose
REGISTRY_PASSWORD_FILE=/etc/todo/registry_password

say() {
    printf 'containers.sh: %s\n' "$*"
}

# NAME=value, as it stands: a database's address has characters in it that mean something to a shell.
value() {
    sed -n "s/^$1=//p" "$STACK/.env" | tail -n 1
}

has_compose() {
    local version
    version=$(docker compose version --short 2>/dev/null) && dpkg --compare-versions "${version#v}" ge 2.24
}

# Debian 12 has Compose v1 only, and Docker's own repository does not know veLinux's code name. So the plugin is the one
# file of Debian 13's package, which apt checks against Debian's signature, with lists of its own, so that nothing else
# of that release comes to this host.
install_compose() {
    local scratch mirror
    mirror=$(value DEBIAN_MIRROR)
    [ -n "$mirror" ] || mirror=$(sed -n -s -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep --max-count 1 '/debian/\?$') || true
    [ -n "$mirror" ] || { say "this host names no Debian mirror: set DEBIAN_MIRROR in $STACK/.env." >&2; exit 1; }
    say "taking the Compose plugin out of Debian 13's package docker-compose, from $mirror"
    scratch=$(mktemp -d)
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$scratch/sources.list"
    local apt=(apt-get -o "Dir::Etc::SourceList=$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache" -o APT::Sandbox::User=root -q -q)
    "${apt[@]}" update
    (cd "$scratch" && "${apt[@]}" download docker-compose && dpkg --extract docker-compose_*.deb unpacked)
    install -D --mode 755 "$scratch/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$PLUGIN"
    rm -rf "$scratch"
}

[ -e "$STACK/.env" ] || install --mode 600 /etc/todo/containers.env "$STACK/.env"
if has_compose; then say "Compose v2 is there"; else install_compose; fi
make -C "$STACK" secrets

say "installing todo-compose.service, which starts with the host"
install --mode 644 "$STACK/deploy/ecs/todo-compose.service" /etc/systemd/system/todo-compose.service
systemctl daemon-reload
systemctl enable todo-compose.service

user=$(value REGISTRY_USER) registry=$(value REGISTRY)
if [ -n "$user" ]; then
    if [ ! -s "$REGISTRY_PASSWORD_FILE" ]; then
        say "all is installed, and nothing is started: the images need the password of $user." \
            "Write it into $REGISTRY_PASSWORD_FILE, then run $STACK/deploy/ecs/containers.sh again." >&2
        exit 3
    fi
    docker login --username "$user" --password-stdin "${registry%%/*}" <"$REGISTRY_PASSWORD_FILE"
fi
systemctl start todo-compose.service
say "done: make -C $STACK ps shows what runs"

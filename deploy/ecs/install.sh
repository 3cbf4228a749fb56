#!/usr/bin/env bash
# Installs the Todo service on a host without containers, and upgrades it: run it from the checkout of the new release.
# It can be run any number of times: each step looks first, and does only what is missing.
#
#   install.sh --domain todo.example.com --with-postgresql --with-redis      everything on this host
#   install.sh --domain todo.example.com --database-url URL --redis-url URL  with managed PostgreSQL and Redis
#   install.sh                                                               an upgrade; it remembers what it was told
#   /opt/todo/current/deploy/ecs/install.sh                                  the same release, after a change of what it was told
#   install.sh --check ...                                                   says what it would do, and does nothing
#   install.sh rollback [RELEASE]      serves the release before (or this one) again; the database stays as it is
#   install.sh status                  which releases are there, and which one serves
#
#   --certbot EMAIL          a certificate of Let's Encrypt's, renewed by certbot; port 80 must be open to the world
#   --trusted-proxies NETS   networks of load balancers in front, comma-separated: they say who the client is
#   --python PATH            another Python from 3.11 than the host's python3
#   --release NAME           the name of this release, in place of its version and commit
set -euo pipefail
umask 022
# Not by way of /opt/todo/current, which is about to be changed.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
SOURCE=$(cd "$HERE/../.." && pwd -P)

usage() {
    sed -n '2,/^set -/{s/^# \{0,1\}//;/^set -/d;p}' "${BASH_SOURCE[0]}"
}

# What it was told before counts until it is told otherwise.
DOMAIN='' WITH_POSTGRESQL='' WITH_REDIS='' CERTBOT_EMAIL='' NGINX_TRUSTED_PROXIES='' PYTHON=python3
# shellcheck disable=SC1091
if [ -r /etc/todo/install.env ]; then . /etc/todo/install.env; fi
COMMAND='' RELEASE_NAME='' DATABASE_URL='' REDIS_URL=''

while [ $# -gt 0 ]; do
    case $1 in
        --check) CHECK=yes ;;
        --with-postgresql) WITH_POSTGRESQL=yes ;;
        --with-redis) WITH_REDIS=yes ;;
        --domain | --database-url | --redis-url | --certbot | --trusted-proxies | --python | --release)
            [ $# -gt 1 ] || { echo "install.sh: $1 needs a value." >&2; exit 2; }
            case $1 in
                --domain) DOMAIN=$2 ;;
                --database-url) DATABASE_URL=$2 ;;
                --redis-url) REDIS_URL=$2 ;;
                --certbot) CERTBOT_EMAIL=$2 ;;
                --trusted-proxies) NGINX_TRUSTED_PROXIES=$2 ;;
                --python) PYTHON=$2 ;;
                --release) RELEASE_NAME=$2 ;;
            esac
            shift
            ;;
        --help | -h) usage; exit 0 ;;
        -*) echo "install.sh: there is no option $1. See install.sh --help" >&2; exit 2 ;;
        *) if [ -z "$COMMAND" ]; then COMMAND=$1; else RELEASE_NAME=$1; fi ;;
    esac
    shift
done

# shellcheck source=deploy/ecs/lib/steps.sh
. "$HERE/lib/steps.sh"
# shellcheck source=deploy/ecs/lib/host.sh
. "$HERE/lib/host.sh"
# shellcheck source=deploy/ecs/lib/release.sh
. "$HERE/lib/release.sh"
# shellcheck source=deploy/ecs/lib/proxy.sh
. "$HERE/lib/proxy.sh"
# shellcheck source=deploy/ecs/lib/services.sh
. "$HERE/lib/services.sh"

# ---- What it is told is remembered

told() {
    local name
    echo "# What install.sh was told; it need not be told again. NGINX_... of lib/proxy.sh may stand here too."
    for name in DOMAIN WITH_POSTGRESQL WITH_REDIS CERTBOT_EMAIL NGINX_TRUSTED_PROXIES PYTHON \
        NGINX_REQUESTS_PER_SECOND NGINX_BURST NGINX_SIGN_INS_PER_SECOND NGINX_SIGN_IN_BURST NGINX_CONNECTIONS \
        NGINX_MAX_BODY_BYTES NGINX_ANSWER_SECONDS NGINX_HSTS_SECONDS; do
        printf '%s=%q\n' "$name" "${!name}"
    done
}

is_remembered() {
    told | cmp --silent - /etc/todo/install.env
}

remember() {
    local scratch
    scratch=$(mktemp)
    told >"$scratch"
    put "$scratch" /etc/todo/install.env 644 root:root
    rm -f "$scratch"
}

check_options() {
    [[ $DOMAIN =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] ||
        fail "the name that people reach it by is missing: --domain todo.example.com"
    if [ ! -s /etc/todo/todo.env ]; then
        [ -n "$WITH_POSTGRESQL$DATABASE_URL" ] ||
            fail "where is PostgreSQL? --with-postgresql for this host, or --database-url postgresql://todo@host:5432/todo"
        [ -n "$WITH_REDIS$REDIS_URL" ] ||
            fail "where is Redis? --with-redis for this host, or --redis-url redis://host:6379/0"
    else
        expect_no_other DATABASE_URL
        expect_no_other REDIS_URL
    fi
}

# The same command may be given again, above all after an interruption. (Who may not read the file may only --check.)
expect_no_other() {
    [ -n "${!1}" ] && [ -r /etc/todo/todo.env ] || return 0
    [ "$(sed -n "s/^$1=//p" /etc/todo/todo.env | tail -n 1)" = "${!1}" ] ||
        fail "/etc/todo/todo.env is there already, and yours, and has another $1: change it there."
}

# ---- The commands

installation() {
    local release
    check_options
    release=${RELEASE_NAME:-$(release_name)}
    check_release_name "$release"
    heading "Todo $release for $DOMAIN"
    check_host
    heading "The host"
    ensure_packages
    expect "Python 3.11 or newer" python_is_new_enough -- no_python
    ensure_user_and_folders
    ensure "what it was told, in /etc/todo/install.env" is_remembered -- remember
    ensure_settings
    ensure "todo-admin, in /usr/local/bin" same_file "$HERE/todo-admin" /usr/local/bin/todo-admin -- \
        put "$HERE/todo-admin" /usr/local/bin/todo-admin 755 root:root
    if [ -n "$WITH_POSTGRESQL" ]; then
        heading "PostgreSQL"
        ensure_database
    fi
    if [ -n "$WITH_REDIS" ]; then
        heading "Redis"
        ensure_redis
    fi
    heading "The release"
    ensure "the release, in $RELEASES/$release" is_the_same "$release" -- build_release "$release"
    always "a trial: its settings are accepted, and all of it can be loaded" expect_to_start "$release"
    # Expand, then contract: what the release before does not know does not disturb it while it still serves.
    always "the migrations of this release" migrate "$release"
    activate "$release"
    if [ -n "$CERTBOT_EMAIL" ]; then
        heading "The certificate"
        ensure_certificate
    fi
    heading "The end"
    ensure "at most $KEEP releases" no_old_releases -- remove_old_releases
    if [ -z "$CHECK" ] && manager_runs; then
        say "https://$DOMAIN/livez answers now. To go back: /opt/todo/current/deploy/ecs/install.sh rollback"
    fi
}

rollback() {
    local release=${RELEASE_NAME:-$(previous_release)}
    [ -n "$release" ] || fail "there is no release before this one."
    check_release_name "$release"
    is_complete "$release" || fail "there is no complete release $release. install.sh status lists those that are there."
    ! is_current "$release" || fail "$release is the one that serves."
    heading "Back to $release; the database stays as it is, and suits both"
    check_host
    always "a trial: its settings are accepted, and all of it can be loaded" expect_to_start "$release"
    activate "$release"
}

status() {
    local release mark
    for release in $(find "$RELEASES" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort); do
        mark=''
        is_complete "$release" || mark+=' (incomplete)'
        [ "$release" != "$(previous_release)" ] || mark+=' (the one before)'
        ! is_current "$release" || mark+=' (current)'
        printf '%s  %s%s\n' "$release" "$(cat "$RELEASES/$release/REVISION" 2>/dev/null)" "$mark"
    done
    if manager_runs; then systemctl --no-pager --plain list-units --all 'todo-*'; fi
}

# Two at once would undo each other's work.
alone() {
    [ -z "$CHECK" ] && [ "$(id -u)" = 0 ] || return 0
    exec 9>/run/lock/todo-install.lock
    flock --nonblock 9 || fail "another install.sh is at work."
}

case ${COMMAND:-install} in
    install | upgrade) alone && installation ;;
    rollback) alone && rollback ;;
    status) status ;;
    *) echo "install.sh: there is no command $COMMAND. See install.sh --help" >&2; exit 2 ;;
esac

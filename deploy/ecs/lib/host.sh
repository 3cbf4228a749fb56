# shellcheck shell=bash
# What a host has whatever the release: packages, the user, folders, secrets, settings, PostgreSQL and Redis.

APT_IS_FRESH=

check_host() {
    [ "$(id -u)" = 0 ] || [ -n "$CHECK" ] || fail "run it as root (sudo ./install.sh ...)."
    command -v apt-get >/dev/null || fail "this host has no apt-get: it is for Debian 12 and for veLinux, which derives from Debian."
    # shellcheck disable=SC1091
    local name && name=$(. /etc/os-release && echo "${PRETTY_NAME:-$ID}")
    case $name in
        *"Debian GNU/Linux 12"*) say "$name" ;;
        *) say "$name: this was carried out on Debian 12 only. It goes on; read what it says with more care." ;;
    esac
}

# ---- Packages

package_is_there() {
    [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

all_packages_are_there() {
    local package
    for package; do package_is_there "$package" || return 1; done
}

install_packages() {
    local missing=() package
    for package; do package_is_there "$package" || missing+=("$package"); done
    if [ -z "$APT_IS_FRESH" ]; then
        quietly apt-get update --quiet --quiet
        APT_IS_FRESH=yes
    fi
    DEBIAN_FRONTEND=noninteractive quietly apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}"
}

ensure_packages() {
    local packages=(ca-certificates curl nginx openssl)
    # A Python of one's own (--python) needs no package of Debian's.
    [ "$PYTHON" != python3 ] || packages+=(python3 python3-venv)
    if [ -n "$WITH_POSTGRESQL" ]; then packages+=(postgresql postgresql-client); fi
    if [ -n "$WITH_REDIS" ]; then packages+=(redis-server); fi
    if [ -n "$CERTBOT_EMAIL" ]; then packages+=(certbot); fi
    ensure "the packages ${packages[*]}" all_packages_are_there "${packages[@]}" -- install_packages "${packages[@]}"
}

python_is_new_enough() {
    "$PYTHON" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
}

no_python() {
    fail "$PYTHON is not Python 3.11 or newer with venv. Name one that is: install.sh --python /path/to/python3.11"
}

# ---- The user, and where things are

is_folder() {
    [ "$(stat --format '%a %U:%G' "$1" 2>/dev/null)" = "$2 $3" ]
}

make_folder() {
    install --directory --mode "$2" --owner "${3%%:*}" --group "${3##*:}" "$1"
}

ensure_folder() {
    ensure "the folder $1 (mode $2, $3)" is_folder "$1" "$2" "$3" -- make_folder "$1" "$2" "$3"
}

ensure_user_and_folders() {
    ensure "the system user todo, who can neither sign in nor write to the program" getent passwd todo -- \
        useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin todo
    ensure_folder /opt/todo 755 root:root
    ensure_folder /opt/todo/releases 755 root:root
    ensure_folder /opt/todo/cache 700 root:root   # uv leaves locks in it that everybody could write to
    ensure_folder /etc/todo 755 root:root
    ensure_folder /etc/todo/secrets 750 root:todo
    ensure_folder /etc/todo/tls 750 root:root
    ensure_folder /var/lib/todo 755 root:root
    ensure_folder /var/lib/todo/acme 755 root:root
}

# ---- Secrets and settings: made once, and never written over

make_secret() {
    put_new "/etc/todo/secrets/$1" 640 root:todo
}

token_key() {
    echo "$(date +%Y-%m):$(openssl rand -hex 32)" | make_secret token_keys
}

redis_password() {
    openssl rand -hex 32 | make_secret redis_password
}

# Others write these by hand; the wrong mode would keep the service from reading them, or let everybody.
secrets_are_well_kept() {
    [ -z "$(find /etc/todo/secrets -type f ! \( -perm 640 -user root -group todo \))" ]
}

keep_secrets_well() {
    find /etc/todo/secrets -type f -exec chown root:todo {} + -exec chmod 640 {} +
}

write_settings() {
    sed -e "s|^PUBLIC_URL=.*|PUBLIC_URL=https://$DOMAIN|" \
        -e "s|^EMAIL_SENDER=.*|EMAIL_SENDER=Todo <todo@$DOMAIN>|" \
        -e "s|^DATABASE_URL=.*|DATABASE_URL=$(for_sed "${DATABASE_URL:-postgresql://todo@/todo?host=/run/postgresql}")|" \
        -e "s|^REDIS_URL=.*|REDIS_URL=$(for_sed "${REDIS_URL:-redis://127.0.0.1:6379/0}")|" \
        "$HERE/todo.env.example" | put_new /etc/todo/todo.env 640 root:todo
}

for_sed() {
    printf '%s' "$1" | sed 's/[&|\\]/\\&/g'
}

# systemd's EnvironmentFile= and todo-admin read it alike only as long as it is plain.
settings_are_plain() {
    ! grep --quiet --invert-match --extended-regexp '^[[:space:]]*(#.*)?$|^[A-Z][A-Z0-9_]*=([^"'\''\\[:space:]]([^\\]*[^\\[:space:]])?)?$' \
        /etc/todo/todo.env
}

settings_are_not_plain() {
    fail "/etc/todo/todo.env: each line must be a comment or NAME=value, without quotes, backslashes or spaces at the ends."
}

ensure_settings() {
    ensure "a key that signs tokens, in /etc/todo/secrets/token_keys" test -s /etc/todo/secrets/token_keys -- token_key
    if [ -n "$WITH_REDIS" ]; then
        ensure "a password for Redis, in /etc/todo/secrets/redis_password" \
            test -s /etc/todo/secrets/redis_password -- redis_password
    fi
    ensure "secrets that the user todo may read, and nobody else" secrets_are_well_kept -- keep_secrets_well
    ensure "the settings, in /etc/todo/todo.env" test -s /etc/todo/todo.env -- write_settings
    if [ -e /etc/todo/todo.env ]; then
        expect "settings that are plain lines NAME=value" settings_are_plain -- settings_are_not_plain
    fi
}

# ---- PostgreSQL and Redis on this host, for those who have no managed ones

as_postgres() {
    (cd / && runuser --user postgres -- "$@")
}

database_runs() {
    as_postgres pg_isready --quiet
}

start_database() {
    debian_service postgresql start
    for _ in $(seq 60); do
        if database_runs; then return; fi
        sleep 0.5
    done
    fail "PostgreSQL did not answer within 30 s. See: journalctl --unit 'postgresql@*'"
}

psql_says() {
    [ "$(as_postgres psql --tuples-only --no-align --command "$1")" = 1 ]
}

database_is_new_enough() {
    psql_says "SELECT 1 WHERE current_setting('server_version_num')::int >= 150000"
}

database_is_too_old() {
    fail "this host's PostgreSQL is older than 15. Use a managed one: --database-url."
}

# The user todo of this host is the user todo of PostgreSQL (peer authentication): there is no password to keep.
ensure_database() {
    ensure "PostgreSQL running" database_runs -- start_database
    expect "PostgreSQL 15 or newer" database_is_new_enough -- database_is_too_old
    ensure "PostgreSQL's user todo" psql_says "SELECT 1 FROM pg_roles WHERE rolname = 'todo'" -- \
        as_postgres psql --quiet --command 'CREATE ROLE todo LOGIN'
    ensure "PostgreSQL's database todo" psql_says "SELECT 1 FROM pg_database WHERE datname = 'todo'" -- \
        as_postgres psql --quiet --command \
        "CREATE DATABASE todo OWNER todo TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
}

redis_settings() {
    cat <<END
# Written by Todo's install.sh. A cache and a broker of wake-ups: what it forgets costs time, never data.
bind 127.0.0.1
save ""
appendonly no
maxmemory 128mb
maxmemory-policy volatile-lru
requirepass $(cat /etc/todo/secrets/redis_password 2>/dev/null)
END
}

redis_is_set_up() {
    redis_settings | cmp --silent - /etc/redis/todo.conf && grep --quiet --line-regexp 'include /etc/redis/todo.conf' /etc/redis/redis.conf
}

set_up_redis() {
    local scratch
    scratch=$(mktemp)
    redis_settings >"$scratch"
    put "$scratch" /etc/redis/todo.conf 640 redis:redis
    rm -f "$scratch"
    # At the end: what is said last counts.
    grep --quiet --line-regexp 'include /etc/redis/todo.conf' /etc/redis/redis.conf ||
        echo 'include /etc/redis/todo.conf' >>/etc/redis/redis.conf
    debian_service redis-server restart
}

# To a Redis with another password, or none, redis-cli says so before its PONG.
redis_answers() {
    [ "$(REDISCLI_AUTH=$(cat /etc/todo/secrets/redis_password) redis-cli ping 2>&1)" = PONG ]
}

redis_is_another() {
    fail "Redis does not take the password in /etc/todo/secrets/redis_password. Restart it: systemctl restart redis-server"
}

ensure_redis() {
    ensure "Redis with a password, within 128 MB, without a file, in /etc/redis/todo.conf" redis_is_set_up -- set_up_redis
    ensure "Redis running" redis_answers -- debian_service redis-server start
    expect "Redis taking the password" redis_answers -- redis_is_another
}

# shellcheck shell=bash
# nginx: a certificate to start with, the site, and a certificate of Let's Encrypt's for those who want one.

: "${NGINX_REQUESTS_PER_SECOND:=50}" "${NGINX_BURST:=200}"         # requests of one address: a second, and at once
: "${NGINX_SIGN_INS_PER_SECOND:=2}" "${NGINX_SIGN_IN_BURST:=20}"   # of these, to /token and /users
: "${NGINX_CONNECTIONS:=100}"                                      # requests of one address under way, streams included
: "${NGINX_MAX_BODY_BYTES:=1048576}"                               # as API_MAX_BODY_BYTES
: "${NGINX_ANSWER_SECONDS:=30}"                                    # how long the API may take to begin its answer
: "${NGINX_HSTS_SECONDS:=63072000}"                                # how long a browser refuses plain HTTP

TLS=/etc/todo/tls
SITE=/etc/nginx/sites-available/todo

# ---- The certificate that nginx starts with: signed by an authority that is thrown away, so nobody can sign by it again

bootstrap_is_good() {
    openssl x509 -in "$TLS/bootstrap/fullchain.pem" -noout -checkend 2592000 &&
        openssl x509 -in "$TLS/bootstrap/fullchain.pem" -noout -checkhost "$DOMAIN" | grep --quiet 'does match'
}

make_bootstrap() {
    local scratch
    scratch=$(mktemp -d)
    (
        umask 077
        cd "$scratch" || exit 1
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout ca.key -out ca.pem \
            -subj "/CN=Todo bootstrap authority of $DOMAIN" -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
            -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout privkey.pem -subj "/CN=$DOMAIN" 2>/dev/null |
            openssl x509 -req -CA ca.pem -CAkey ca.key -days 365 -out fullchain.pem -extfile <(printf '%s\n' \
                "subjectAltName=DNS:$DOMAIN" basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
                extendedKeyUsage=serverAuth subjectKeyIdentifier=hash authorityKeyIdentifier=keyid) 2>/dev/null
        cat ca.pem >>fullchain.pem
        rm ca.key
    )
    install --directory --mode 750 "$TLS/bootstrap"
    install --mode 644 "$scratch/ca.pem" "$scratch/fullchain.pem" "$TLS/bootstrap/"
    install --mode 600 "$scratch/privkey.pem" "$TLS/bootstrap/"
    rm -rf "$scratch"
    [ -e "$TLS/fullchain.pem" ] || use_certificate bootstrap
    if nginx -t -q 2>/dev/null; then debian_service nginx reload; fi
}

# A folder beside these links, or one of certbot's.
use_certificate() {
    ln --symbolic --force --no-dereference "$1/fullchain.pem" "$TLS/fullchain.pem"
    ln --symbolic --force --no-dereference "$1/privkey.pem" "$TLS/privkey.pem"
}

# ---- The site

real_ip() {
    local networks network
    IFS=', ' read -r -a networks <<<"$NGINX_TRUSTED_PROXIES"
    for network in ${networks[@]+"${networks[@]}"}; do printf 'set_real_ip_from %s; ' "$network"; done
    [ ${#networks[@]} = 0 ] || printf 'real_ip_header X-Forwarded-For; real_ip_recursive on;'
}

# filled TEMPLATE: only our own names; nginx's variables look the same.
# shellcheck disable=SC2016
filled() {
    local name edits=()
    for name in NGINX_REQUESTS_PER_SECOND NGINX_BURST NGINX_SIGN_INS_PER_SECOND NGINX_SIGN_IN_BURST NGINX_CONNECTIONS \
        NGINX_MAX_BODY_BYTES NGINX_ANSWER_SECONDS NGINX_HSTS_SECONDS; do
        edits+=(--expression "s|\${$name}|${!name}|g")
    done
    edits+=(--expression "s|\${NGINX_REAL_IP}|$(real_ip)|" --expression "s|\${NGINX_ORIGIN}|https://$DOMAIN|g"
        --expression 's|/dev/stderr|/var/log/nginx/error.log|g')
    # A host without IPv6 refuses to listen on it.
    [ -e /proc/net/if_inet6 ] || edits+=(--expression '/listen \[::\]/d')
    sed "${edits[@]}" "$1"
}

# staged RELEASE FOLDER: all of nginx's files, as they should be.
# shellcheck disable=SC2016
staged() {
    local templates=$1/nginx/templates
    install --directory "$2/todo"
    cp "$1/nginx/headers.inc" "$1/nginx/problem.inc" "$1/nginx/proxy.inc" "$1/nginx/refused.inc" "$2/todo/"
    filled "$templates/20-problems.conf.template" >"$2/todo/problems.conf"
    # Of the container's settings the maps and the limits: not its DNS, its upstream and its HTTP/3.
    filled "$templates/10-settings.conf.template" |
        sed --quiet --expression '/^map .*\$todo_alt_svc/,/^}/d' --expression '/^map /,/^}/p' --expression '/^limit_/p' >"$2/todo/limits.conf"
    # Of its server what comes after the certificate, without the brace that ends it.
    filled "$templates/30-servers.conf.template" | sed --quiet '/^    include .*headers\.inc;/,/^}/{/^}/d;p}' >"$2/todo/server.inc"
    grep --quiet 'location @unavailable' "$2/todo/server.inc" || fail "$templates has no server that could be used here."
    filled "$1/deploy/ecs/nginx/todo.conf.template" >"$2/site"
}

site_is_there() {
    local scratch answer=1
    scratch=$(mktemp -d)
    # In a shell of its own: a test must not end install.sh, and what is wrong is for put_site to say.
    if (staged "$1" "$scratch") && diff --recursive "$scratch/todo" /etc/nginx/todo && same_file "$scratch/site" "$SITE" &&
        [ "$(readlink /etc/nginx/sites-enabled/todo)" = "$SITE" ]; then answer=0; fi
    rm -rf "$scratch"
    return $answer
}

# What nginx does not take is taken back, so that it never meets it when it restarts by itself.
put_site() {
    local scratch
    scratch=$(mktemp -d)
    install --directory "$scratch/new" "$scratch/old" /etc/nginx/todo
    staged "$1" "$scratch/new"
    cp --archive /etc/nginx/todo "$scratch/old/"
    [ ! -e "$SITE" ] || cp "$SITE" "$scratch/old/site"
    cp "$scratch/new/todo/"* /etc/nginx/todo/
    remove_others "$scratch/new/todo"
    cp "$scratch/new/site" "$SITE"
    ln --symbolic --force --no-dereference "$SITE" /etc/nginx/sites-enabled/todo
    if ! nginx -t -q; then
        if [ -e "$scratch/old/site" ]; then cp "$scratch/old/site" "$SITE"; else rm /etc/nginx/sites-enabled/todo; fi
        cp "$scratch/old/todo/"* /etc/nginx/todo/ 2>/dev/null || true
        remove_others "$scratch/old/todo"
        rm -rf "$scratch"
        fail "nginx does not take the site; the lines above say why. Its files are as they were."
    fi
    rm -rf "$scratch"
    if nginx_runs; then debian_service nginx reload; else debian_service nginx start; fi
}

# What another release has brought there, and this one does not know.
remove_others() {
    local file
    for file in /etc/nginx/todo/*; do [ -e "$1/${file##*/}" ] || rm --force "$file"; done
}

nginx_runs() {
    if manager_runs; then systemctl is-active --quiet nginx; else service nginx status >/dev/null; fi
}

no_default_site() {
    [ -d /etc/nginx ] && [ "$(readlink /etc/nginx/sites-enabled/default)" != /etc/nginx/sites-available/default ]
}

connections_are_many() {
    [ -d /etc/nginx ] && ! grep --quiet --extended-regexp '^\s*worker_connections 768;' /etc/nginx/nginx.conf
}

more_connections() {
    sed --in-place 's/^\(\s*\)worker_connections 768;/\1worker_connections 4096;/' /etc/nginx/nginx.conf
}

# nginx.conf reads this folder outside of http{}.
put_process_limits() {
    printf '%s\n' '# Written by Todo'\''s install.sh: open files, and how long streams may go on after a reload.' \
        'worker_rlimit_nofile 16384;' 'worker_shutdown_timeout 60s;' >/etc/nginx/modules-enabled/90-todo.conf
}

ensure_proxy() {
    ensure "a certificate for $DOMAIN to start with, in $TLS/bootstrap (its authority: ca.pem)" bootstrap_is_good -- make_bootstrap
    ensure "nginx without Debian's example site" no_default_site -- rm --force /etc/nginx/sites-enabled/default
    ensure "nginx with 4096 connections a process" connections_are_many -- more_connections
    ensure "nginx with limits of its own, in /etc/nginx/modules-enabled/90-todo.conf" \
        test -e /etc/nginx/modules-enabled/90-todo.conf -- put_process_limits
    ensure "the site, in $SITE and /etc/nginx/todo" site_is_there "$1" -- put_site "$1"
    ensure "nginx running" nginx_runs -- debian_service nginx start
}

# ---- Let's Encrypt

has_certificate() {
    [ "$(readlink "$TLS/fullchain.pem")" = "/etc/letsencrypt/live/$DOMAIN/fullchain.pem" ]
}

# CERTBOT_SERVER names another authority than Let's Encrypt's own, such as its staging one.
get_certificate() {
    certbot certonly --quiet --non-interactive --agree-tos --email "$CERTBOT_EMAIL" --webroot --webroot-path /var/lib/todo/acme \
        --domain "$DOMAIN" --cert-name "$DOMAIN" --key-type ecdsa --keep-until-expiring ${CERTBOT_SERVER:+--server "$CERTBOT_SERVER"}
    RENEWED_LINEAGE=/etc/letsencrypt/live/$DOMAIN "$HERE/certbot-hook"
}

# Debian's certbot.timer renews twice a day whatever has less than 30 days left, and calls the hook.
ensure_certificate() {
    ensure "certbot's hook, in /etc/letsencrypt/renewal-hooks/deploy/todo" \
        same_file "$HERE/certbot-hook" /etc/letsencrypt/renewal-hooks/deploy/todo -- \
        put "$HERE/certbot-hook" /etc/letsencrypt/renewal-hooks/deploy/todo 755 root:root
    ensure "a certificate of Let's Encrypt's for $DOMAIN (its terms of service are agreed to)" has_certificate -- get_certificate
}

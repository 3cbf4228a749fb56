#!/bin/sh
# The nginx container's program: fills the templates, starts nginx, and reloads it when the certificate changes.
#
#   start.sh         serve
#   start.sh test    fill the templates and say whether nginx takes them
set -eu

here=/etc/nginx/todo
rendered=/etc/nginx/conf.d
tls=/etc/nginx/tls

# nginx runs on a copy of what it was started with. A `git pull` that changes these files under it is for its next start:
# half of one must not keep it from taking up a new certificate.
origin=$(dirname "$0")
[ "$origin" = "$here" ] || cp -r "$origin/." "$here/"

: "${NGINX_BURST:=200}" "${NGINX_REQUESTS_PER_SECOND:=50}"          # requests of one address: at once, and a second
: "${NGINX_SIGN_IN_BURST:=20}" "${NGINX_SIGN_INS_PER_SECOND:=2}"    # of these, to /token and /users
: "${NGINX_CONNECTIONS:=100}"                                       # requests of one address under way, streams included
: "${NGINX_MAX_BODY_BYTES:=1048576}"                                # as the API's API_MAX_BODY_BYTES
: "${NGINX_ANSWER_SECONDS:=30}"                                      # how long the API may take to begin its answer
: "${PUBLIC_URL:=https://localhost}"                                # its host is the one that plain HTTP leads to
: "${NGINX_HTTPS_PORT:=443}"                                        # the port that people see
: "${NGINX_HSTS_SECONDS:=63072000}"                                 # how long a browser may refuse plain HTTP
: "${NGINX_RESOLVER:=127.0.0.11}"                                   # Docker's own DNS
: "${NGINX_TRUSTED_PROXIES:=}"                                      # networks of load balancers, comma-separated
: "${NGINX_WATCH_SECONDS:=5}"                                       # seconds between two looks at the certificate

# Never the Host that a request names: a link of ours could then lead to a stranger's site.
NGINX_ORIGIN=https://$(echo "$PUBLIC_URL" | sed 's|^[a-z]*://||; s|/.*||; s|:[0-9]*$||')
[ "$NGINX_HTTPS_PORT" = 443 ] || NGINX_ORIGIN=$NGINX_ORIGIN:$NGINX_HTTPS_PORT

# Until the first certificate has been issued, nginx needs one to start with, or the authority would get no answer.
choose_certificate() {
    NGINX_CERTIFICATE=$tls/fullchain.pem NGINX_CERTIFICATE_KEY=$tls/privkey.pem
    if [ ! -s "$NGINX_CERTIFICATE" ] || [ ! -s "$NGINX_CERTIFICATE_KEY" ]; then
        NGINX_CERTIFICATE=$rendered/bootstrap.pem NGINX_CERTIFICATE_KEY=$rendered/bootstrap.key
        [ -s "$NGINX_CERTIFICATE" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj /CN=bootstrap.invalid -keyout "$NGINX_CERTIFICATE_KEY" -out "$NGINX_CERTIFICATE" 2>/dev/null
    fi
}

fill_templates() {
    choose_certificate
    [ -s "$rendered/upstream.inc" ] || echo 'server api:8000 resolve fail_timeout=2s;' >"$rendered/upstream.inc"
    {
        for network in $(echo "$NGINX_TRUSTED_PROXIES" | tr ',' ' '); do echo "set_real_ip_from $network;"; done
        [ -z "$NGINX_TRUSTED_PROXIES" ] || echo 'real_ip_header X-Forwarded-For; real_ip_recursive on;'
    } >"$rendered/trusted.inc"
    export NGINX_BURST NGINX_REQUESTS_PER_SECOND NGINX_SIGN_IN_BURST NGINX_SIGN_INS_PER_SECOND NGINX_CONNECTIONS \
        NGINX_MAX_BODY_BYTES NGINX_ANSWER_SECONDS NGINX_HTTPS_PORT NGINX_ORIGIN NGINX_HSTS_SECONDS NGINX_RESOLVER \
        NGINX_CERTIFICATE NGINX_CERTIFICATE_KEY
    # Only our own names: nginx's variables look the same.
    names=$(env | sed -n 's/^\(NGINX_[A-Z_]*\)=.*/${\1}/p')
    for template in 10-settings 20-problems 30-servers; do
        envsubst "$names" <"$here/templates/$template.conf.template" >"$rendered/$template.conf"
    done
}

certificate_now() {
    cksum "$tls/fullchain.pem" "$tls/privkey.pem" 2>/dev/null || true
}

# A new certificate is taken up without a dropped connection. Half a one (two files, written one after the other) does
# not pass `nginx -t`, and is looked at again.
watch_certificate() {
    served=$1
    while sleep "$NGINX_WATCH_SECONDS"; do
        found=$(certificate_now)
        [ "$found" != "$served" ] || continue
        fill_templates
        if nginx -c "$here/nginx.conf" -t -q && nginx -c "$here/nginx.conf" -s reload; then
            served=$found
            echo '{"event":"certificate_reloaded"}'
        fi
    done
}

fill_templates
if [ "${1:-serve}" = test ]; then
    exec nginx -c "$here/nginx.conf" -t
fi
watch_certificate "$(certificate_now)" &
exec nginx -c "$here/nginx.conf" -g 'daemon off;'

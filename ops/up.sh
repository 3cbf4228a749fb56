#!/usr/bin/env bash
# make up: build changed images, start the stack, wait until all of it is healthy, and print its address.
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"
need_engine

# The mail catcher is of no use to a worker that does not know of it.
if [[ ",${COMPOSE_PROFILES:-}," == *,mail,* ]]; then
    export EMAIL_HOST=${EMAIL_HOST:-mail} EMAIL_PORT=${EMAIL_PORT:-1025} EMAIL_SECURITY=${EMAIL_SECURITY:-none}
fi
if ! docker compose up --build --detach --wait --wait-timeout 300; then
    docker compose ps --all
    give_up "The stack did not become healthy. What a service said: make logs SERVICE=<its name>"
fi
address=$(docker compose port nginx 8443 2>/dev/null) || give_up "nginx publishes no port."
port=${address##*:}
https=https://localhost$([ "$port" = 443 ] || echo ":$port")
address=$(docker compose port nginx 8080 2>/dev/null) && port=${address##*:}
http=http://localhost$([ "$port" = 80 ] || echo ":$port")
cat <<END

  The API         $https
  Swagger UI      $https/docs
  Plain HTTP      $http redirects there
END
for opened in "prometheus 9090 Prometheus" "alertmanager 9093 Alertmanager"; do
    read -r service port name <<<"$opened"
    if address=$(docker compose port "$service" "$port" 2>/dev/null); then printf '  %-15s http://%s\n' "$name" "$address"; fi
done
if [ -n "$(docker compose ps --quiet mail 2>/dev/null)" ]; then echo "  Mail            make logs SERVICE=mail"; fi
echo
# Only the development set makes its own authority. In production the certificate comes a moment later, by `acme`.
if [ -n "$(docker compose config --services | sed -n '/^certificate$/p')" ]; then
    cat <<END
  Browsers and curl trust it with the development CA:  make ca  writes it to .local/ca.pem
      curl --cacert .local/ca.pem $https/livez
END
else
    cat <<END
  From outside: PUBLIC_URL, once the certificate is there (make logs SERVICE=acme).
END
fi
echo "  make logs, make ps, make down;  \`make\` alone lists the rest."

#!/usr/bin/env bash
# make ca: write the development CA's certificate to .local/ca.pem.
set -euo pipefail
# shellcheck source=stack.sh
source "$(dirname "$0")/stack.sh"
need_engine
mkdir -p .local
docker compose exec -T nginx cat /etc/nginx/tls/ca.pem >.local/ca.pem.new 2>/dev/null ||
    give_up "There is no development CA: is the stack up (make up), and is it the development one?"
mv .local/ca.pem.new .local/ca.pem
say "Wrote .local/ca.pem. It signs for localhost, 127.0.0.1 and ::1 alone."

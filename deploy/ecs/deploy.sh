#!/usr/bin/env bash
# make ecs-deploy: bring what is committed to an ECS host, and let install.sh there make it the release that serves.
#
#   HOST=root@203.0.113.7 deploy.sh                what it would do
#   HOST=root@203.0.113.7 CONFIRM=yes deploy.sh    does it
#
# The host was installed once before (deploy/ecs/README.md): install.sh remembers what it was told then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ -n "${HOST:-}" ] || { echo "Say where to: make ecs-deploy HOST=root@<address> CONFIRM=yes" >&2; exit 2; }
commit=$(git rev-parse --short=12 HEAD)
folder=/var/tmp/todo-$commit

# step WORDS COMMAND...: says what it is about to do, and does it if that was confirmed.
step() {
    printf '%s\n' "$1"
    if [ "${CONFIRM:-}" = yes ]; then bash -euo pipefail -c "$2"; fi
}

[ -z "$(git status --porcelain --untracked-files=no)" ] || echo "What is not committed stays here."
step "Copy commit $commit to $HOST:$folder" \
    "git archive HEAD | ssh '$HOST' 'rm -rf $folder && mkdir -p $folder && tar --extract --directory $folder'"
step "There: $folder/deploy/ecs/install.sh (builds the release, migrates, and puts it in place of the one that serves)" \
    "ssh '$HOST' '$folder/deploy/ecs/install.sh --release $commit'"
step "Remove $HOST:$folder" "ssh '$HOST' 'rm -rf $folder'"
[ "${CONFIRM:-}" = yes ] || echo "Nothing was done. To do it: make ecs-deploy HOST=$HOST CONFIRM=yes"

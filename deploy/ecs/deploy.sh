#!/usr/bin/env bash
# make ecs-deploy: brings this commit to a host without containers, and runs install.sh there.
#
#   make ecs-deploy HOST=user@host                         says what it would do
#   make ecs-deploy HOST=user@host CONFIRM=yes             does it
#   make ecs-deploy HOST=user@host CHECK=1 CONFIRM=yes     brings it there, and lets install.sh say what it would do
#   ARGS="--domain todo.example.com --with-postgresql --with-redis"   what install.sh is told, the first time
#   SSH="ssh -p 2222 -i key"                               another way there
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    printf 'make ecs-deploy: %s\n' "$1" >&2
    exit 1
}

host=${HOST:-}
[ -n "$host" ] || fail "say where to: make ecs-deploy HOST=user@host"
[[ $host =~ ^[A-Za-z0-9][A-Za-z0-9@._:-]*$ ]] || fail "'$host' is no user@host."
[ -z "$(git status --porcelain)" ] || echo "make ecs-deploy: what is not committed stays here." >&2

revision=$(git rev-parse HEAD)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' services/api/pyproject.toml)
release=$version-${revision:0:12}
read -r -a ssh <<<"${SSH:-ssh}"
check=${CHECK:+--check}
folder=/var/tmp/todo-$release
# Who is not root becomes it, where sudo lets them.
install="cd $folder && \$([ \"\$(id -u)\" = 0 ] || echo sudo) env REVISION=$revision deploy/ecs/install.sh --release $release $check ${ARGS:-}"

cat <<END
To $host, by ${ssh[*]}:
  1. unpack $(git ls-files -- deploy nginx ops requirements services | wc -l) files of commit ${revision:0:12} into $folder
  2. there: deploy/ecs/install.sh --release $release $check ${ARGS:-}
  3. remove $folder
END
if [ "${CONFIRM:-}" != yes ]; then
    echo "Nothing was done. With CONFIRM=yes it is."
    exit 0
fi

git archive --format=tar "$revision" -- deploy nginx ops requirements services |
    "${ssh[@]}" "$host" "rm -rf $folder && mkdir -p $folder && tar -x -C $folder"
status=0
"${ssh[@]}" "$host" "$install" || status=$?
"${ssh[@]}" "$host" "rm -rf $folder"
exit $status

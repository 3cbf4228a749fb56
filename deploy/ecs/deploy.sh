#!/usr/bin/env bash
# make ecs-deploy, make ecs-rollback: runs deploy.yml or rollback.yml on a host without containers, by SSH.
#
#   make ecs-deploy HOST=user@host                  says what would change on the host, and changes nothing
#   make ecs-deploy HOST=user@host CONFIRM=yes      does it
#   ARGS="-e domain=todo.example.com ..."           what deploy.yml is told, and other options of ansible-playbook
set -euo pipefail
playbook=$1
shift
cd "$(dirname "$0")/../.."

if [[ ! ${HOST:-} =~ ^([A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9._-]*$ ]]; then
    echo "Say where to: make ecs-$playbook HOST=user@host" >&2
    exit 1
fi
user=root
[[ $HOST != *@* ]] || user=${HOST%@*}
options=(--inventory "${HOST#*@}," --user "$user")
[ "$user" = root ] || options+=(--become)
[ "${CONFIRM:-}" = yes ] || options+=(--check --diff)

# The commit, and not the working tree: a release is what its name says.
[ -z "$(git status --porcelain)" ] || echo "What is not committed stays here." >&2
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
revision=$(git rev-parse HEAD)
tools=${ANSIBLE:-$PWD/.venv-ecs/bin}
git archive "$revision" -- deploy/ecs nginx ops requirements services | tar --extract --directory "$source"
release=${RELEASE:-}
if [ "$playbook" = deploy ]; then
    release=$(sed -n 's/^version = "\(.*\)"/\1/p' services/api/pyproject.toml)-${revision:0:12}
    for package in core api worker; do
        (cd "$source/services/$package" && "$tools/hatchling" build --target wheel --directory "$source/wheels" >/dev/null 2>"$source/log") ||
            { cat "$source/log" >&2; exit 1; }
    done
    echo "$revision" >"$source/REVISION"
    tar --create --directory "$source" --file "$source/release.tar" \
        REVISION deploy nginx ops requirements/{api,build,worker}.lock wheels
fi

status=0
ANSIBLE_CONFIG=$source/deploy/ecs/ansible.cfg "$tools/ansible-playbook" "${options[@]}" \
    --extra-vars "release=$release source=$source" "$@" "$source/deploy/ecs/$playbook.yml" || status=$?
[ "${CONFIRM:-}" = yes ] || echo "Nothing was changed. With CONFIRM=yes it is."
exit $status

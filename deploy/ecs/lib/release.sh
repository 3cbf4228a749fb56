# shellcheck shell=bash
# A release: a folder with a virtual environment of its own, built beside the one that serves, and never changed after.

INSTALLED=/opt/todo
RELEASES=$INSTALLED/releases
KEEP=3

# What goes into a release, so that one name never stands for two.
content_hash() {
    (cd "$SOURCE" && find requirements/*.lock services/*/pyproject.toml services/*/src deploy/ecs nginx ops \
        -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort --zero-terminated | xargs --null sha256sum | sha256sum | head --bytes 12)
}

# Run from a release itself, and not from a checkout.
is_a_release() {
    [ "$(dirname "$SOURCE")" = "$RELEASES" ]
}

release_name() {
    local version commit
    if is_a_release; then
        basename "$SOURCE"
        return
    fi
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$SOURCE/services/api/pyproject.toml")
    commit=$(git -C "$SOURCE" rev-parse --short=12 HEAD 2>/dev/null) || commit=
    if [ -n "$commit" ] && [ -z "$(git -C "$SOURCE" status --porcelain 2>/dev/null)" ]; then
        echo "$version-$commit"
    else
        echo "$version-$(content_hash)"
    fi
}

check_release_name() {
    [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$ ]] || fail "'$1' is no name for a release: letters, digits and . _ + - only."
}

# The release that a link names; nothing if there is none.
pointed_at() {
    basename "$(readlink "$INSTALLED/$1" 2>/dev/null)" 2>/dev/null
}

current_release() {
    pointed_at current
}

previous_release() {
    pointed_at previous
}

is_complete() {
    [ -e "$RELEASES/$1/complete" ]
}

is_the_same() {
    if is_a_release; then [ "$SOURCE" = "$RELEASES/$1" ] && return; fi
    is_complete "$1" && [ "$(cat "$RELEASES/$1/complete")" = "$(content_hash)" ]
}

build_release() {
    local release=$RELEASES/$1 tools hash
    ! is_a_release || fail "$SOURCE is a release already; a new one is built from a checkout."
    if is_complete "$1"; then
        fail "there is a release $1 already, made from other files. Give this one another name: --release NAME"
    fi
    rm -rf "$release"
    hash=$(sha256sum "$SOURCE/requirements/build.lock" | head --bytes 12)
    tools=/opt/todo/tools-$hash
    say "the tools that install and build, by hash: $tools"
    make_tools "$tools"
    say "what requirements/api.lock and worker.lock name, by hash: $release/venv"
    mkdir "$release"
    with_uv "$tools" venv --quiet --python "$PYTHON" --no-project "$release/venv"
    with_uv "$tools" pip install --quiet --python "$release/venv/bin/python" --compile-bytecode --no-deps --require-hashes \
        --requirement "$SOURCE/requirements/api.lock" --requirement "$SOURCE/requirements/worker.lock"
    say "our own packages, as wheels"
    build_ours "$tools" "$release"
    cp --recursive "$SOURCE/nginx" "$SOURCE/ops" "$release/"
    mkdir "$release/deploy"
    cp --recursive "$SOURCE/deploy/ecs" "$release/deploy/"
    git -C "$SOURCE" rev-parse HEAD >"$release/REVISION" 2>/dev/null || echo "${REVISION:-unknown}" >"$release/REVISION"
    chmod --recursive u=rwX,go=rX "$release"
    content_hash >"$release/complete"
}

make_tools() {
    [ ! -e "$1/complete" ] || return 0
    rm -rf "$1"
    "$PYTHON" -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
        --requirement "$SOURCE/requirements/build.lock"
    touch "$1/complete"
}

# uv does not read pip's settings, so the mirror is handed on. It trusts whom the host trusts.
with_uv() {
    local tools=$1 index
    shift
    index=${PIP_INDEX_URL:-$("$tools/bin/pip" config get global.index-url 2>/dev/null)} || index=
    (
        if [ -n "$index" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
        export UV_CACHE_DIR=/opt/todo/cache UV_PYTHON_DOWNLOADS=never UV_NO_CONFIG=1
        export SSL_CERT_FILE=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
        umask 022
        "$tools/bin/uv" "$@"
    )
}

build_ours() {
    local tools=$1 release=$2 scratch package
    scratch=$(mktemp -d)
    for package in core api worker; do
        cp --recursive "$SOURCE/services/$package" "$scratch/$package"
        (cd "$scratch/$package" && quietly "$tools/bin/hatchling" build --target wheel --directory "$scratch/wheels")
    done
    with_uv "$tools" pip install --quiet --python "$release/venv/bin/python" --compile-bytecode --no-deps --offline \
        "$scratch"/wheels/*.whl
    rm -rf "$scratch"
}

# Whether this release would start: its settings are accepted, and all of the API and the worker can be loaded.
would_start() {
    RELEASE=$1 quietly "$HERE/todo-admin" check-settings || return 1
    RELEASE=$1 PROGRAM=gunicorn quietly "$HERE/todo-admin" --check-config "todo_api.main:create_app()" || return 1
    RELEASE=$1 PROGRAM=python quietly "$HERE/todo-admin" -c "import todo_worker.app.celery, todo_worker.app.tasks"
}

expect_to_start() {
    would_start "$1" || fail "$1 would not start; the lines above say why. What serves was not touched."
}

migrate() {
    RELEASE=$1 "$HERE/todo-admin" migrate
}

is_current() {
    [ "$(current_release)" = "$1" ]
}

# At once, for whoever starts in this moment: a symbolic link cannot be overwritten, but renamed over another.
point() {
    ln --symbolic --force --no-dereference "releases/$2" "$INSTALLED/$1.new"
    mv --force --no-target-directory "$INSTALLED/$1.new" "$INSTALLED/$1"
}

# `previous` is what `rollback` would serve. What it was so far is kept for switch_back.
switch_to() {
    local before earlier
    before=$(current_release)
    earlier=$(previous_release)
    if [ -n "$before" ] && [ "$before" != "$1" ]; then
        # They are the same if the last switch was interrupted; then it was kept already.
        if [ -z "$earlier" ]; then
            rm --force "$INSTALLED/earlier"
        elif [ "$earlier" != "$before" ]; then
            point earlier "$earlier"
        fi
        point previous "$before"
    fi
    point current "$1"
}

# switch_back RELEASE: it does not work, so `previous` must not name it, or `rollback` would serve it.
switch_back() {
    local before earlier
    before=$(previous_release)
    earlier=$(pointed_at earlier)
    point current "$before"
    if [ -n "$earlier" ] && [ "$earlier" != "$before" ] && [ "$earlier" != "$1" ] && is_complete "$earlier"; then
        point previous "$earlier"
    else
        rm --force "$INSTALLED/previous"
    fi
}

# The releases that are neither served, nor the one before, nor among the newest.
old_releases() {
    local release kept=0
    while read -r release; do
        [ -n "$release" ] || continue
        if [ "$release" = "$(current_release)" ] || [ "$release" = "$(previous_release)" ] || [ $((kept += 1)) -le $((KEEP - 2)) ]; then
            continue
        fi
        echo "$release"
    done < <(find "$RELEASES" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %f\n' 2>/dev/null | sort --reverse --numeric-sort | cut --delimiter ' ' --fields 2)
}

no_old_releases() {
    [ -z "$(old_releases)" ]
}

remove_old_releases() {
    local release
    while read -r release; do
        say "removing $RELEASES/$release"
        rm -rf "${RELEASES:?}/${release:?}"
    done < <(old_releases)
}

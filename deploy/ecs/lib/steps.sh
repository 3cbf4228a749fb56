# shellcheck shell=bash
# How install.sh speaks and acts: each step looks first, says what it is about to do, and then does it.

CHECK=${CHECK:-}   # not empty: say what would be done, and do nothing

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

heading() {
    printf '\n== %s\n' "$1"
}

say() {
    printf '         %s\n' "$*"
}

# ensure WHAT TEST DO: WHAT is a sentence, TEST and DO are functions or commands, with their arguments up to `--`.
#   ensure "the system user todo" getent passwd todo -- useradd --system todo
ensure() {
    local what=$1 test=()
    shift
    while [ "$1" != -- ]; do
        test+=("$1")
        shift
    done
    shift
    if "${test[@]}" >/dev/null 2>&1 9>&-; then
        printf '  ok     %s\n' "$what"
    elif [ -n "$CHECK" ]; then
        printf '  would  %s\n' "$what"
    else
        printf '  do     %s\n' "$what"
        "$@" 9>&-   # what is started here and stays must not hold on to our lock
    fi
}

# expect WHAT TEST -- FAIL: what nobody here can put right.
expect() {
    local what=$1 test=()
    shift
    while [ "$1" != -- ]; do
        test+=("$1")
        shift
    done
    shift
    if "${test[@]}" >/dev/null 2>&1 9>&-; then
        printf '  ok     %s\n' "$what"
    elif [ -n "$CHECK" ]; then
        printf '  look   %s (not so at present)\n' "$what"
    else
        "$@"
    fi
}

# always WHAT DO...: what has no state to look at.
always() {
    local what=$1
    shift
    ensure "$what" false -- "$@"
}

# What a program prints is of interest only if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    [ $status = 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

same_file() {
    cmp --silent "$1" "$2"
}

# put SOURCE TARGET MODE [OWNER]: the file is there at once or not at all, as others may be reading it.
put() {
    local fresh=$2.new
    install -D --mode "$3" --owner "${4%%:*}" --group "${4##*:}" "$1" "$fresh"
    mv --force "$fresh" "$2"
}

# A file from standard input, likewise. An older one stays as it is, unless nothing is in it.
put_new() {
    local scratch
    scratch=$(mktemp)
    cat >"$scratch"
    [ -s "$1" ] || put "$scratch" "$1" "$2" "$3"
    rm -f "$scratch"
}

# ---- systemd, or, where it does not run (a container, an image that is being built), what stands in for it ------------

manager_runs() {
    [ -d /run/systemd/system ]
}

# A service of Debian's own: PostgreSQL, Redis, nginx. Their init scripts work without systemd too.
debian_service() {
    if manager_runs; then systemctl "$2" "$1"; else service "$1" "$2" >/dev/null; fi
}

is_enabled() {
    [ "$(systemctl is-enabled "$1" 2>/dev/null)" = enabled ]
}

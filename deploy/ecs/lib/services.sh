# shellcheck shell=bash
# systemd's units: put in place, enabled, restarted, and seen to work.

UNITS=/etc/systemd/system
SOCKET=todo-api.socket
SERVICES=(todo-api.service todo-worker.service todo-beat.service)
TIMERS=()
if [ -n "$WITH_POSTGRESQL" ]; then TIMERS+=(todo-backup.timer); fi   # a managed database is backed up by who manages it
READY_SECONDS=60
UNITS_CHANGED=

unit_files() {
    (cd "$1/deploy/ecs/systemd" && find . -type f -printf '%P\n')
}

units_are_there() {
    local file
    for file in $(unit_files "$1"); do same_file "$1/deploy/ecs/systemd/$file" "$UNITS/$file" || return 1; done
}

put_units() {
    local file
    for file in $(unit_files "$1"); do put "$1/deploy/ecs/systemd/$file" "$UNITS/$file" 644 root:root; done
    UNITS_CHANGED=yes
    if manager_runs; then systemctl daemon-reload; fi
}

units_are_enabled() {
    local unit
    for unit in "$SOCKET" "${SERVICES[@]}" "${TIMERS[@]}"; do is_enabled "$unit" || return 1; done
}

enable_units() {
    if command -v systemctl >/dev/null; then
        systemctl --quiet enable "$SOCKET" "${SERVICES[@]}" "${TIMERS[@]}"
    else
        say "there is no systemctl here: enable them where there is one."
    fi
}

# The folder that a process was started in is the release that it runs, whatever `current` points at by now. On a host
# root may see it, and nobody else: PrivateUsers=yes gives the process a user namespace that root has made, and the kernel
# does not let the same user look into it from outside. In a container without privileges its own user may, and root may
# not.
runs_release() {
    local pid folder
    pid=$(systemctl show --property MainPID --value "$1")
    [ "$pid" != 0 ] || return 1
    folder=$(readlink "/proc/$pid/cwd" || runuser --user todo -- readlink "/proc/$pid/cwd") || return 1
    [ "$folder" = "$RELEASES/$2" ]
}

services_run_release() {
    local unit
    [ -z "$UNITS_CHANGED" ] && systemctl is-active --quiet "$SOCKET" || return 1
    for unit in "${SERVICES[@]}"; do
        systemctl is-active --quiet "$unit" && runs_release "$unit" "$1" || return 1
    done
}

# The socket stays open all the while, so connections wait and none is refused. One that has failed (its service was
# tried too often) must be opened again, and that needs the service to be stopped. What cannot be restarted keeps
# nothing else from it.
restart_services() {
    local status=0
    systemctl reset-failed "$SOCKET" "${SERVICES[@]}" 2>/dev/null || true
    if ! systemctl is-active --quiet "$SOCKET"; then
        systemctl stop todo-api.service || status=1
        systemctl start "$SOCKET" || status=1
    fi
    # By itself, as people wait for it; the worker takes its time to stop.
    systemctl restart todo-api.service || status=1
    systemctl restart todo-worker.service todo-beat.service || status=1
    [ ${#TIMERS[@]} = 0 ] || systemctl start "${TIMERS[@]}" || status=1
    return $status
}

api_is_ready() {
    local until=$((SECONDS + READY_SECONDS))
    while ((SECONDS < until)); do
        if curl --silent --fail --max-time 2 --unix-socket /run/todo/api.sock --output /dev/null http://localhost/readyz; then
            return
        fi
        [ "$(systemctl is-active todo-api.service)" != failed ] || return 1
        sleep 0.2
    done
    return 1
}

worker_is_alive() {
    for _ in $(seq 60); do
        if runuser --user todo -- env --ignore-environment WORKER_STATE_DIR=/run/todo-worker \
            /opt/todo/current/venv/bin/python -m todo_worker.probe 2>/dev/null; then return; fi
        sleep 0.5
    done
    return 1
}

services_work() {
    local unit
    api_is_ready || { say "the API is not ready (journalctl --unit todo-api)"; return 1; }
    worker_is_alive || { say "no worker is alive (journalctl --unit todo-worker)"; return 1; }
    for unit in "${SERVICES[@]}"; do
        if ! systemctl is-active --quiet "$unit" || ! runs_release "$unit" "$1"; then
            say "$unit does not run this release (journalctl --unit $unit)"
            return 1
        fi
    done
}

# put_into_service RELEASE: restart, and see that it works; if it does not, the release before serves again.
put_into_service() {
    restart_services || say "systemctl could not restart all of the services."
    if services_work "$1"; then return; fi
    go_back_from "$1"
}

# All that belongs to a release goes back: the links, the units, nginx's site. A step that fails keeps none of the others
# from being tried, so each is in a shell of its own, which it may end.
go_back_from() {
    local before
    before=$(previous_release)
    if [ -z "$before" ] || [ "$before" = "$1" ] || ! is_complete "$before"; then
        fail "$1 does not work, and there is no release before it to go back to."
    fi
    say "going back to $before"
    switch_back "$1"
    units_are_there "$RELEASES/$before" || (put_units "$RELEASES/$before") ||
        say "the units of $before could not be put back."
    site_is_there "$RELEASES/$before" >/dev/null 2>&1 || (put_site "$RELEASES/$before") ||
        say "nginx's site of $before could not be put back."
    restart_services || say "systemctl could not restart all of the services."
    services_work "$before" || fail "neither $1 nor $before works. See: journalctl --unit 'todo-*' --since -5min"
    fail "$1 did not work, and $before serves again. See: journalctl --unit 'todo-*' --since -5min"
}

# The order matters: whatever can fail comes before what is being served is touched. nginx may refuse its site, and takes
# that back itself; units are only copied.
activate() {
    local release=$1 from=$RELEASES/$1
    is_complete "$release" || from=$SOURCE   # --check, before there is one
    heading "nginx"
    ensure_proxy "$from"
    heading "systemd"
    ensure "the units, in $UNITS" units_are_there "$from" -- put_units "$from"
    ensure "the units enabled, so that they start with the host" units_are_enabled -- enable_units
    heading "Into service"
    ensure "/opt/todo/current pointing at $release" is_current "$release" -- switch_to "$release"
    if manager_runs; then
        ensure "the API, the worker and beat running $release" services_run_release "$release" -- put_into_service "$release"
    else
        say "systemd does not run here, so nothing is started. Where it does: systemctl start $SOCKET ${SERVICES[*]} ${TIMERS[*]}"
    fi
}

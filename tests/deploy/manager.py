#!/usr/bin/python3
"""Carries out our units where systemd cannot run: in a container that is given no privileges.

    manager.py serve           what systemd does as PID 1: holds sockets, starts, restarts and stops services
    systemctl ...              this file under that name: asks it
    manager.py launch JSON     one service's process, between fork and exec

A setting of a unit's that is neither carried out nor named below as one that cannot be had here is an error, so that
nothing is left out without a word. It runs on Debian's Python, with its python3-seccomp.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from units import Unit, environment_file, load  # type: ignore[import-not-found]

UNITS = Path("/etc/systemd/system")
CONTROL = "/run/manager.sock"
LOGS = Path("/var/log/units")
REAL_SYSTEMCTL = "/usr/bin/systemctl"

CARRIED_OUT = {
    "Type", "User", "Group", "WorkingDirectory", "Environment", "EnvironmentFile", "UnsetEnvironment",
    "BindReadOnlyPaths", "ExecStart",
    "RuntimeDirectory", "RuntimeDirectoryMode", "StateDirectory", "StateDirectoryMode", "KillMode", "KillSignal",
    "TimeoutStopSec", "Restart", "RestartSec", "RestartPreventExitStatus", "UMask", "NoNewPrivileges",
    "CapabilityBoundingSet", "AmbientCapabilities", "SystemCallFilter", "SystemCallErrorNumber",
    "RestrictAddressFamilies", "MemoryDenyWriteExecute", "TasksMax",
}  # fmt: skip
NOT_HERE = {
    # A container without privileges gets no namespaces, no cgroups of its own and no device rules.
    "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "DevicePolicy", "ProtectProc", "ProcSubset",
    "ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "PrivateUsers", "PrivateMounts", "MemoryMax",
    # Filters of systemd's own making, beside the three that are carried out.
    "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "SystemCallArchitectures",
    "RemoveIPC", "TimeoutStartSec",
}  # fmt: skip

PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, LAST_CAPABILITY = 38, 24, 40
PROT_WRITE, PROT_EXEC = 2, 4


def seconds(text: str) -> float:
    """A span of time, as far as ours go."""
    for suffix, factor in (("min", 60), ("h", 3_600), ("s", 1)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


# ---- Between fork and exec -------------------------------------------------------------------------------------------


def launch(plan: dict[str, object]) -> None:
    """Become the service: its user, its limits, its filters, its program."""
    name = str(plan["unit"])
    service: Unit = load(name, UNITS)
    os.setsid()
    os.umask(int(service.one("Service", "UMask", "0022"), 8))
    if "fd" in plan:
        os.dup2(int(str(plan["fd"])), 3)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=name)
    tasks = service.one("Service", "TasksMax")
    if tasks:  # the nearest that there is: processes of this user's, all services together
        resource.setrlimit(resource.RLIMIT_NPROC, (3 * int(tasks), 3 * int(tasks)))
    libc = ctypes.CDLL(None, use_errno=True)
    if "" in service.sections["Service"].get("CapabilityBoundingSet", []):
        for capability in range(LAST_CAPABILITY + 1):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    user = pwd.getpwnam(service.one("Service", "User"))
    os.setgroups([])
    os.setgid(grp.getgrnam(service.one("Service", "Group")).gr_gid)
    os.setuid(user.pw_uid)
    os.chdir(service.one("Service", "WorkingDirectory"))
    if service.one("Service", "NoNewPrivileges") == "yes" and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "NoNewPrivileges")
    filter_calls(service)
    command = shlex.split(service.one("Service", "ExecStart"))
    os.execv(command[0], command)


def filter_calls(service: Unit) -> None:
    """Load the filters that systemd would load; the one that may forbid loading comes last."""
    import seccomp  # type: ignore[import-not-found]

    if service.one("Service", "MemoryDenyWriteExecute") == "yes":
        memory = seccomp.SyscallFilter(seccomp.ALLOW)
        both = PROT_WRITE | PROT_EXEC
        memory.add_rule(seccomp.ERRNO(1), "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            memory.add_rule(seccomp.ERRNO(1), call, seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, PROT_EXEC))
        memory.load()
    families = {int(getattr(socket, name)) for name in service.words("Service", "RestrictAddressFamilies")}
    if families:
        sockets = seccomp.SyscallFilter(seccomp.ALLOW)
        unsupported = seccomp.ERRNO(97)
        for family in set(range(max(families))) - families:
            sockets.add_rule(unsupported, "socket", seccomp.Arg(0, seccomp.EQ, family))
        sockets.add_rule(unsupported, "socket", seccomp.Arg(0, seccomp.GT, max(families)))
        sockets.load()
    allowed: set[str] = set()
    for line in service.all("Service", "SystemCallFilter"):
        calls = {call for word in line.lstrip("~").split() for call in expand(word)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    if allowed:
        calls_filter = seccomp.SyscallFilter(seccomp.ERRNO(1))
        for call in sorted(allowed | {"execve"}):
            try:
                calls_filter.add_rule(seccomp.ALLOW, call)
            except (RuntimeError, ValueError, OSError):  # a call that this kind of machine does not have
                continue
        calls_filter.load()


_SETS: dict[str, set[str]] = {}


def expand(word: str) -> set[str]:
    """The system calls of one of systemd's sets."""
    if not word.startswith("@"):
        return {word}
    if word not in _SETS:
        command = ["systemd-analyze", "syscall-filter", word]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        words = [line.strip() for line in listed.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
        _SETS[word] = {call for inner in words for call in expand(inner)}
    return _SETS[word]


def debian(name: str, action: str, *, check: bool = True) -> int:
    """A service of Debian's own, by its init script, which asks systemctl first: us, who wait. It gets no answer."""
    return subprocess.run(
        [f"/etc/init.d/{name.removesuffix('.service')}", action],
        env={**os.environ, "SYSTEMCTL_SKIP_REDIRECT": "1"},
        check=check,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    ).returncode


# ---- The manager -----------------------------------------------------------------------------------------------------


class Service:
    """One service: at most one main process, started again when it ends by itself."""

    def __init__(self, name: str, manager: Manager) -> None:
        self.name = name
        self.manager = manager
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        self.state = "inactive"
        self.result: int | None = None
        self.restarts = 0

    def start(self) -> None:
        """Start it, and wait until it says that it is up."""
        if self.process is not None and self.process.poll() is None:
            return
        unit = load(self.name, UNITS)
        unknown = set(unit.sections["Service"]) - CARRIED_OUT - NOT_HERE
        if unknown:
            raise ValueError(f"{self.name}: not carried out here: {', '.join(sorted(unknown))}")
        self.wanted = True
        self.state = "activating"
        self._make_folders(unit)
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
        environment |= unit.environment()
        for path in unit.all("Service", "EnvironmentFile"):
            if Path(path.lstrip("-")).exists() or not path.startswith("-"):
                environment |= environment_file(Path(path.lstrip("-")))
        for name in unit.words("Service", "UnsetEnvironment"):
            environment.pop(name, None)
        plan: dict[str, object] = {"unit": self.name}
        descriptors: list[int] = []
        listener = self.manager.sockets.get(f"{self.name.removesuffix('.service')}.socket")
        if listener is not None:
            plan["fd"] = listener.fileno()
            descriptors = [listener.fileno()]
        kind = unit.one("Service", "Type", "simple")
        told: socket.socket | None = None
        if kind == "notify":
            told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            told.bind(f"\0manager-{self.name}-{time.monotonic_ns()}")
            told.settimeout(90)
            environment["NOTIFY_SOCKET"] = "@" + told.getsockname()[1:].decode()
        with (LOGS / self.name).open("ab") as log:
            self.process = process = subprocess.Popen(
                [sys.executable, __file__, "launch", json.dumps(plan)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
            )
        if kind == "oneshot":
            self.result = process.wait()
            self.state, self.wanted = ("inactive" if self.result == 0 else "failed"), False
            if self.result:
                raise RuntimeError(f"{self.name} ended with status {self.result}")
            return
        threading.Thread(target=self._watch, args=(process, unit), daemon=True).start()
        if told is not None:
            self._wait_for_ready(told, process)
        self.state = "active"

    def _wait_for_ready(self, told: socket.socket, process: subprocess.Popen[bytes]) -> None:
        told.settimeout(0.2)
        for _ in range(450):
            try:
                if b"READY=1" in told.recv(4096):
                    return
            except TimeoutError:
                if process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with status {process.returncode}") from None
        raise RuntimeError(f"{self.name} did not say that it is ready")

    def _make_folders(self, unit: Unit) -> None:
        user, group = unit.one("Service", "User"), unit.one("Service", "Group")
        for kind, root in (("RuntimeDirectory", Path("/run")), ("StateDirectory", Path("/var/lib"))):
            for name in unit.words("Service", kind):
                folder = root / name
                folder.mkdir(exist_ok=True)
                os.chown(folder, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
                folder.chmod(int(unit.one("Service", f"{kind}Mode", "0755"), 8))
        for pair in unit.words("Service", "BindReadOnlyPaths"):
            source, target = (Path(part) for part in pair.split(":"))
            if not target.exists():
                target.symlink_to(source)

    def _watch(self, process: subprocess.Popen[bytes], unit: Unit) -> None:
        status = process.wait()
        with self.manager.lock:
            if self.process is not process or not self.wanted:
                return
            self.result = status
            if str(status) in unit.words("Service", "RestartPreventExitStatus"):
                self.state, self.wanted = "failed", False
                return
        self.state = "activating"
        time.sleep(seconds(unit.one("Service", "RestartSec", "0.1")))
        with self.manager.lock:
            if self.process is process and self.wanted:
                self.restarts += 1
                self.start()

    def stop(self) -> None:
        """Ask its main process, as KillMode=mixed has it; then end all that is left of it."""
        self.wanted = False
        self.state = "inactive"
        process, unit = self.process, load(self.name, UNITS)
        if process is None:
            return
        if process.poll() is None:
            assert unit.one("Service", "KillMode") == "mixed", self.name
            process.send_signal(getattr(signal, unit.one("Service", "KillSignal", "SIGTERM")))
            try:
                process.wait(seconds(unit.one("Service", "TimeoutStopSec")))
            except subprocess.TimeoutExpired:
                self.state = "failed"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for name in unit.words("Service", "RuntimeDirectory"):
            subprocess.run(["rm", "-rf", f"/run/{name}"], check=True)


class Manager:
    """What `systemctl` asks."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.services: dict[str, Service] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.timers: set[str] = set()

    def service(self, name: str) -> Service:
        """The service of this name."""
        if not (UNITS / name).exists():
            raise FileNotFoundError(f"Unit {name} could not be found.")
        return self.services.setdefault(name, Service(name, self))

    def start(self, name: str) -> None:
        """Start a unit of ours, or one of Debian's by its init script."""
        if name.endswith(".socket"):
            self._listen(name)
        elif name.endswith(".timer"):
            self.timers.add(name)
        elif name.startswith("todo-"):
            service = self.service(name)
            for needed in load(name, UNITS).words("Unit", "Requires"):
                self.start(needed)
            service.start()
        else:
            debian(name, "start")

    def _listen(self, name: str) -> None:
        if name in self.sockets:
            return
        owner = self.services.get(f"{name.removesuffix('.socket')}.service")
        if owner is not None and owner.state == "active":
            raise RuntimeError(f"{name}: its service is active already, refusing.")
        unit = load(name, UNITS)
        path = Path(unit.one("Socket", "ListenStream"))
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        user, group = unit.one("Socket", "SocketUser"), unit.one("Socket", "SocketGroup")
        os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
        path.chmod(int(unit.one("Socket", "SocketMode"), 8))
        listener.listen(int(unit.one("Socket", "Backlog")))
        self.sockets[name] = listener

    def stop(self, name: str) -> None:
        """Stop a unit."""
        if name.endswith(".socket"):
            if name in self.sockets:
                self.sockets.pop(name).close()
                Path(load(name, UNITS).one("Socket", "ListenStream")).unlink()
        elif name.endswith(".timer"):
            self.timers.discard(name)
        elif name.startswith("todo-"):
            self.service(name).stop()
        else:
            debian(name, "stop")

    def state(self, name: str) -> str:
        """As `systemctl is-active` says it."""
        if name.endswith(".socket"):
            return "active" if name in self.sockets else "inactive"
        if name.endswith(".timer"):
            return "active" if name in self.timers else "inactive"
        if name.startswith("todo-"):
            return self.services[name].state if name in self.services else "inactive"
        return "active" if debian(name, "status", check=False) == 0 else "inactive"

    def answer(self, arguments: list[str]) -> tuple[int, str]:
        """Do what one command line of systemctl asks; its exit status and what it prints."""
        words = [argument for argument in arguments if not argument.startswith("-")]
        command, names = words[0], [name if "." in name else f"{name}.service" for name in words[1:]]
        if command == "show":  # --property NAME --value UNIT
            wanted, service = words[1], self.service(names[-1])
            main = service.process.pid if service.process is not None and service.process.poll() is None else 0
            return 0, str({"MainPID": main, "NRestarts": service.restarts, "ExecMainStatus": service.result}[wanted])
        if command == "is-active":
            states = [self.state(name) for name in names]
            return (0 if set(states) == {"active"} else 3), "" if "--quiet" in arguments else "\n".join(states)
        if command == "list-units":
            return 0, "\n".join(f"{name}  {self.state(name)}" for name in [*self.sockets, *self.services, *self.timers])
        if command in {"daemon-reload", "reset-failed"}:
            return 0, ""
        if command == "reload":
            debian(names[0], "reload")
            return 0, ""
        # As systemd does it: all are stopped before the first is started.
        actions = {"start": [self.start], "stop": [self.stop], "restart": [self.stop, self.start]}[command]
        for action in actions:
            for name in names:
                action(name)
        return 0, ""


def serve() -> None:
    """Answer systemctl until asked to stop; then stop every service."""
    LOGS.mkdir(parents=True, exist_ok=True)
    Path("/run/systemd/system").mkdir(parents=True, exist_ok=True)  # sd_booted(3) looks here
    for word in ("@system-service", "@privileged", "@resources"):
        expand(word)
    manager = Manager()
    Path(CONTROL).unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX)
    control.bind(CONTROL)
    control.listen()
    while True:
        client, _ = control.accept()
        threading.Thread(target=_answer_one, args=(manager, client), daemon=True).start()


def _answer_one(manager: Manager, client: socket.socket) -> None:
    with client, client.makefile("rw", encoding="utf-8") as stream:
        arguments = json.loads(stream.readline())
        try:
            with manager.lock:
                status, text = manager.answer(arguments)
        except Exception as error:
            status, text = 1, f"{type(error).__name__}: {error}"
        stream.write(json.dumps([status, text]))


def ask(arguments: list[str]) -> int:
    """`systemctl`: links in /etc are the real one's business, as it does that without a manager too."""
    if os.environ.get("SYSTEMCTL_SKIP_REDIRECT"):
        return 1
    words = [argument for argument in arguments if not argument.startswith("-")]
    if words[0] in {"enable", "disable", "is-enabled"}:
        os.execve(REAL_SYSTEMCTL, ["systemctl", *arguments], {**os.environ, "SYSTEMD_OFFLINE": "1"})
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(180)
        client.connect(CONTROL)
        client.sendall(json.dumps(arguments).encode() + b"\n")
        client.shutdown(socket.SHUT_WR)
        status, text = json.loads(b"".join(iter(lambda: client.recv(65_536), b"")))
    if text:
        print(text, file=sys.stderr if status == 1 else sys.stdout)
    return int(status)


if __name__ == "__main__":
    if Path(sys.argv[0]).name == "systemctl":
        sys.exit(ask(sys.argv[1:]))
    elif sys.argv[1] == "launch":
        launch(json.loads(sys.argv[2]))
    else:
        serve()

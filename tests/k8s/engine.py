"""Rendered pods as containers of the Docker engine: the same user, root, capabilities, environment, files, limits,
command and probes. What a kubelet does with them is done here, as far as one engine can.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

import httpx

from tests.k8s.images import size
from tests.k8s.manifests import ROOT, Document, Pod

HELPER = "postgres:17-trixie"
"""An image that has tar and chown."""


class EngineError(Exception):
    """Docker has refused something."""


async def docker(*arguments: str, stdin: bytes | None = None, seconds: float = 120, errors_too: bool = False) -> str:
    """Run one command; what it has printed."""
    pipe = asyncio.subprocess.PIPE
    where = asyncio.subprocess.STDOUT if errors_too else pipe
    process = await asyncio.create_subprocess_exec("docker", *arguments, stdin=pipe, stdout=pipe, stderr=where)
    try:
        output, errors = await asyncio.wait_for(process.communicate(stdin), seconds)
    except TimeoutError:
        process.kill()
        raise EngineError(f"docker {arguments[0]} has not ended within {seconds} s") from None
    if process.returncode:
        raise EngineError(f"docker {' '.join(arguments[:3])}: {(errors or output).decode().strip()}")
    return output.decode()


async def build(tag: str) -> None:
    """Our images, as compose.yaml builds them."""
    options = [f"--build-arg={name}={os.environ[name]}" for name in ("BASE_PREFIX", "INDEX_URL") if name in os.environ]
    for name in ("api", "worker"):
        target = [f"--file={ROOT}/services/Dockerfile", f"--target={name}", f"--tag=todo-{name}:{tag}"]
        await docker("build", "--quiet", *options, *target, str(ROOT), seconds=900)


@dataclass
class Container:
    """The only container of a pod."""

    pod: Pod
    id: str
    address: str = ""

    async def succeeds(self, probe: Document) -> bool:
        """Tell whether a probe would succeed within its time limit."""
        patience = float(probe.get("timeoutSeconds", 1))
        if "httpGet" in probe:
            (port,) = [
                port["containerPort"]
                for port in self.pod.container["ports"]
                if port["name"] == probe["httpGet"]["port"]
            ]
            try:
                async with httpx.AsyncClient(timeout=patience, trust_env=False) as client:
                    answer = await client.get(f"http://{self.address}:{port}{probe['httpGet']['path']}")
            except httpx.HTTPError:
                return False
            return 200 <= answer.status_code < 400
        try:
            await docker("exec", self.id, *probe["exec"]["command"], seconds=patience)
        except EngineError:
            return False
        return True

    async def ready(self) -> float:
        """Wait until the startup and the readiness probe succeed; the seconds that it took.

        Raises:
            EngineError: a probe has failed as often as it may, or the container has ended.
        """
        started = time.monotonic()
        for name in ("startupProbe", "readinessProbe"):
            probe = self.pod.container.get(name)
            if probe is None:
                continue
            failures = probe.get("failureThreshold", 3) if name == "startupProbe" else 20
            for attempt in itertools.count(1):
                if await self.succeeds(probe):
                    break
                if attempt >= failures or not (await self.inspect())["State"]["Running"]:
                    raise EngineError(f"{self.pod.name}: {name} has failed {attempt} times\n{await self.log()}")
                await asyncio.sleep(min(1.0, probe.get("periodSeconds", 10)))
        return time.monotonic() - started

    async def ended(self, seconds: float = 120) -> int:
        """Wait until it has ended; its exit status."""
        return int(await docker("wait", self.id, seconds=seconds))

    async def terminate(self) -> int:
        """Stop it as the kubelet does: SIGTERM, and SIGKILL after the grace period; return the exit status."""
        before = self.pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = self.pod.spec["terminationGracePeriodSeconds"] - before
        await docker("stop", "--time", str(grace), self.id, seconds=grace + 30)
        return int((await self.inspect())["State"]["ExitCode"])

    async def log(self) -> str:
        """Return its log."""
        return await docker("logs", self.id, errors_too=True) or "(nothing said)"

    async def inspect(self) -> Document:
        """Return `docker inspect` of it."""
        (found,) = json.loads(await docker("inspect", self.id))
        return dict(found)

    async def run(self, *command: str) -> str:
        """A command inside."""
        return await docker("exec", self.id, *command)

    async def usage(self) -> tuple[float, float]:
        """The most memory that it has had, page cache included, in MiB, and the seconds of a core that it has taken."""
        one = "cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes /sys/fs/cgroup/cpuacct/cpuacct.usage"
        two = "cat /sys/fs/cgroup/memory.peak; sed -n 's/^usage_usec \\(.*\\)/\\1000/p' /sys/fs/cgroup/cpu.stat"
        memory, nanoseconds = (await self.run("sh", "-c", f"{one} 2>/dev/null || {{ {two}; }}")).split()
        return int(memory) / 2**20, int(nanoseconds) / 1e9

    async def remove(self) -> None:
        """Leave nothing."""
        await docker("rm", "--force", "--volumes", self.id)


@dataclass
class Cluster:
    """A network, with pods in it."""

    name: str
    containers: list[Container] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    gateway: str = ""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def open(self, subnet: str | None = None) -> None:
        """Make the network, of these addresses or of any."""
        options = [f"--subnet={subnet}", f"--gateway={ip_network(subnet)[1]}"] if subnet else []
        await docker("network", "create", *options, self.name)
        (network,) = json.loads(await docker("network", "inspect", self.name))
        self.gateway = network["IPAM"]["Config"][0]["Gateway"].partition("/")[0]

    async def close(self) -> None:
        """Remove everything that was made here."""
        for container in self.containers:
            await container.remove()
        if self.volumes:
            await docker("volume", "rm", "--force", *self.volumes)
        await docker("network", "rm", self.name)

    async def volume(self, files: Iterable[tuple[str, bytes, int]] = (), owner: tuple[int, int] = (0, 0)) -> str:
        """A volume with these files in it: a name, what is in it, and its mode."""
        name = f"{self.name}-{next(self._numbers)}"
        await docker("volume", "create", name)
        self.volumes.append(name)
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            root = tarfile.TarInfo("./")
            root.type, root.mode, (root.uid, root.gid) = tarfile.DIRTYPE, 0o2775, owner
            archive.addfile(root)
            for path, content, mode in files:
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode, (entry.uid, entry.gid) = len(content), mode, owner
                archive.addfile(entry, io.BytesIO(content))
        unpack = ["--entrypoint=tar", HELPER, "--extract", "--same-owner", "--same-permissions", "--directory=/to"]
        await docker(
            "run",
            "--rm",
            "--interactive",
            "--network=none",
            "--user=0:0",
            f"--volume={name}:/to",
            *unpack,
            stdin=stream.getvalue(),
        )
        return name

    async def start(
        self,
        pod: Pod,
        *,
        aliases: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        extra: Sequence[str] = (),
        arguments: Sequence[str] = (),
        claims: dict[str, str] | None = None,
    ) -> Container:
        """A pod's container. `claims` are the volumes that stand for persistent ones, by their names."""
        context, container = pod.spec["securityContext"], pod.container
        limits, own = container["resources"]["limits"], container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        cores = limits["cpu"]
        options = [
            f"--network={self.name}",
            *(f"--network-alias={alias}" for alias in aliases),
            f"--user={context['runAsUser']}:{context['runAsGroup']}",
            f"--group-add={context['fsGroup']}",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges:true",
            f"--memory={size(limits['memory'])}",
            f"--memory-swap={size(limits['memory'])}",
            f"--cpus={int(cores[:-1]) / 1000 if cores.endswith('m') else cores}",
            *(f"--env={key}={value}" for key, value in (pod.environment | (environment or {})).items()),
            *extra,
        ]
        mounts = container.get("volumeMounts", [])
        options += [await self._mounted(pod, mount, claims or {}) for mount in mounts]
        command = container.get("command")
        if command:
            options.append(f"--entrypoint={command[0]}")
        words = [*(command[1:] if command else []), *container.get("args", []), *arguments]
        started = Container(pod, (await docker("run", "--detach", *options, container["image"], *words)).strip())
        self.containers.append(started)
        (network,) = (await started.inspect())["NetworkSettings"]["Networks"].values()
        started.address = network["IPAddress"]
        return started

    async def _mounted(self, pod: Pod, mount: Document, claims: dict[str, str]) -> str:
        volume, path = pod.volume(mount["name"]), mount["mountPath"]
        read_only = ":ro" if mount.get("readOnly") else ""
        if "emptyDir" in volume:
            if path == "/dev/shm":
                return f"--shm-size={size(volume['emptyDir']['sizeLimit'])}"
            return f"--tmpfs={path}:mode=1777,size={size(volume['emptyDir']['sizeLimit'])}"
        group = pod.spec["securityContext"]["fsGroup"]
        if "projected" in volume or "configMap" in volume:
            mode = volume[next(kind for kind in ("projected", "configMap") if kind in volume)]["defaultMode"]
            files = [(name, content, mode) for name, content in pod.files(path).items()]
            return f"--volume={await self.volume(files, owner=(0, group))}:{path}{read_only}"
        name = claims.get(mount["name"]) or await self.volume(owner=(0, group))
        return f"--volume={name}:{path}{read_only}"

"""README.md of k8s: its commands are carried out with a kubectl that notes what it is asked, and its numbers hold."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import KUBECTL, ROOT, documents, find, parse, pods
from tests.k8s.policy_numbers import RDS_CONNECTIONS, RESERVE, held

PAGES = ("README.md", "README.zh-CN.md")

KUBECTL_NOTE = r"""#!/usr/bin/env bash
case "$*" in
    *"create job"*--dry-run*) sed "s/NAME/$5/" "$SCRATCH/job.yaml"; exit ;;
    *"set env --local"*) exec "$REAL" "$@" ;;
    *apply*) cat >"$SCRATCH/applied.yaml"; exit ;;
esac
echo "$*" >>"$SCRATCH/notes"
case "$*" in
    # Not yet, then how it has ended; and no more than that, lest somebody wait for the other end.
    *"get job"*) sed 1q "$SCRATCH/states"; sed -i '1{$!d}' "$SCRATCH/states" ;;
    *"logs job"*) echo "the job said so" ;;
esac
"""


def page(name: str) -> str:
    """Return one of both pages."""
    return (ROOT / "k8s" / name).read_text(encoding="utf-8")


def blocks(name: str, begins: str, ends: str) -> list[str]:
    """The commands between two headings: each indented block."""
    section = page(name).partition(begins)[2].partition(ends)[0]
    found = re.findall(r"^\n((?: {7,}.*\n)+)", section, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


class Reader:
    """A reader who types the commands of the page."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        (scratch / "bin").mkdir()
        self._program("kubectl", KUBECTL_NOTE)
        self._program("sleep", "#!/bin/sh\n")
        self._program("make", '#!/bin/sh\necho "make $*" >>"$SCRATCH/notes"\n')
        # The time goes on by a second with each look.
        self._program(
            "date", '#!/bin/sh\necho x >>"$SCRATCH/looks"\necho $((1763980000 + $(wc -l <"$SCRATCH/looks")))\n'
        )
        template = find(documents("vke"), "CronJob", "restore")["spec"]["jobTemplate"]
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "NAME"}, "spec": template["spec"]}
        (scratch / "job.yaml").write_text(yaml.safe_dump(job))

    def _program(self, name: str, text: str) -> None:
        path = self.scratch / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def types(self, block: str, *states: str) -> tuple[list[str], str]:
        """Type a block; return the calls of kubectl, and the output."""
        (self.scratch / "notes").write_text("")
        (self.scratch / "states").write_text("\n".join(["", *states]) + "\n")
        paths = f"{self.scratch / 'bin'}:{os.environ['PATH']}"
        environment = {"PATH": paths, "SCRATCH": str(self.scratch), "REAL": str(KUBECTL)}
        command = ["bash", "-e", "-c", block.replace("<version>", "1.2.3")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr
        return (self.scratch / "notes").read_text().splitlines(), done.stdout


SECTIONS = {"README.md": ("### Back up", "### Backups"), "README.zh-CN.md": ("### 备份", "### 把备份")}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("end", ["SuccessCriteriaMet Complete", "FailureTarget Failed"])
def test_a_backup_and_a_restore_by_the_page_are_waited_for_to_either_end(tmp_path: Path, name: str, end: str) -> None:
    reader = Reader(tmp_path)
    make, _, restore, deploy, begin = blocks(name, *SECTIONS[name])
    asked, said = reader.types(make, end)
    assert asked[0] == "-n todo create job backup-1763980001 --from=cronjob/backup"
    assert [line.split()[2] for line in asked[1:]] == ["get", "get", "logs"]
    assert said == f"{end}\nthe job said so\n"
    # It is there for a week, and the page has to work a second time.
    assert reader.types(make, end)[0][0] == "-n todo create job backup-1763980002 --from=cronjob/backup"
    asked, said = reader.types(restore, end)
    assert [line.split()[2] for line in asked] == ["get", "get", "logs"]
    assert said.endswith(f"{end}\nthe job said so\n")
    (job,) = parse((tmp_path / "applied.yaml").read_text())
    assert job["metadata"]["name"] == "restore-1763980003"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert given == {
        "DATABASE_URL": None,
        "RESTORE_ARGUMENTS": "--replace todo-20261124T083000Z",
        "CONFIRM": "yes",
    }
    asked, _ = reader.types(deploy)
    assert asked[-1] == "make k8s-deploy OVERLAY=vke TAG=1.2.3 CONFIRM=yes"
    assert reader.types(begin)[0] == ["-n todo scale deployment/api deployment/worker --replicas=2"]


@pytest.mark.parametrize("name", PAGES)
def test_before_a_restore_by_the_page_everybody_who_writes_is_gone(tmp_path: Path, name: str) -> None:
    asked, _ = Reader(tmp_path).types(blocks(name, *SECTIONS[name])[1])
    assert asked[0] == "-n todo scale deployment/api deployment/worker deployment/beat --replicas=0"
    wait, _, selector = asked[1].partition(" --selector ")
    assert wait == "-n todo wait --for=delete pod --timeout=3m"
    components = re.fullmatch(r"app\.kubernetes\.io/component in \((.*)\)", selector).group(1)  # type: ignore[union-attr]
    found = pods(documents("vke"))
    writers = {name: found[name] for name in ("api", "worker", "beat")}
    assert set(components.split(",")) == {pod.labels["app.kubernetes.io/component"] for pod in writers.values()}
    # Longer than the slowest of them may take to go.
    assert max(pod.spec["terminationGracePeriodSeconds"] for pod in writers.values()) < 3 * 60


@pytest.mark.parametrize(("name", "begins", "ends"), [("README.md", "4. ", "5. "), ("README.zh-CN.md", "4. ", "5. ")])
def test_the_connections_that_the_page_asks_of_rds_are_those_that_pods_may_take(
    name: str, begins: str, ends: str
) -> None:
    step = re.search(rf"^{begins}`\(cloud\)` \*\*RDS.*?^{ends}", page(name), re.MULTILINE | re.DOTALL)
    assert step is not None
    numbers = [int(number) for number in re.findall(r"\b(\d{2,})\b", re.sub(r"PostgreSQL 17", "", step[0]))]
    assert numbers == [RDS_CONNECTIONS, held(documents("vke")), RESERVE]

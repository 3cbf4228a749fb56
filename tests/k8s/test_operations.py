"""ops/k8s.sh: what an operator does with the manifests. There is no cluster here; a kubectl that writes down what it is
asked, and answers as a cluster would, stands in for it. Rendering is done by the real one."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.manifests import KUBECTL, find, of_kind, operate, parse, pods, tree
from todo_core.settings import ConfigurationError, Settings

NOTE = r"""#!/usr/bin/env bash
if [ "$1" = kustomize ]; then exec "$REAL" "$@"; fi
if [ "$1 $2" = "config current-context" ]; then echo a-cluster; exit; fi
echo "$*" >>"$NOTES"
case "$*" in
    *"get job"*) cat "$NOTES.job" ;;
    *"logs job"*) echo "the migration said why" ;;
    diff*) echo "- old"; echo "+ new"; exit 1 ;;
    *"rollout status deployment/${STUCK:-none}"*) echo "timed out waiting" >&2; exit 1 ;;
esac
"""


class Operator:
    """Somebody with a clone of the repository, and what their kubectl was asked."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.notes = scratch / "notes"
        self.notes.touch()
        self.kubectl = scratch / "kubectl"
        self.kubectl.write_text(NOTE)
        self.kubectl.chmod(0o755)
        self.job("Complete")

    def job(self, state: str) -> None:
        """What becomes of the migration."""
        Path(f"{self.notes}.job").write_text(state)

    def does(self, action: str, overlay: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        own = {"KUBECTL": str(self.kubectl), "REAL": str(KUBECTL), "NOTES": str(self.notes)}
        return operate(action, overlay, root=self.root, **own, **environment)

    def asked(self) -> list[str]:
        """All that kubectl was asked, with manifests and names shortened."""
        text = re.sub(r"\S*/manifests\.yaml", "M", self.notes.read_text())
        return re.sub(r"migrate-[\w-]+", "migrate-X", text).splitlines()

    def has(self, name: str, text: str) -> None:
        """Make a file of one's own."""
        (self.root / "k8s/overlays" / name).write_text(text)

    def fills_in_vke(self) -> None:
        """Do what README.md says."""
        for example in (self.root / "k8s/overlays/vke").glob("*.example"):
            text = example.read_text().replace("replace-me-cn-beijing", "shop-cn-shanghai")
            self.has(f"vke/{example.name.removesuffix('.example')}", text.replace("replace-me", "shop"))
        self.has(
            "vke/secrets.env",
            f"database_password=p%w\nredis_password=r\ntoken_keys=2026-11:{'k' * 40}\nemail_password=\n",
        )


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """With a fresh clone."""
    with tree() as root:
        yield Operator(root, tmp_path)


WAITS = [f"--namespace todo rollout status deployment/{name} --timeout 600s" for name in ("api", "worker", "beat")]
CONFIG = "apply --filename M --selector app.kubernetes.io/component in (config,database,redis)"
MIGRATE = "apply --filename M --selector app.kubernetes.io/component=migrate"
LOOK = "--namespace todo get job migrate-X --ignore-not-found --output jsonpath="
LOOK += '{.status.conditions[?(@.status=="True")].type}'


@pytest.mark.parametrize("action", ["deploy", "rollback"])
def test_without_a_yes_it_is_only_said_what_would_be_done(operator: Operator, action: str) -> None:
    done = operator.does(action, "dev")
    assert done.returncode == 0, done.stderr
    assert "$ kubectl" in done.stdout
    assert done.stdout.endswith("Nothing was done. CONFIRM=yes does it.\n")
    assert operator.asked() == []


def test_a_deploy_applies_settings_migrates_and_then_rolls_out(operator: Operator) -> None:
    operator.fills_in_vke()
    done = operator.does("deploy", "vke", TAG="1.2.3", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    assert operator.asked() == [CONFIG, LOOK, MIGRATE, LOOK, "apply --filename M", *WAITS]
    assert "shop-cn-shanghai.cr.volces.com/todo/todo-api:1.2.3" in done.stdout


def test_in_dev_the_database_is_there_before_the_migration(operator: Operator) -> None:
    done = operator.does("deploy", "dev", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    first = [
        f"--namespace todo rollout status {name} --timeout 600s" for name in ("statefulset/db", "deployment/redis")
    ]
    assert operator.asked() == [CONFIG, *first, LOOK, MIGRATE, LOOK, "apply --filename M", *WAITS]


def test_a_migration_that_fails_rolls_nothing_out_and_says_why(operator: Operator) -> None:
    operator.job("Failed")
    done = operator.does("deploy", "dev", CONFIRM="yes")
    assert done.returncode == 1
    assert "the migration said why" in done.stderr
    assert "nothing was rolled out" in done.stderr
    assert "apply --filename M" not in operator.asked()
    assert "--namespace todo delete job migrate-X" in operator.asked()  # of the try before, so that this one is one


def test_a_rollout_that_is_stuck_is_an_error_and_says_the_way_back(operator: Operator) -> None:
    done = operator.does("deploy", "dev", CONFIRM="yes", STUCK="worker")
    assert done.returncode == 1
    assert "worker did not become ready. make k8s-rollback OVERLAY=dev" in done.stderr


def test_a_rollback_undoes_and_waits(operator: Operator) -> None:
    done = operator.does("rollback", "dev", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    undo = [f"--namespace todo rollout undo deployment/{name}" for name in ("api", "worker", "beat")]
    assert operator.asked() == [*undo, *WAITS]


def test_differences_are_no_failure(operator: Operator) -> None:
    done = operator.does("diff", "dev")
    assert (done.returncode, operator.asked()) == (0, ["diff --filename M"])
    assert "+ new" in done.stdout


@pytest.mark.parametrize("name", ["cluster.env", "settings.env", "secrets.env", "database-ca.pem"])
def test_example_values_are_never_deployed(operator: Operator, name: str) -> None:
    operator.fills_in_vke()
    (operator.root / "k8s/overlays/vke" / name).unlink()
    done = operator.does("deploy", "vke", TAG="1.2.3", CONFIRM="yes")
    assert done.returncode == 1
    assert f"{name}.example still has example values" in done.stderr
    assert operator.asked() == []


def test_with_external_secrets_nobody_needs_secrets_on_their_machine(operator: Operator) -> None:
    operator.fills_in_vke()
    (operator.root / "k8s/overlays/vke/secrets.env").unlink()
    path = operator.root / "k8s/overlays/vke/cluster.env"
    path.write_text(path.read_text().replace("COMPONENTS=", "COMPONENTS=external-secrets"))
    done = operator.does("deploy", "vke", TAG="1.2.3")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tag", ["dev", "latest", "a b", ""])
def test_a_tag_that_names_no_release_is_not_deployed(operator: Operator, tag: str) -> None:
    operator.fills_in_vke()
    done = operator.does("deploy", "vke", TAG=tag, CONFIRM="yes")
    assert done.returncode == 1
    assert "TAG=" in done.stderr
    assert operator.asked() == []


@pytest.mark.parametrize("arguments", [("deploy", "production"), ("undeploy", "dev")])
def test_what_is_not_known_is_said_in_one_sentence(operator: Operator, arguments: tuple[str, str]) -> None:
    done = operator.does(*arguments)
    assert done.returncode == 1
    assert "usage: ops/k8s.sh render|diff|deploy|rollback dev|vke" in done.stderr


def test_what_is_yours_takes_the_place_of_the_examples(operator: Operator) -> None:
    operator.fills_in_vke()
    found = parse(operator.does("render", "vke", TAG="1.2.3", SHOW_SECRETS="yes").stdout)
    api = pods(found)["api"]
    assert api.container["image"] == "shop-cn-shanghai.cr.volces.com/todo/todo-api:1.2.3"
    assert api.files("/run/secrets")["database_password"] == b"p%w"
    assert api.environment["DATABASE_URL"].startswith("postgresql://todo@postgres-shop.rds-pg.ivolces.com:5432/todo?")
    assert pods(found)["backup"].environment["DATABASE_URL"] == api.environment["DATABASE_URL"]
    assert {rule["host"] for ingress in of_kind(found, "Ingress") for rule in ingress["spec"]["rules"]} == {
        "shop.example.com"
    }
    assert api.environment["PUBLIC_URL"] == "https://shop.example.com"
    assert "replace-me" not in json.dumps(found)


def test_your_secrets_are_not_printed(operator: Operator) -> None:
    operator.fills_in_vke()
    text = operator.does("render", "vke").stdout
    for secret in ("p%w", "k" * 40):
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode()[:8] not in text
    assert set(find(parse(text), "Secret", "secrets")["data"].values()) == {"***"}
    shown = operator.does("render", "vke", SHOW_SECRETS="yes").stdout
    assert find(parse(shown), "Secret", "secrets")["data"]["redis_password"] == base64.b64encode(b"r").decode()


def job_name(operator: Operator, **environment: str) -> str:
    """Of the migration."""
    (job,) = of_kind(parse(operator.does("render", "dev", **environment).stdout), "Job")
    return str(job["metadata"]["name"])


def test_each_migration_has_a_name_of_its_own_and_the_same_one_the_same_name(operator: Operator) -> None:
    first = job_name(operator, TAG="1.2.3")
    assert re.fullmatch(r"migrate-1-2-3-[0-9a-f]{10}", first)
    assert job_name(operator, TAG="1.2.3") == first
    assert job_name(operator, TAG="1.2.4") != first
    longest = job_name(operator, TAG="V" + "1._-" * 31)
    assert len(longest) <= 63
    assert re.fullmatch(r"migrate-[a-z0-9-]+-[0-9a-f]{10}", longest)
    # With other settings or secrets, a template that cannot be changed would have to change.
    operator.has("dev/secrets.env", "database_password=other\nredis_password=r\ntoken_keys=a:b\nemail_password=\n")
    with_secrets = job_name(operator, TAG="1.2.3")
    operator.has("dev/settings.env", "DATABASE_URL=postgresql://todo@db:5432/other\nREDIS_URL=redis://redis:6379/0\n")
    assert len({first, with_secrets, job_name(operator, TAG="1.2.3")}) == 3


@pytest.mark.parametrize("name", ["api", "worker", "beat", "migrate"])
@pytest.mark.parametrize("overlay", ["dev", "vke"])
def test_each_process_would_start_with_what_it_finds(
    operator: Operator, overlay: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.fills_in_vke()
    pod = pods(parse(operator.does("render", overlay, SHOW_SECRETS="yes").stdout))[name]
    settle(monkeypatch, tmp_path, pod.environment, pod.files("/run/secrets"))
    settings = Settings.load()
    assert settings.runtime.environment == ("production" if overlay == "vke" else "development")
    if name != "beat":
        assert settings.database.password is not None
        assert settings.database.password.get_secret_value() == ("p%w" if overlay == "vke" else "todo")


def test_with_the_examples_nothing_starts(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = pods(parse(operator.does("render", "vke").stdout))["api"]
    settle(monkeypatch, tmp_path, pod.environment, pod.files("/run/secrets"))
    with pytest.raises(ConfigurationError, match="TOKEN_KEYS: the secret of key 'example' is shorter than 32 bytes"):
        Settings.load()


def settle(patch: pytest.MonkeyPatch, directory: Path, environment: dict[str, str], secrets: dict[str, bytes]) -> None:
    """Make this process find what a pod does."""
    for key, value in environment.items():
        patch.setenv(key, value)
    for key, content in secrets.items():
        (directory / key).write_bytes(content)
    patch.setattr("todo_core.settings_source.SECRETS_DIR", directory)

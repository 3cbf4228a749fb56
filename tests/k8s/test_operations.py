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
    *"get job"*)
        read -r unanswered <"$NOTES.unanswered"
        if [ "$unanswered" -gt 0 ] && [ -e "$NOTES.job" ]; then
            echo $((unanswered - 1)) >"$NOTES.unanswered"
            echo "the connection to the server was refused" >&2
            exit 1
        fi
        cat "$NOTES.job" 2>/dev/null
        exit 0
        ;;
    *"delete job"*) rm -f "$NOTES.job" ;;
    # As the cluster does it: a Job of this name that is there already stays as it is, and runs no second time.
    *"component=migrate"*)
        [ ! -e "$NOTES.job" ] || exit 0
        cp "$NOTES.outcome" "$NOTES.job"
        echo "(it runs)" >>"$NOTES"
        ;;
    *"get replicaset"*) cat "$NOTES.revisions" ;;
    *"logs job"*) echo "the migration said why" ;;
    diff*) echo "- old"; echo "+ new"; exit 1 ;;
    *"rollout status deployment/${STUCK:-none}"*) echo "timed out waiting" >&2; exit 1 ;;
esac
"""
RUNS = "(it runs)"


class Operator:
    """An operator with a clone of the repository, and a kubectl that records its calls."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.notes = scratch / "notes"
        self.notes.touch()
        self.kubectl = scratch / "kubectl"
        self.kubectl.write_text(NOTE)
        self.kubectl.chmod(0o755)
        self.job("Complete")
        self.unanswered(0)
        self.revisions()

    def job(self, outcome: str, before: str | None = None) -> None:
        """Set the outcome of the migration, and the state of an existing Job of its name."""
        Path(f"{self.notes}.outcome").write_text(outcome)
        if before is not None:
            Path(f"{self.notes}.job").write_text(before)

    def unanswered(self, times: int) -> None:
        """Set how many times the cluster does not answer about the Job."""
        Path(f"{self.notes}.unanswered").write_text(f"{times}\n")

    def revisions(self, *known: tuple[str, int, str, str]) -> None:
        """Set the revisions in the cluster: component, revision, the release in its name, and the image's tag."""
        lines = [f"{name}|{number}|{release}|r.cn/todo/todo-{name}:{tag}\n" for name, number, release, tag in known]
        Path(f"{self.notes}.revisions").write_text("".join(lines))

    def does(self, action: str, overlay: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        own = {"KUBECTL": str(self.kubectl), "REAL": str(KUBECTL), "NOTES": str(self.notes), "LOOK_SECONDS": "0"}
        return operate(action, overlay, root=self.root, **own, **environment)

    def asked(self) -> list[str]:
        """Return all calls of kubectl, with manifests and names shortened."""
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
    """Give an operator with a fresh clone."""
    with tree() as root:
        yield Operator(root, tmp_path)


WAITS = [f"--namespace todo rollout status deployment/{name} --timeout 600s" for name in ("api", "worker", "beat")]
CONFIG = "apply --filename M --selector app.kubernetes.io/component in (config,database,redis)"
MIGRATE = "apply --filename M --selector app.kubernetes.io/component=migrate"
LOOK = "--namespace todo get job migrate-X --ignore-not-found --output jsonpath="
LOOK += '{.status.conditions[?(@.status=="True")].type}'
DELETE = "--namespace todo delete job migrate-X --ignore-not-found"
REVISIONS = "--namespace todo get replicaset --selector app.kubernetes.io/component in (api,worker,beat) --output "


def test_without_a_yes_it_is_only_said_what_would_be_deployed(operator: Operator) -> None:
    done = operator.does("deploy", "dev")
    assert done.returncode == 0, done.stderr
    assert "$ kubectl" in done.stdout
    assert done.stdout.endswith("Nothing was done. CONFIRM=yes does it.\n")
    assert operator.asked() == []


def test_a_deploy_applies_settings_migrates_and_then_rolls_out(operator: Operator) -> None:
    operator.fills_in_vke()
    done = operator.does("deploy", "vke", TAG="1.2.3", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    assert operator.asked() == [CONFIG, LOOK, MIGRATE, RUNS, LOOK, "apply --filename M", *WAITS]
    assert "shop-cn-shanghai.cr.volces.com/todo/todo-api:1.2.3" in done.stdout


def test_in_dev_the_database_is_there_before_the_migration(operator: Operator) -> None:
    done = operator.does("deploy", "dev", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    first = [
        f"--namespace todo rollout status {name} --timeout 600s" for name in ("statefulset/db", "deployment/redis")
    ]
    assert operator.asked() == [CONFIG, *first, LOOK, MIGRATE, RUNS, LOOK, "apply --filename M", *WAITS]


def test_a_migration_that_fails_rolls_nothing_out_and_says_why(operator: Operator) -> None:
    operator.job("Failed")
    done = operator.does("deploy", "dev", CONFIRM="yes")
    assert done.returncode == 1
    assert "the migration said why" in done.stderr
    assert "nothing was rolled out" in done.stderr
    assert "apply --filename M" not in operator.asked()


@pytest.mark.parametrize("before", ["Complete", "Failed", "FailureTarget Failed", "SuccessCriteriaMet Complete"])
def test_a_job_that_has_ended_before_is_not_taken_for_this_migration(operator: Operator, before: str) -> None:
    # After a restore the database may be of an older release: the same tag has to migrate it again.
    operator.job("Complete", before)
    done = operator.does("deploy", "dev", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    asked = operator.asked()
    assert asked[asked.index(LOOK) :] == [LOOK, DELETE, MIGRATE, RUNS, LOOK, "apply --filename M", *WAITS]


def test_a_migration_that_runs_already_is_waited_for_and_not_ended(operator: Operator) -> None:
    operator.job("Complete", before="")
    done = operator.does("deploy", "dev", CONFIRM="yes", MIGRATION_SECONDS="0")
    assert done.returncode == 1
    assert {DELETE, RUNS, "apply --filename M"}.isdisjoint(operator.asked())
    assert "unknown after 0 s (it still runs)" in done.stderr
    assert "has failed" not in done.stderr


def test_a_cluster_that_does_not_answer_now_and_then_does_not_end_the_deploy(operator: Operator) -> None:
    operator.unanswered(3)
    done = operator.does("deploy", "dev", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    assert operator.asked().count(LOOK) == 5
    assert operator.asked()[-4:] == ["apply --filename M", *WAITS]


def test_a_migration_whose_end_nobody_has_seen_is_not_called_failed(operator: Operator) -> None:
    operator.unanswered(3)
    done = operator.does("deploy", "dev", CONFIRM="yes", MIGRATION_SECONDS="0")
    assert done.returncode == 1
    assert "unknown after 0 s (the cluster does not answer)" in done.stderr
    assert "logs job/migrate-" in done.stderr
    assert "has failed" not in done.stderr
    assert "apply --filename M" not in operator.asked()


def test_a_rollout_that_is_stuck_is_an_error_and_says_the_way_back(operator: Operator) -> None:
    done = operator.does("deploy", "dev", CONFIRM="yes", STUCK="worker")
    assert done.returncode == 1
    assert "worker did not become ready. make k8s-rollback OVERLAY=dev" in done.stderr


def undo(name: str, revision: int) -> str:
    """A Deployment goes to a revision."""
    return f"--namespace todo rollout undo deployment/{name} --to-revision {revision}"


def changes(operator: Operator) -> list[str]:
    """Return the calls of kubectl without those that only read."""
    return [line for line in operator.asked() if not line.startswith(REVISIONS)]


def histories(operator: Operator) -> None:
    """1.2.2, then 1.2.3, then 1.2.4; the API was restarted in between, so that its revisions have other numbers."""
    api = [("api", 2, "1.2.2-a", "1.2.2"), ("api", 3, "1.2.3-b", "1.2.3"), ("api", 10, "1.2.3-b", "1.2.3")]
    beat = [("beat", 7, "1.2.4-c", "1.2.4"), ("beat", 6, "1.2.3-b", "1.2.3"), ("beat", 5, "1.2.2-a", "1.2.2")]
    worker = [("worker", 4, "1.2.3-b", "1.2.3"), ("worker", 5, "1.2.4-c", "1.2.4"), ("worker", 3, "1.2.2-a", "1.2.2")]
    operator.revisions(*beat, *api, ("api", 11, "1.2.4-c", "1.2.4"), *worker)


def test_a_rollback_takes_all_three_to_one_release_and_says_which_before(operator: Operator) -> None:
    histories(operator)
    plan = operator.does("rollback", "dev")
    assert plan.returncode == 0, plan.stderr
    for line in ("api     1.2.4-c -> 1.2.3-b (revision 10)", "beat    1.2.4-c -> 1.2.3-b (revision 6)"):
        assert line in plan.stdout
    assert "the newest first: 1.2.4-c 1.2.3-b 1.2.2-a" in plan.stdout
    assert plan.stdout.endswith("Nothing was done. CONFIRM=yes does it.\n")
    assert changes(operator) == []
    done = operator.does("rollback", "dev", CONFIRM="yes")
    assert done.returncode == 0, done.stderr
    assert changes(operator) == [undo("api", 10), undo("worker", 4), undo("beat", 6), *WAITS]
    # Kubernetes makes a revision that is gone back to the newest one, so once more would be there and back.
    assert "Once more would go to 1.2.4-c" in done.stdout


def test_a_rollback_goes_to_the_release_that_is_named(operator: Operator) -> None:
    histories(operator)
    done = operator.does("rollback", "dev", CONFIRM="yes", RELEASE="1.2.2-a")
    assert done.returncode == 0, done.stderr
    assert changes(operator) == [undo("api", 2), undo("worker", 3), undo("beat", 5), *WAITS]


def test_a_rollback_leaves_alone_what_is_at_its_release_already(operator: Operator) -> None:
    histories(operator)
    done = operator.does("rollback", "dev", CONFIRM="yes", RELEASE="1.2.4-c")
    assert done.returncode == 0, done.stderr
    assert changes(operator) == WAITS


def test_a_rollback_to_two_releases_is_refused(operator: Operator) -> None:
    # Deployed without names, as by an older ops/k8s.sh: only API and worker were changed, so beat has no 1.2.3.
    operator.revisions(
        *((name, number, "", tag) for name in ("api", "worker") for number, tag in ((8, "1.2.3"), (9, "1.2.4"))),
        ("beat", 3, "", "1.2.2"),
        ("beat", 4, "", "1.2.4"),
    )
    done = operator.does("rollback", "dev", CONFIRM="yes")
    assert done.returncode == 1
    assert "There is no revision of 1.2.3 for: beat" in done.stderr
    assert changes(operator) == []


def test_with_one_release_there_is_nothing_to_roll_back_to(operator: Operator) -> None:
    operator.revisions(*((name, 1, "1.2.3-b", "1.2.3") for name in ("api", "worker", "beat")))
    done = operator.does("rollback", "dev", CONFIRM="yes")
    assert done.returncode == 1
    assert "nothing to roll back to" in done.stderr
    assert changes(operator) == []


def releases(operator: Operator, **environment: str) -> dict[str, str]:
    """Return the releases in the pods' names."""
    found = pods(parse(operator.does("render", "vke", **environment).stdout))
    return {name: found[name].template["metadata"]["annotations"]["todo/release"] for name in ("api", "worker", "beat")}


def test_whatever_changes_one_of_api_worker_and_beat_is_a_new_release_of_all_three(operator: Operator) -> None:
    first = releases(operator, TAG="1.2.3")
    assert len(set(first.values())) == 1
    assert re.fullmatch(r"1\.2\.3-[0-9a-f]{10}", first["api"])
    assert releases(operator, TAG="1.2.3") == first
    base = operator.root / "k8s/base/api.yaml"
    base.write_text(base.read_text().replace("periodSeconds: 10", "periodSeconds: 11"))
    changed = releases(operator, TAG="1.2.3")
    assert len(set(changed.values())) == 1
    assert changed != first
    base = operator.root / "k8s/base/backup.yaml"
    base.write_text(base.read_text().replace("17 19", "18 19"))
    assert releases(operator, TAG="1.2.3") == changed


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


TLS = "rediss://redis-shop.redis.ivolces.com:6379/0?ssl_ca_certs=/run/secrets/redis_ca"


def speaks_tls_to_redis(operator: Operator) -> None:
    """Set it, as settings.env.example says."""
    path = operator.root / "k8s/overlays/vke/settings.env"
    assert TLS.replace("redis-shop", "redis-replace-me") in path.with_suffix(".env.example").read_text()
    path.write_text(re.sub("^REDIS_URL=.*$", f"REDIS_URL={TLS}", path.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("copied", [True, False])
def test_the_authority_of_redis_is_asked_for_only_where_redis_speaks_tls(operator: Operator, copied: bool) -> None:
    operator.fills_in_vke()
    path = operator.root / "k8s/overlays/vke/redis-ca.pem"
    if copied:
        path.write_text(path.with_suffix(".pem.example").read_text())
    else:
        path.unlink()
    assert operator.does("deploy", "vke", TAG="1.2.3").returncode == 0
    speaks_tls_to_redis(operator)
    done = operator.does("deploy", "vke", TAG="1.2.3", CONFIRM="yes")
    assert done.returncode == 1
    assert f"redis-ca.pem{'' if copied else '.example'} still has example values" in done.stderr
    assert operator.asked() == []


@pytest.mark.parametrize("name", ["api", "worker", "beat"])
def test_whoever_speaks_to_redis_finds_its_authority(operator: Operator, name: str) -> None:
    operator.fills_in_vke()
    speaks_tls_to_redis(operator)
    operator.has("vke/redis-ca.pem", "-----BEGIN CERTIFICATE-----\n")
    pod = pods(parse(operator.does("render", "vke", TAG="1.2.3").stdout.replace('"***"', '""')))[name]
    assert pod.environment["REDIS_URL"] == TLS
    assert pod.files("/run/secrets")["redis_ca"] == b"-----BEGIN CERTIFICATE-----\n"


def test_with_external_secrets_nobody_needs_secrets_on_their_machine(operator: Operator) -> None:
    operator.fills_in_vke()
    (operator.root / "k8s/overlays/vke/secrets.env").unlink()
    path = operator.root / "k8s/overlays/vke/cluster.env"
    path.write_text(path.read_text().replace("COMPONENTS=", "COMPONENTS=external-secrets"))
    done = operator.does("deploy", "vke", TAG="1.2.3")
    assert done.returncode == 0, done.stderr


def test_with_backup_upload_the_backup_hands_its_files_to_rclone_and_nothing_else_changes(operator: Operator) -> None:
    operator.fills_in_vke()
    without = parse(operator.does("render", "vke", TAG="1.2.3").stdout)
    path = operator.root / "k8s/overlays/vke/cluster.env"
    path.write_text(path.read_text().replace("COMPONENTS=", "COMPONENTS=backup-upload"))
    found = parse(operator.does("render", "vke", TAG="1.2.3").stdout)
    backup = pods(found)["backup"]
    assert backup.container["image"] == "shop-cn-shanghai.cr.volces.com/todo/postgres:17-trixie-rclone"
    command = backup.container["env"][-1]
    assert command["name"] == "BACKUP_UPLOAD_COMMAND"
    assert command["value"].split() == [
        "rclone",
        "copy",
        "--config",
        "/run/backup-upload/rclone.conf",
        '"$1"',
        "backups:",
    ]
    mount = backup.mounts()["/run/backup-upload"]
    assert mount["projected"]["defaultMode"] == 0o440
    differing = {document["metadata"]["name"] for document in found if document not in without}
    assert differing == {"backup", "restore", "backup-to-internet"}
    # Both components go together.
    path.write_text(path.read_text().replace("backup-upload", "backup-upload external-secrets"))
    both = parse(operator.does("render", "vke", TAG="1.2.3").stdout)
    assert not of_kind(both, "Secret")
    assert pods(both)["backup"].container == backup.container


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
    patch.setattr("todo_core.settings.source.SECRETS_DIR", directory)

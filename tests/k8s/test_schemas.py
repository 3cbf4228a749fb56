"""Kubernetes' own schemas, of the releases that VKE has, and checkov's policies."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.k8s.manifests import OPTIONS, OVERLAYS, ROOT, TOOLS, documents, parse, render

RELEASES = ("1.30", "1.32", "1.34")
ALL = (*OVERLAYS, *OPTIONS)


def validate(release: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against the schemas of a release; unknown fields are errors too."""
    command = [str(TOOLS / "kubernetes-validate"), "--kubernetes-version", release, "--strict", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("overlay", ALL)
def test_manifests_are_valid(overlay: str, release: str, tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(render(overlay))
    done = validate(release, path)
    unknown = {"ExternalSecret", "SecretStore"} if overlay == "external-secrets" else set()
    assert done.returncode == 0, done.stdout + done.stderr
    warned = {kind for kind in (document["kind"] for document in documents(overlay)) if f"{kind} " in done.stderr}
    assert warned <= unknown, done.stderr


def test_a_field_that_kubernetes_does_not_know_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(render("dev").replace("maxUnavailable: 0", "maxUnavailabel: 0"))
    assert validate(RELEASES[0], path).returncode != 0


@pytest.mark.timeout(120)
def test_checkov_finds_nothing_that_is_not_excepted_beside_it(tmp_path: Path) -> None:
    for overlay in ALL:
        (tmp_path / f"{overlay}.yaml").write_text(render(overlay))
    command = [str(TOOLS / "checkov"), "--config-file", str(ROOT / "k8s/checkov.yaml"), "--output", "json"]
    command += ["--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    report = json.loads(done.stdout)
    assert done.returncode == 0, [
        (check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]
    ]
    assert report["summary"]["passed"] > 500 * len(ALL)
    excepted = {
        (check["check_id"], check["resource"].rpartition(".")[2]) for check in report["results"]["skipped_checks"]
    }
    assert excepted == {
        ("CKV_K8S_9", "worker"),
        ("CKV_K8S_9", "beat"),
        *(("CKV_K8S_40", name) for name in ("db", "redis", "backup", "restore")),
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_plain_kustomize_renders_the_same_but_for_images_and_the_migrations_name(overlay: str) -> None:
    command = [str(TOOLS / "kubectl"), "kustomize", str(ROOT / "k8s/overlays" / overlay)]
    plain = parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    by_script = documents(overlay)
    assert [document["kind"] for document in plain] == [document["kind"] for document in by_script]
    differing = [
        one["metadata"]["name"]
        for one, other in zip(plain, by_script, strict=True)
        if one != other and one["kind"] not in {"Deployment", "CronJob"}
    ]
    assert differing == ["migrate"]

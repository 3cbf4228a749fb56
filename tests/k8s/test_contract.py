"""The manifests keep to what the images and compose.yaml have agreed on."""

from __future__ import annotations

import pytest

from tests.k8s.contract_pods import CHECKS, problems
from tests.k8s.manifests import OVERLAYS, documents

pytestmark = pytest.mark.parametrize("overlay", OVERLAYS)


def test_every_variable_is_one_that_somebody_reads(overlay: str) -> None:
    assert problems("environment_keys", documents(overlay)) == []


def test_every_variable_that_compose_sets_is_set_and_no_secret_is_one(overlay: str) -> None:
    assert problems("environment_values", documents(overlay)) == []


def test_everybody_speaks_to_the_same_database_and_redis(overlay: str) -> None:
    assert problems("places", documents(overlay)) == []


def test_ports_are_those_that_the_images_serve_on(overlay: str) -> None:
    assert problems("ports", documents(overlay)) == []


def test_commands_are_those_of_compose_and_the_images(overlay: str) -> None:
    assert problems("commands", documents(overlay)) == []


def test_images_are_those_of_compose(overlay: str) -> None:
    assert problems("image_names", documents(overlay)) == []


def test_users_are_those_of_the_images(overlay: str) -> None:
    assert problems("users", documents(overlay)) == []


def test_probes_ask_what_the_images_answer(overlay: str) -> None:
    assert problems("probes", documents(overlay)) == []


def test_secrets_are_files_that_are_read_and_only_where_they_are_needed(overlay: str) -> None:
    assert problems("secrets", documents(overlay)) == []


def test_what_can_be_written_to_is_what_compose_lets_be_written_to(overlay: str) -> None:
    assert problems("volumes", documents(overlay)) == []


def test_backups_are_made_by_the_programs_of_ops(overlay: str) -> None:
    assert problems("programs", documents(overlay)) == []


def test_memory_and_cores_are_those_of_compose(overlay: str) -> None:
    assert problems("limits", documents(overlay)) == []


def test_kubernetes_waits_for_longer_than_a_process_needs_to_stop(overlay: str) -> None:
    assert problems("stopping", documents(overlay)) == []


def test_no_check_is_left_out(overlay: str) -> None:
    assert len([name for name in globals() if name.startswith("test_")]) == len(CHECKS) + 1

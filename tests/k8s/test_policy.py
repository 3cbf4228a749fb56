"""What must be true of every manifest: hardened, reachable by nobody who need not, rolled out without loss."""

from __future__ import annotations

import pytest

from tests.k8s.manifests import OPTIONS, OVERLAYS, documents, of_kind
from tests.k8s.policy import KINDS
from tests.k8s.policy_places import POLICIES, problems

ALL = (*OVERLAYS, *OPTIONS)
pytestmark = pytest.mark.parametrize("overlay", ALL)


def test_only_kinds_that_are_looked_at_here_are_rendered(overlay: str) -> None:
    assert {document["kind"] for document in documents(overlay)} == KINDS[overlay]


def test_all_is_in_one_restricted_namespace_and_labelled_for_the_deploy(overlay: str) -> None:
    assert problems("namespaces", documents(overlay)) == []


def test_pods_are_hardened(overlay: str) -> None:
    assert problems("hardening", documents(overlay)) == []


def test_nobody_may_speak_to_kubernetes(overlay: str) -> None:
    assert problems("identities", documents(overlay)) == []


def test_references_lead_somewhere_and_names_change_with_content(overlay: str) -> None:
    assert problems("names", documents(overlay)) == []


def test_pods_have_the_labels_that_they_are_known_by(overlay: str) -> None:
    assert problems("labels", documents(overlay)) == []


def test_rollouts_take_nothing_away_and_beat_is_never_two(overlay: str) -> None:
    assert problems("rollouts", documents(overlay)) == []


def test_pods_name_the_one_release_that_they_are_of(overlay: str) -> None:
    assert problems("releases", documents(overlay)) == []


def test_probes_are_neither_too_hasty_nor_too_patient(overlay: str) -> None:
    assert problems("patience", documents(overlay)) == []


def test_autoscalers_keep_two_and_never_outgrow_postgresql(overlay: str) -> None:
    assert problems("scaling", documents(overlay)) == []


def test_jobs_end_backups_come_daily_and_restores_never_by_themselves(overlay: str) -> None:
    assert problems("jobs", documents(overlay)) == []


def test_exactly_the_needed_edges_are_open(overlay: str) -> None:
    assert problems("network", documents(overlay)) == []


def test_people_come_in_by_tls_and_nowhere_else(overlay: str) -> None:
    assert problems("way_in", documents(overlay)) == []
    assert bool(of_kind(documents(overlay), "Ingress")) == (overlay != "dev")


def test_images_and_volumes_come_from_where_the_cloud_has_them(overlay: str) -> None:
    assert problems("places", documents(overlay)) == []


def test_external_secrets_fetches_all_that_pods_need(overlay: str) -> None:
    assert problems("fetched_secrets", documents(overlay)) == []
    assert bool(of_kind(documents(overlay), "Secret")) == (overlay != "external-secrets")


def test_no_policy_is_left_out(overlay: str) -> None:
    assert len([name for name in globals() if name.startswith("test_")]) == len(POLICIES) + 2

"""Every check on every rendered overlay: the manifests keep to the images, to compose.yaml and to the policies.

What each check holds stands in its docstring; test_mutations.py shows that each can fail.
"""

from __future__ import annotations

import pytest

from tests.k8s import contract_pods, policy_places
from tests.k8s.manifests import OPTIONS, OVERLAYS, documents, of_kind
from tests.k8s.policy import KINDS

ALL = (*OVERLAYS, *OPTIONS)


@pytest.mark.parametrize("check", contract_pods.CHECKS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_manifests_keep_to_what_images_and_compose_have_agreed_on(overlay: str, check: str) -> None:
    assert contract_pods.problems(check, documents(overlay)) == []


@pytest.mark.parametrize("check", policy_places.POLICIES)
@pytest.mark.parametrize("overlay", ALL)
def test_the_manifests_keep_to_the_policies(overlay: str, check: str) -> None:
    assert policy_places.problems(check, documents(overlay)) == []


@pytest.mark.parametrize("overlay", ALL)
def test_only_kinds_that_are_looked_at_here_are_rendered(overlay: str) -> None:
    assert {document["kind"] for document in documents(overlay)} == KINDS[overlay]
    assert bool(of_kind(documents(overlay), "Ingress")) == (overlay != "dev")
    assert bool(of_kind(documents(overlay), "Secret")) == (overlay != "external-secrets")

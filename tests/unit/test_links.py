"""Links in mails: good for the one thing that they are for, and told apart from access tokens."""

from __future__ import annotations

import math
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose import jwt

from todo_core import clock
from todo_core.accounts.links import VERIFICATION_LIFETIME, InvalidLink, Links, Unsubscription, address_digest
from todo_core.accounts.tokens import AccessTokens, Principal
from todo_core.errors import Unauthenticated
from todo_core.settings import TokenSettings

OLD = "old:0123456789abcdef0123456789abcdef"
NEW = "new:fedcba9876543210fedcba9876543210"
SOMEBODY = UUID("01890000-0000-7000-8000-000000000000")


def links(keys: str = OLD) -> Links:
    return Links(TokenSettings(keys=keys))


def token_of(path: str) -> str:
    return path.partition("?token=")[2]


VERIFY, UNSUBSCRIBE = (
    token_of(links().verify_email(SOMEBODY)),
    token_of(links().unsubscribe(SOMEBODY, "lin@example.com")),
)


def test_a_link_says_what_it_was_made_for() -> None:
    assert links().verify_email(SOMEBODY).startswith("/verify-email?token=")
    assert links().unsubscribe(SOMEBODY, "lin@example.com").startswith("/unsubscribe?token=")
    assert links().read_verify_email(VERIFY) == SOMEBODY
    assert links().read_unsubscribe(UNSUBSCRIBE) == Unsubscription(SOMEBODY, address_digest("lin@example.com"))


def test_an_unsubscribe_link_does_not_show_the_address_and_knows_it_in_any_case() -> None:
    assert "lin@example.com" not in str(jwt.get_unverified_claims(UNSUBSCRIBE))
    assert address_digest("LIN@Example.com") == address_digest("lin@example.com") != address_digest("wang@example.com")


def test_no_link_is_good_for_anything_else() -> None:
    with pytest.raises(InvalidLink):
        links().read_verify_email(UNSUBSCRIBE)
    with pytest.raises(InvalidLink):
        links().read_unsubscribe(VERIFY)


@pytest.mark.parametrize("token", [VERIFY, UNSUBSCRIBE])
def test_a_link_is_no_access_token(token: str) -> None:
    with pytest.raises(Unauthenticated):
        AccessTokens(TokenSettings(keys=OLD)).verify(token)


def test_an_access_token_is_no_link() -> None:
    token = AccessTokens(TokenSettings(keys=OLD)).issue(Principal(SOMEBODY, 1))
    for read in (links().read_verify_email, links().read_unsubscribe):
        with pytest.raises(InvalidLink):
            read(token)


@pytest.mark.parametrize(
    "extra", [{"ver": 1}, {"ver": 1, "exp": 4_102_444_800}, {"ver": 1, "exp": 4_102_444_800, "aud": ["unsubscribe"]}]
)
def test_even_a_link_with_the_claims_of_an_access_token_is_none(extra: dict[str, object]) -> None:
    claims = {"sub": str(SOMEBODY), "aud": "unsubscribe", **extra}
    token = jwt.encode(claims, OLD.partition(":")[2], "HS256", headers={"kid": "old"})
    with pytest.raises(Unauthenticated):
        AccessTokens(TokenSettings(keys=OLD)).verify(token)


def test_a_verification_expires_and_an_unsubscription_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    start = clock.now()
    monkeypatch.setattr(clock, "now", lambda: start)
    token = token_of(links().verify_email(SOMEBODY))
    monkeypatch.setattr(clock, "now", lambda: start + VERIFICATION_LIFETIME - timedelta(seconds=1))
    assert links().read_verify_email(token) == SOMEBODY
    monkeypatch.setattr(clock, "now", lambda: start + VERIFICATION_LIFETIME)
    with pytest.raises(InvalidLink):
        links().read_verify_email(token)
    monkeypatch.setattr(clock, "now", lambda: start + timedelta(days=3_650))
    assert links().read_unsubscribe(UNSUBSCRIBE).account_id == SOMEBODY


def test_keys_rotate() -> None:
    assert links(f"{NEW},{OLD}").read_verify_email(VERIFY) == SOMEBODY
    assert jwt.get_unverified_header(token_of(links(f"{NEW},{OLD}").verify_email(SOMEBODY)))["kid"] == "new"
    with pytest.raises(InvalidLink):
        links(NEW).read_verify_email(VERIFY)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "verify-email", "sub": "not a uuid", "exp": 4_102_444_800},
        {"aud": "verify-email", "sub": str(SOMEBODY)},
        {"aud": "verify-email", "exp": 4_102_444_800},
        {"aud": "verify-email", "sub": str(SOMEBODY), "exp": None},
        {"aud": ["other"], "sub": str(SOMEBODY), "exp": 4_102_444_800},
        {"sub": str(SOMEBODY), "exp": 4_102_444_800},
        {"aud": "verify-email", "sub": str(SOMEBODY), "exp": math.inf},
        {"aud": "verify-email", "sub": str(SOMEBODY), "exp": True},
        {"aud": "verify-email", "sub": [str(SOMEBODY)], "exp": 4_102_444_800},
        {"aud": "verify-email", "sub": str(SOMEBODY), "exp": 4_102_444_800, "iat": math.inf},
    ],
)
def test_a_token_that_lacks_something_is_no_link(claims: dict[str, object]) -> None:
    token = jwt.encode(claims, OLD.partition(":")[2], "HS256", headers={"kid": "old"})
    with pytest.raises(InvalidLink):
        links().read_verify_email(token)


@pytest.mark.parametrize("address", [5, None, ["x"], {"a": 1}])
def test_an_unsubscription_names_its_address_as_text(address: object) -> None:
    claims = {"aud": "unsubscribe", "sub": str(SOMEBODY), "adr": address}
    token = jwt.encode(claims, OLD.partition(":")[2], "HS256", headers={"kid": "old"})
    with pytest.raises(InvalidLink):
        links().read_unsubscribe(token)


@pytest.mark.parametrize("token", [VERIFY, UNSUBSCRIBE])
def test_a_link_has_one_spelling_and_no_extensions(token: str) -> None:
    read = links().read_verify_email if token == VERIFY else links().read_unsubscribe
    critical = jwt.encode(
        jwt.get_unverified_claims(token), OLD.partition(":")[2], "HS256", headers={"kid": "old", "crit": ["exp"]}
    )
    for spelling in (f"{token}#", f"{token}=", f"{token}{'#' * 100_000}", critical):
        with pytest.raises(InvalidLink):
            read(spelling)


@given(st.text())
def test_any_other_text_is_no_link(text: str) -> None:
    for read in (links().read_verify_email, links().read_unsubscribe):
        with pytest.raises(InvalidLink):
            read(text)


def test_a_changed_link_is_none() -> None:
    forged = token_of(links("old:another-secret-of-thirty-two-bytes!").verify_email(uuid4()))
    unsigned = ".".join([*VERIFY.split(".")[:2], ""])
    for token in (forged, unsigned, VERIFY[:-2] + "AA"):
        with pytest.raises(InvalidLink):
            links().read_verify_email(token)

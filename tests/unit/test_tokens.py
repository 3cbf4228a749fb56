"""Access tokens: whom they speak for, for how long, and what is none."""

from __future__ import annotations

import base64
import hmac
import json
import math
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jose import jwt

from todo_core import clock
from todo_core.accounts import tokens
from todo_core.accounts.tokens import AccessTokens, Principal
from todo_core.errors import Unauthenticated
from todo_core.settings import TokenSettings

OLD = "old:0123456789abcdef0123456789abcdef"
NEW = "new:fedcba9876543210fedcba9876543210"
LIN = Principal(uuid4(), 3)
START = datetime(2026, 12, 1, 9, tzinfo=UTC)
Later = Callable[[float], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Moves the clock, which stands still otherwise: `later(900)` is fifteen minutes after the start."""

    def move(seconds: float) -> None:
        monkeypatch.setattr(clock, "now", lambda: START + timedelta(seconds=seconds))

    move(0)
    return move


def access_tokens(keys: str = OLD, *, seconds: int = 900) -> AccessTokens:
    return AccessTokens(TokenSettings(keys=keys, access_seconds=seconds))


def signed(
    claims: dict[str, Any], *, key: str = OLD.partition(":")[2], algorithm: str = "HS256", **headers: Any
) -> str:
    """A token with these claims: whatever a holder of the key could make."""
    token: str = jwt.encode(claims, key, algorithm, headers={"kid": "old", **headers})
    return token


def good_claims() -> dict[str, Any]:
    return {"sub": str(LIN.id), "ver": 3, "exp": int(clock.now().timestamp()) + 900}


def is_refused(verifier: AccessTokens, token: str) -> bool:
    try:
        verifier.verify(token)
    except Unauthenticated:
        return True
    return False


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode("ascii")


def test_a_token_speaks_for_the_account_that_it_was_issued_to() -> None:
    ours = access_tokens()
    assert ours.verify(ours.issue(LIN)) == LIN


def test_a_token_says_who_signed_it_and_how_long_it_lives(later: Later) -> None:
    token = access_tokens(f"{NEW},{OLD}", seconds=60).issue(LIN)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "new"}
    claims = jwt.get_unverified_claims(token)
    assert claims["exp"] - claims["iat"] == 60
    assert claims["iat"] == int(START.timestamp())


@pytest.mark.parametrize("seen_before", [True, False])
def test_a_token_lives_to_its_last_second_and_no_longer(later: Later, seen_before: bool) -> None:
    ours = access_tokens()
    token = ours.issue(LIN)
    if seen_before:
        ours.verify(token)
    later(899.9)
    assert ours.verify(token) == LIN
    later(900)
    assert is_refused(ours, token)
    later(10_000)
    assert is_refused(ours, token)


def test_a_remembered_token_expires_however_often_it_is_used(later: Later) -> None:
    ours = access_tokens()
    token = ours.issue(LIN)
    for seconds in range(0, 900, 90):
        later(seconds)
        assert ours.verify(token) == LIN
    later(901)
    assert is_refused(ours, token)


def test_keys_rotate_without_a_gap() -> None:
    before, between, during, after = (access_tokens(keys) for keys in (OLD, f"{OLD},{NEW}", f"{NEW},{OLD}", NEW))
    old_token, new_token = between.issue(LIN), during.issue(LIN)
    assert [process.verify(old_token) for process in (before, between, during)] == [LIN] * 3
    assert [process.verify(new_token) for process in (between, during, after)] == [LIN] * 3
    assert is_refused(after, old_token)
    assert is_refused(before, new_token)


def test_a_token_of_another_secret_under_the_same_key_id_is_refused() -> None:
    assert is_refused(access_tokens(), access_tokens("old:another-secret-that-is-long-enough").issue(LIN))


@pytest.mark.parametrize("missing", ["sub", "ver", "exp"])
def test_a_token_without_one_of_its_claims_is_refused(missing: str) -> None:
    claims = good_claims()
    assert access_tokens().verify(signed(claims)) == LIN
    del claims[missing]
    assert is_refused(access_tokens(), signed(claims))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sub": "lin"}, {"sub": 5}, {"sub": None}, {"ver": "x"}, {"ver": None}, {"ver": [3]}, {"exp": "soon"},
        {"exp": None}, {"exp": 0}, {"exp": -1}, {"nbf": 99_999_999_999},
        {"exp": math.inf}, {"exp": math.nan}, {"exp": True}, {"exp": 10**400}, {"exp": 1e300}, {"exp": "4102444800"},
        {"ver": 2**31}, {"ver": 2**63}, {"ver": -1}, {"ver": True}, {"ver": 3.0}, {"ver": "3"}, {"ver": math.inf},
        {"sub": [str(LIN.id)]}, {"sub": {"a": 1}}, {"sub": True}, {"iat": math.inf}, {"nbf": math.inf}, {"iat": [1]},
    ],
)  # fmt: skip
def test_a_token_with_a_claim_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    assert is_refused(access_tokens(), signed({**good_claims(), **wrong}))


def signed_bytes(header: bytes, payload: bytes) -> str:
    """A token whose header and claims are any bytes: what the holder of a key could sign."""
    signing_input = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    digest = hmac.digest(OLD.partition(":")[2].encode(), signing_input, "sha256")
    return (signing_input + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode("ascii")


HEADER = b'{"alg":"HS256","kid":"old"}'


@pytest.mark.parametrize(
    "payload",
    [
        b"{", b"[" * 650, b"[" * 300 + b"]" * 300, b"[]", b"5", b'"x"', b"null", b"", b"\xff", b'{"exp":1e400}',
        b'{"sub":' + b"[" * 300 + b"]" * 300 + b"}", b'{"exp":' + b"9" * 600 + b"}",
    ],
)  # fmt: skip
def test_claims_that_are_no_object_of_claims_are_refused(payload: bytes) -> None:
    assert is_refused(access_tokens(), signed_bytes(HEADER, payload))


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], None, "exp", {"a": 1}])
def test_a_token_with_extensions_that_must_be_understood_is_refused(crit: object) -> None:
    assert is_refused(access_tokens(), signed(good_claims(), crit=crit))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
EXPIRY = 4_102_444_800


@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x"]), JSON, max_size=4) | JSON,
    claims=st.dictionaries(st.sampled_from(["sub", "ver", "exp", "nbf", "iat", "aud", "iss", "jti"]), JSON) | JSON,
    like_ours=st.booleans(),
)
def test_no_json_that_our_key_has_signed_does_anything_but_speak_for_an_account_or_be_refused(
    header: object, claims: object, like_ours: bool
) -> None:
    if like_ours and isinstance(header, dict) and isinstance(claims, dict):
        header = {"alg": "HS256", "kid": "old", **{key: header[key] for key in header.keys() - {"alg", "kid"}}}
        claims = {"sub": str(LIN.id), "ver": 3, "exp": EXPIRY, **claims}
    token = signed_bytes(json.dumps(header).encode(), json.dumps(claims).encode())
    ours = access_tokens()
    if not is_refused(ours, token):
        principal, expires_at = ours.verify(token), ours.expires_at(token)
        assert isinstance(header, dict)
        assert "crit" not in header
        assert 0 <= principal.auth_version < 2**31
        assert math.isfinite(expires_at)


def other_spellings(token: str) -> list[str]:
    """The same three byte strings, written in ways that a lenient reader takes."""
    header, claims, signature = token.split(".")
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    unused_bit = alphabet[alphabet.index(signature[-1]) ^ 1]  # 43 characters hold 258 bits, the digest has 256
    return [
        token + "#", token + "####" * 50, token + "=", token + "\n", f"#{token}", token[:-1] + unused_bit,
        f"{header}#.{claims}.{signature}", f"{header}.{claims}!.{signature}", f"{header}=.{claims}=.{signature}",
        f"{header}.{claims}.{signature[:9]} {signature[9:]}", f"{header}.{claims}.{signature}é", token + ".",
        f"{header}.{claims}.", f"{header}.{claims}", token[:-3], token + "AAAA",
    ]  # fmt: skip


@pytest.mark.parametrize("header", [b"[]", b"[" * 600, b"{", b'{"kid":"old"}', b'{"alg":"HS256"}'])
def test_a_token_whose_header_names_no_algorithm_and_key_is_refused(header: bytes) -> None:
    assert access_tokens().verify(signed_bytes(HEADER, json.dumps(good_claims()).encode())) == LIN
    assert is_refused(access_tokens(), signed_bytes(header, json.dumps(good_claims()).encode()))


@pytest.mark.parametrize("algorithm", ["HS384", "RS256", ["HS256"], None])
def test_a_token_of_another_algorithm_is_refused(algorithm: object) -> None:
    header = json.dumps({"alg": algorithm, "kid": "old"}).encode()
    assert is_refused(access_tokens(), signed_bytes(header, json.dumps(good_claims()).encode()))


def test_a_token_has_one_spelling() -> None:
    ours = access_tokens()
    token = ours.issue(LIN)
    for spelling in other_spellings(token):
        assert is_refused(ours, spelling), spelling
    assert ours.verify(token) == LIN
    assert len(ours._verified) == 1


def test_a_token_longer_than_a_kibibyte_is_refused() -> None:
    def padded(length: int) -> str:
        return signed({**good_claims(), "x": "x" * length})

    lengths = {len(padded(length)): padded(length) for length in range(500, 700)}
    assert access_tokens().verify(lengths[max(length for length in lengths if length <= 1_024)]) == LIN
    assert is_refused(access_tokens(), lengths[min(length for length in lengths if length > 1_024)])


def test_what_is_remembered_of_a_token_is_small_however_long_it_is() -> None:
    ours = access_tokens()
    ours.verify(signed({**good_claims(), "x": "x" * 550}))
    ((digest, _),) = ours._verified.items()
    assert len(digest) == 32


def test_a_token_cannot_choose_its_own_algorithm() -> None:
    ours = access_tokens()
    assert is_refused(ours, signed(good_claims(), algorithm="HS512"))
    header = segment({"alg": "none", "typ": "JWT", "kid": "old"})
    assert is_refused(ours, f"{header}.{segment(good_claims())}.")


@pytest.mark.parametrize("kid", [None, 5, ["old"], {"a": 1}, {}, "", "unknown", "OLD", "/dev/null"])
def test_a_token_of_no_known_key_is_refused(kid: object) -> None:
    assert is_refused(access_tokens(), signed(good_claims(), kid=kid))


def test_a_token_with_one_letter_changed_is_refused() -> None:
    ours = access_tokens()
    token = ours.issue(LIN)
    ours.verify(token)
    for position in range(len(token)):
        letter = "A" if token[position] != "A" else "B"
        assert is_refused(ours, token[:position] + letter + token[position + 1 :])


@given(st.text())
@example("")
@example("..")
@example("é.é.é")
@example("\ud800")
@example(f"{segment([])}.{segment({})}.x")
@example(f"{segment('text')}.{segment({})}.x")
@example(base64.urlsafe_b64encode(b'{"kid":' + b"[" * 50_000).decode("ascii") + ".a.b")
def test_what_is_no_token_is_refused(text: str) -> None:
    assert is_refused(access_tokens(), text)


def test_memory_for_tokens_is_bounded_and_the_oldest_are_still_good(
    monkeypatch: pytest.MonkeyPatch, later: Later
) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED_TOKENS", 10)
    ours = access_tokens()
    issued = [ours.issue(Principal(uuid4(), 1)) for _ in range(50)]
    for token in issued:
        ours.verify(token)
    assert len(ours._verified) == 10
    assert not is_refused(ours, issued[0])


def test_tokens_that_are_refused_are_not_remembered(later: Later) -> None:
    ours = access_tokens()
    token = ours.issue(LIN)
    later(900)
    for candidate in (token, "x.y.z", *(f"x.y.{number}" for number in range(100))):
        assert is_refused(ours, candidate)
    assert len(ours._verified) == 0


def test_a_remembered_token_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = access_tokens()
    token = ours.issue(LIN)
    ours.verify(token)
    monkeypatch.setattr(ours, "_decode", None)
    assert ours.verify(token) == LIN


def test_refresh_tokens_are_random_and_only_their_hash_tells_them_apart() -> None:
    made = {tokens.new_refresh_token() for _ in range(100)}
    assert len(made) == 100
    assert min(len(token) for token in made) >= 43  # 256 bits
    hashes = {tokens.refresh_token_hash(token) for token in made}
    assert len(hashes) == 100
    assert {len(digest) for digest in hashes} == {32}
    token = made.pop()
    assert tokens.refresh_token_hash(token) == tokens.refresh_token_hash(token)
    assert token.encode() not in tokens.refresh_token_hash(token)

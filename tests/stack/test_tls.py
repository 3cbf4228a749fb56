"""TLS from outside: sslyze checks the running stack against Mozilla's intermediate profile."""

from __future__ import annotations

import pytest

from tests.stack.stack import ROOT, CommandFailed, Stack, run

pytestmark = pytest.mark.timeout(120)
SSLYZE = ROOT / ".venv-lint" / "bin" / "sslyze"
"""In a separate environment, which `make test-stack` makes (`make .venv-lint/.ready`)."""


async def _scan(stack: Stack, profile: str) -> str:
    """Run sslyze and return its output; it fails where the server departs from Mozilla's profile."""
    arguments = (f"--mozilla_config={profile}", f"--certinfo_ca_file={stack.ca}", f"localhost:{stack.https_port}")
    return await run(str(SSLYZE), *arguments, with_errors=True, seconds=100)


async def test_it_is_mozillas_intermediate_profile_without_an_exception(stack: Stack) -> None:
    assert "Compliant" in await _scan(stack, "intermediate")


async def test_the_scan_can_fail(stack: Stack) -> None:
    """The modern profile has no TLS 1.2."""
    with pytest.raises(CommandFailed, match=r"TLS versions \{'TLSv1.2'\} are supported, but should be rejected"):
        await _scan(stack, "modern")


@pytest.mark.parametrize("group", ["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"])
async def test_it_agrees_on_each_group_of_the_profile(stack: Stack, group: str) -> None:
    """The first group is post-quantum. The test runs in the container, whose OpenSSL is new enough for it."""
    asked = f"openssl s_client -connect 127.0.0.1:8443 -tls1_3 -groups {group} </dev/null 2>/dev/null"
    assert "Protocol: TLSv1.3" in await stack.inside("nginx", "bash", "-c", asked)


@pytest.mark.parametrize("group", ["secp521r1", "ffdhe2048"])
async def test_it_agrees_on_no_other(stack: Stack, group: str) -> None:
    asked = f"openssl s_client -connect 127.0.0.1:8443 -tls1_3 -groups {group} </dev/null 2>&1 || true"
    assert "handshake failure" in await stack.inside("nginx", "bash", "-c", asked)

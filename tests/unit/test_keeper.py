"""The keeper of the public certificate: its requests to the authority, their frequency, and the files for nginx."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certificates.keeper import (
    ASK_NOW,
    CERTBOT_SECONDS,
    LETS_ENCRYPT,
    LONGEST_RETRY_SECONDS,
    RETRY_SECONDS,
    Keeper,
    Order,
    Places,
    Refused,
    pause_after,
    problem_of,
)
from tests.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
ORDER = Order(("todo.example.com",))
AUTHORITY = Authority("Some authority")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Volumes that are new."""
    made = Places(*(tmp_path / name for name in ("state", "webroot", "certificates", "scratch")))
    for place in (made.state, made.webroot, made.handed_over, made.scratch):
        place.mkdir()
    return made


@pytest.fixture
def keeper(places: Places) -> Keeper:
    """Of one domain."""
    return Keeper(ORDER, places)


def issued(keeper: Keeper, *domains: str) -> None:
    """certbot has a new certificate."""
    live = keeper.places.state / "live" / keeper.order.name
    live.mkdir(parents=True, exist_ok=True)
    certificate, key = AUTHORITY.issue(*(domains or keeper.order.domains))
    (live / "fullchain.pem").write_text(certificate + AUTHORITY.pem)
    (live / "privkey.pem").write_text(key)


# ---- what is asked for


def test_without_domains_the_certificate_is_for_the_host_that_people_reach() -> None:
    order = Order.read({"PUBLIC_URL": "https://Todo.Example.com:8443/", "ACME_DOMAINS": "", "ACME_SERVER": ""})
    assert order == Order(("todo.example.com",), server=LETS_ENCRYPT)


def test_domains_are_what_acme_domains_names_each_once() -> None:
    read = Order.read(
        {"PUBLIC_URL": "https://a.example.com", "ACME_DOMAINS": "b.example.com, C.example.com,,b.example.com"}
    )
    assert read.domains == ("b.example.com", "c.example.com")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "ACME_DOMAINS: name the domains"),
        ({"PUBLIC_URL": "https://localhost"}, "'localhost' is not a domain"),
        ({"PUBLIC_URL": "https://192.0.2.7"}, "'192.0.2.7' is not a domain"),
        ({"ACME_DOMAINS": "*.example.com"}, "needs a DNS challenge"),
        ({"ACME_DOMAINS": "--force.example.com"}, "is not a domain"),
        ({"ACME_DOMAINS": "a.example.com", "ACME_CA_FILE": "/no/such/file"}, "ACME_CA_FILE: cannot read /no/such/file"),
        ({"ACME_DOMAINS": "a.example.com", "ACME_CHECK_SECONDS": "0"}, "ACME_CHECK_SECONDS: must be a whole number"),
        ({"ACME_DOMAINS": "a.example.com", "ACME_RETRY_SECONDS": "soon"}, "ACME_RETRY_SECONDS: must be a whole number"),
    ],
)
def test_what_no_authority_would_take_is_refused_before_it_is_asked(variables: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said.replace("*", r"\*")):
        Order.read(variables)


def test_another_server_means_another_certificate_so_that_a_trial_at_a_staging_server_does_not_stay() -> None:
    assert replace(ORDER, server="https://staging.example/dir").name != ORDER.name


@pytest.mark.parametrize(("variables", "arguments"), [({}, []), ({"ACME_DOMAINS": "a.example.com"}, ["renew"])])
def test_the_program_refuses_in_a_sentence(variables: dict[str, str], arguments: list[str]) -> None:
    command = [sys.executable, "-m", "certificates.keeper", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


# ---- how often


def test_failures_never_come_to_more_than_five_an_hour_which_is_what_lets_encrypt_allows() -> None:
    tries, now = [0.0], 0.0
    for failures in range(1, 40):
        now += pause_after(failures, RETRY_SECONDS, "Some challenges have failed.")
        tries.append(now)
    assert max(sum(start <= moment < start + 3600 for moment in tries) for start in tries) <= 5
    assert tries[-1] - tries[-2] <= LONGEST_RETRY_SECONDS * 1.1


def test_who_is_told_that_it_was_too_often_waits_longest_at_once() -> None:
    said = "urn:ietf:params:acme:error:rateLimited :: too many failed authorizations recently"
    assert pause_after(1, RETRY_SECONDS, said) >= LONGEST_RETRY_SECONDS


def test_hosts_that_failed_together_do_not_try_together() -> None:
    assert len({pause_after(1, RETRY_SECONDS, "") for _ in range(20)}) > 1


def test_a_restart_remembers_its_failures_until_something_else_is_asked_for(keeper: Keeper) -> None:
    keeper._remember(3, time.time() + 500)
    again = Keeper(keeper.order, keeper.places)
    assert 400 < again._not_before() - time.time() <= 500
    corrected = Keeper(replace(keeper.order, domains=("other.example.com",)), keeper.places)
    assert corrected._not_before() == 0


@pytest.mark.parametrize("page", ["production.md", "production.zh-CN.md", "alerts.md", "alerts.zh-CN.md"])
def test_the_pages_name_the_command_that_makes_it_ask_at_once_and_none_that_does_not(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert f"`{ASK_NOW}`" in text
    # `docker kill` with any signal switches the restart policy off, and a restart keeps the pause.
    assert re.findall(r"docker compose (?:kill|restart)[^`]* acme", text) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"order": 1}', "null"])
def test_a_spoilt_memory_of_failures_is_none(keeper: Keeper, text: str) -> None:
    keeper.places.attempts.write_text(text)
    assert keeper._not_before() == 0


# ---- what nginx reads


def test_a_new_certificate_is_handed_over_once_with_a_key_for_nginxs_group_alone(keeper: Keeper) -> None:
    assert not keeper.hand_over(), "there is none yet"
    issued(keeper)
    assert keeper.hand_over()
    assert not keeper.hand_over(), "it is there"
    handed_over = {path.name: path.stat().st_mode & 0o777 for path in keeper.places.handed_over.iterdir()}
    assert handed_over == {"fullchain.pem": 0o644, "privkey.pem": 0o640}
    issued(keeper)
    assert keeper.hand_over(), "a renewal"


def test_a_crash_while_handing_over_leaves_nothing_in_the_way_of_the_next_try(keeper: Keeper) -> None:
    issued(keeper)
    (keeper.places.handed_over / ".privkey.pem.new").write_text("half a k")
    assert keeper.hand_over()
    assert sorted(path.name for path in keeper.places.handed_over.iterdir()) == ["fullchain.pem", "privkey.pem"]


# ---- a round with the real certbot


def test_an_authority_that_cannot_be_reached_is_tried_again_later_and_said_in_one_line(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        keeper.order = replace(keeper.order, server=f"https://127.0.0.1:{nobody.getsockname()[1]}/directory")
        issued(keeper)
        pauses = [keeper.round(), keeper.round()]
    assert RETRY_SECONDS <= pauses[0] < RETRY_SECONDS * 1.1
    assert 2 * RETRY_SECONDS <= pauses[1] < 2 * RETRY_SECONDS * 1.1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == [
        "certificate_handed_over",  # what is there, is handed over all the same
        "certificate_failed",
        "certificate_failed",
    ]
    assert "Connection refused" in lines[1]["problem"]
    assert [line["failures"] for line in lines[1:]] == [1, 2]
    assert lines[1]["level"] == "error"


def test_what_certbot_says_becomes_one_line_without_its_advice_to_people_at_a_terminal() -> None:
    said = """Saving debug log to /tmp/certbot-logs/letsencrypt.log

        Certbot failed to authenticate some domains (authenticator: webroot).
          Detail: DNS problem: NXDOMAIN
        - - - - - - -
        Ask for help or search for solutions at https://community.letsencrypt.org.
        """
    assert problem_of(said) == (
        "Certbot failed to authenticate some domains (authenticator: webroot). Detail: DNS problem: NXDOMAIN"
    )
    assert problem_of("\n") == "certbot failed and gave no reason"


# ---- how it is


def test_it_is_well_with_a_certificate_for_its_domains_and_a_beating_heart(keeper: Keeper) -> None:
    now = datetime.now(UTC)
    assert keeper.ailment(now) == "It has not started yet."
    keeper.places.alive.touch()
    assert keeper.ailment(now) == "There is no certificate yet."
    issued(keeper)
    keeper.hand_over()
    assert keeper.ailment(now) is None


def test_it_is_ill_when_it_does_not_move(keeper: Keeper) -> None:
    issued(keeper)
    keeper.hand_over()
    keeper.places.alive.touch()
    long_ago = time.time() - CERTBOT_SECONDS - 100
    os.utime(keeper.places.alive, (long_ago, long_ago))
    assert "has not moved" in str(keeper.ailment(datetime.now(UTC)))


def test_it_is_ill_when_a_domain_is_missing_in_the_certificate(keeper: Keeper) -> None:
    issued(keeper, "old.example.com")
    keeper.hand_over()
    keeper.places.alive.touch()
    assert keeper.ailment(datetime.now(UTC)) == "The certificate is not for todo.example.com."


def test_it_is_ill_when_less_than_a_sixth_of_the_certificates_life_is_left_but_not_while_it_is_being_renewed(
    keeper: Keeper,
) -> None:
    issued(keeper)
    keeper.hand_over()
    keeper.places.alive.touch()
    end = keeper.not_after()
    assert keeper.ailment(end - timedelta(hours=12)) is None, "a quarter is left"
    assert "is not renewed" in str(keeper.ailment(end - timedelta(hours=6)))


def test_volumes_that_it_cannot_write_to_are_refused(keeper: Keeper, tmp_path: Path) -> None:
    keeper.places = replace(keeper.places, webroot=tmp_path / "nowhere")
    with pytest.raises(Refused, match=r"cannot write to .*nowhere"):
        keeper.places.check()

"""ops/make-secrets.sh and ops/rotate-secrets.sh on a folder of their own, with the roll of processes recorded."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from todo_core.accounts.tokens import AccessTokens, Principal
from todo_core.errors import Unauthenticated
from todo_core.settings import TokenSettings

OPS = Path(__file__).resolve().parents[2] / "ops"
LIN = Principal(uuid4(), 3)
OLD = f"2026-10:{'0123456789abcdef' * 4}"
SECRETS = {
    "database_password",
    "redis_password",
    "token_keys",
    "redis_exporter_passwords",
    "email_password",
    "database_ca",
    "redis_ca",
}


def processes(keys: str) -> AccessTokens:
    """Make the tokens of a process that starts with this file."""
    return AccessTokens(TokenSettings(keys=keys.strip()))


@dataclass
class Host:
    """A host's ./secrets. A roll starts the processes anew: `rolls` has the keys that each found in the file."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> str:
        return (self.folder / "token_keys").read_text(encoding="utf-8").strip()

    @keys.setter
    def keys(self, keys: str) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path = self.folder / "token_keys"
        path.unlink(missing_ok=True)
        path.write_text(f"{keys}\n", encoding="utf-8")
        path.chmod(0o444)

    @property
    def ids(self) -> list[str]:
        return [key.partition(":")[0] for key in self.keys.split(",")]

    @property
    def rolls(self) -> list[str]:
        log = self.folder.with_name("rolls")
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def run(self, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run it, and see that it shows no secret."""
        result = subprocess.run(
            [OPS / script],
            env={
                "PATH": os.environ["PATH"],
                "SECRETS_DIR": str(self.folder),
                "TOKEN_ACCESS_SECONDS": "900",
                "ROLL_COMMAND": f"cat {self.folder}/token_keys >>{self.folder.with_name('rolls')}",
                **self.settings,
                **settings,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        for secret in re.findall(r"[0-9a-f]{64}", "".join([*self.rolls, self.keys] if self.folder.exists() else [])):
            assert secret not in result.stdout + result.stderr
        return result

    def rotate(self, **settings: str) -> str:
        result = self.run("rotate-secrets.sh", **settings)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    def refused(self, **settings: str) -> str:
        """The sentence that it is refused with."""
        result = self.run("rotate-secrets.sh", **settings)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        return result.stderr

    def grow_older(self, seconds: int) -> None:
        """Let time pass."""
        path = self.folder / ".token_keys.signing"
        at = path.stat().st_mtime - seconds
        os.utime(path, (at, at))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "secrets")


@pytest.fixture
def running(host: Host) -> Host:
    """A host whose only key was made by hand."""
    host.keys = OLD
    return host


def test_at_no_moment_of_a_rotation_is_a_token_refused(running: Host) -> None:
    running.rotate()
    stages = [processes(keys) for keys in (OLD, *running.rolls)]
    assert len(stages) == 3
    # While processes are replaced, those of before and after serve side by side, and see each other's tokens.
    for before, after in itertools.pairwise(stages):
        assert before.verify(after.issue(LIN)) == LIN
        assert after.verify(before.issue(LIN)) == LIN


def test_the_old_key_verifies_after_the_rotation_and_not_after_it_is_dropped(running: Host) -> None:
    token = processes(OLD).issue(LIN)
    running.rotate()
    rotated = processes(running.rolls[-1])
    assert rotated.verify(token) == LIN
    running.grow_older(900)
    running.rotate(DROP_OLD="1")
    with pytest.raises(Unauthenticated):
        processes(running.rolls[-1]).verify(token)
    assert processes(running.rolls[-1]).verify(rotated.issue(LIN)) == LIN


def test_after_a_rotation_the_new_key_signs(running: Host) -> None:
    running.rotate()
    newest, old = running.ids
    assert old == "2026-10"
    assert re.fullmatch(r"\d{8}T\d{6}Z", newest)
    with pytest.raises(Unauthenticated):
        processes(OLD).verify(processes(running.rolls[-1]).issue(LIN))


@pytest.mark.parametrize("succeed", [0, 1])
def test_a_rotation_whose_roll_fails_goes_on_with_the_same_key_when_it_is_run_again(
    running: Host, succeed: int
) -> None:
    counter = running.folder.with_name("counter")
    breaks = f'n=$(cat {counter} 2>/dev/null || echo 0); echo $((n + 1)) >{counter}; [ "$n" -lt {succeed} ]'
    assert "run this again" in running.refused(ROLL_COMMAND=breaks)
    ids = set(running.ids)
    assert len(ids) == 2
    running.rotate()
    assert set(running.ids) == ids
    assert running.ids[1] == "2026-10"
    # Every process may still be the one of before: so the new key is made known before it signs, and not after.
    assert len(running.rolls) == 2 - succeed
    assert running.rolls[-1] == running.keys


def test_a_rotation_that_is_asked_for_twice_makes_one_key(running: Host) -> None:
    running.rotate()
    keys = running.keys
    running.rotate()
    assert running.keys == keys


def test_keys_rotate_again_and_again(running: Host) -> None:
    for _ in range(3):
        before = running.ids
        running.rotate()
        running.rotate(DROP_OLD="now")
        assert len(running.ids) == 1
        assert running.ids != before


def test_old_keys_are_not_dropped_while_their_tokens_are_good(running: Host) -> None:
    running.rotate()
    keys = running.keys
    running.grow_older(800)
    assert re.search(r"good for another (100|99|98|97|96|95) s", running.refused(DROP_OLD="1"))
    assert running.keys == keys
    running.rotate(DROP_OLD="now")
    assert running.ids == keys.split(":")[:1]


def test_old_keys_are_not_dropped_before_every_process_signs_with_the_new_one(running: Host) -> None:
    assert "make rotate-secrets" in running.refused(DROP_OLD="1"), "the only key is none that was made here"
    rolled_once = f"[ ! -e {running.folder}/../once ] && touch {running.folder}/../once"
    running.refused(ROLL_COMMAND=rolled_once)
    assert running.ids[1] == "2026-10", "the file is as it will be, and the processes are not"
    assert "It is not certain" in running.refused(DROP_OLD="1")
    assert len(running.ids) == 2


def test_a_drop_whose_roll_fails_is_finished_when_it_is_run_again(running: Host) -> None:
    running.rotate()
    running.grow_older(900)
    running.refused(DROP_OLD="1", ROLL_COMMAND="false")
    rolls = len(running.rolls)
    running.rotate(DROP_OLD="1")
    assert running.rolls[rolls:] == [running.keys]


def test_files_keep_their_mode_and_nothing_else_is_left_in_the_folder(running: Host) -> None:
    (running.folder / "token_keys").chmod(0o440)
    running.rotate()
    running.rotate(DROP_OLD="now")
    assert {path.name for path in running.folder.iterdir()} == {"token_keys", ".token_keys.signing"}
    assert (running.folder / "token_keys").stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize("keys", ["", "no-colon", "a:b,:c"])
def test_a_file_that_holds_no_keys_gets_a_sentence_and_stays(running: Host, keys: str) -> None:
    running.keys = keys
    assert str(running.folder) in running.refused()
    assert running.keys == keys


def test_a_missing_file_gets_a_sentence(host: Host) -> None:
    result = host.run("rotate-secrets.sh")
    assert (result.returncode, result.stderr) == (
        1,
        f"There is no {host.folder}/token_keys that can be read: make secrets\n",
    )


def test_secrets_are_made_once_and_never_written_over(host: Host) -> None:
    first = host.run("make-secrets.sh")
    assert (first.returncode, first.stderr) == (0, "")
    made = {path.name: path.read_text(encoding="utf-8") for path in host.folder.iterdir()}
    assert made.keys() == SECRETS
    assert len({made["database_password"], made["redis_password"], made["token_keys"].partition(":")[2]}) == 3
    again = host.run("make-secrets.sh")
    assert (again.returncode, again.stderr) == (0, "")
    assert made == {path.name: path.read_text(encoding="utf-8") for path in host.folder.iterdir()}
    (host.folder / "redis_password").unlink()
    assert "Made in" in host.run("make-secrets.sh").stdout
    assert (host.folder / "database_password").read_text(encoding="utf-8") == made["database_password"]


def test_secrets_are_readable_in_a_container_and_the_folder_is_its_owners_alone(host: Host) -> None:
    host.run("make-secrets.sh")
    assert host.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in host.folder.iterdir()} == {0o444}


def test_the_made_keys_are_long_enough_for_production_and_rotate(host: Host) -> None:
    host.run("make-secrets.sh")
    before = host.ids
    (secret,) = TokenSettings(keys=host.keys).key_ring.values()
    assert len(secret) == 64
    host.rotate()
    assert host.ids[1:] == before

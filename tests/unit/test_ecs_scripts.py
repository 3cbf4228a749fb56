"""What the scripts of ECS hosts promise where no host is needed to see it: functions, with stand-ins for programs.

tests/deploy carries the whole road out on a bare Debian 12 (`make test-ecs`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ECS = Path(__file__).resolve().parent.parent.parent / "deploy" / "ecs"
NOBODY = 65_534

PRIVATE_USERS = f"""
# As systemd does it: root makes the namespace, and becomes the user inside of it. Where root may not (in a container),
# or nobody is root, the process stays as it is.
import ctypes, os
if os.getuid() == 0 and ctypes.CDLL(None).unshare(0x10000000) == 0:  # CLONE_NEWUSER
    print("private", flush=True)
    os.read(0, 100)
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
else:
    print("plain", flush=True)
os.execv("/bin/sh", ["sh", "-c", "echo mapped; cat"])
"""


class Scripts:
    """install.sh's functions, below a folder that stands for /opt/todo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "releases").mkdir()

    def run(self, script: str) -> tuple[int, str]:
        """Run it with what install.sh has at hand: its exit status, and all that it printed."""
        prelude = [
            "set -euo pipefail",
            f"HERE={ECS} SOURCE={ECS.parent.parent} DOMAIN=localhost PYTHON=python3",
            "WITH_POSTGRESQL='' WITH_REDIS='' CERTBOT_EMAIL='' NGINX_TRUSTED_PROXIES=''",
            *(f". {ECS}/lib/{name}.sh" for name in ("steps", "host", "release", "proxy", "services")),
            f"INSTALLED={self.folder} RELEASES={self.folder}/releases",
        ]
        done = subprocess.run(
            ["bash", "-c", "\n".join([*prelude, script])],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=30,
        )
        return done.returncode, done.stdout

    def add_releases(self, *names: str) -> None:
        """Complete ones."""
        for name in names:
            (self.folder / "releases" / name).mkdir()
            (self.folder / "releases" / name / "complete").touch()

    def links(self) -> dict[str, str | None]:
        """What is served, and what `rollback` would serve."""
        found = {name: self.folder / name for name in ("current", "previous")}
        return {name: path.readlink().name if path.is_symlink() else None for name, path in found.items()}


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """With no release so far."""
    return Scripts(tmp_path)


# ---- Which release a process runs


@pytest.mark.parametrize("who", ["root", "its user"])
def test_the_release_of_a_process_is_seen_on_a_host_and_in_a_container(scripts: Scripts, who: str) -> None:
    # On a host, root alone may look: PrivateUsers=yes. In a container, the process's own user alone.
    look = "readlink() { %s; }; runuser() { %s; }; systemctl() { echo 123; }"
    sees, refused = f"echo {scripts.folder}/releases/first", "return 1"
    stand_ins = look % ((sees, refused) if who == "root" else (refused, sees))
    assert scripts.run(f"{stand_ins}; runs_release todo-api.service first") == (0, "")
    assert scripts.run(f"{stand_ins}; runs_release todo-api.service second")[0] == 1
    assert scripts.run(f"{look % (refused, refused)}; runs_release todo-api.service first")[0] == 1


def test_the_release_of_a_real_process_is_seen_with_private_users_where_this_machine_has_them(scripts: Scripts) -> None:
    scripts.add_releases("first")
    with subprocess.Popen(
        [sys.executable, "-c", PRIVATE_USERS],
        cwd=scripts.folder / "releases" / "first",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() == "private\n":
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{name}").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1\n", encoding="utf-8")
            process.stdin.write("mapped\n")
            process.stdin.flush()
        assert process.stdout.readline() == "mapped\n"
        its_user = 'runuser() { command runuser --user nobody -- "${@:4}"; }'
        answer = scripts.run(f"{its_user}; systemctl() {{ echo {process.pid}; }}; runs_release todo-api.service first")
        process.stdin.close()
        assert answer == (0, "")


# ---- When a release does not work


STAND_INS = """\
systemctl() {
    echo "systemctl $*"
    case $* in "restart todo-api.service") return 1 ;; "show "*) echo 0 ;; esac
}
curl() { return 7; }
sleep() { SECONDS=$((SECONDS + 1)); }
units_are_there() { return 0; }
site_is_there() { return 0; }"""


def test_previous_never_names_the_release_that_did_not_work(scripts: Scripts) -> None:
    scripts.add_releases("a", "b", "c")
    for release in ("a", "b"):
        assert scripts.run(f"switch_to {release}") == (0, "")
    assert scripts.links() == {"current": "b", "previous": "a"}
    assert scripts.run(f"{STAND_INS}; switch_to c; put_into_service c")[0] == 1
    assert scripts.links() == {"current": "b", "previous": "a"}
    # `rollback` to one that does not work any more.
    assert scripts.run(f"{STAND_INS}; switch_to a; put_into_service a")[0] == 1
    assert scripts.links() == {"current": "b", "previous": None}


def test_a_switch_that_was_interrupted_is_taken_back_as_well(scripts: Scripts) -> None:
    scripts.add_releases("a", "b", "c")
    assert scripts.run("switch_to a; switch_to b") == (0, "")
    point = "point() { [ $1 != current ] || exit 9; ln -sfn releases/$2 $INSTALLED/$1; }"
    assert scripts.run(f"{point}; switch_to c")[0] == 9
    assert scripts.links()["current"] == "b"
    assert scripts.run("switch_to c") == (0, "")
    assert scripts.run(f"{STAND_INS}; put_into_service c")[0] == 1
    assert scripts.links() == {"current": "b", "previous": "a"}


def test_the_first_release_has_none_before_it_to_go_back_to(scripts: Scripts) -> None:
    scripts.add_releases("a", "b")
    status, said = scripts.run(f"{STAND_INS}; switch_to a; put_into_service a")
    assert (status, "a does not work, and there is no release before it" in said) == (1, True)
    assert scripts.run(f"{STAND_INS}; switch_to b; put_into_service b")[0] == 1
    assert scripts.links() == {"current": "a", "previous": None}


def test_going_back_is_carried_through_even_if_systemd_cannot_start_the_api(scripts: Scripts) -> None:
    scripts.add_releases("a", "b")
    status, said = scripts.run(f"{STAND_INS}; switch_to a; switch_to b; put_into_service b")
    assert status == 1
    assert said.count("systemctl restart todo-worker.service todo-beat.service\n") == 2
    assert "neither b nor a works" in said


@pytest.mark.parametrize("step", ["put_units", "put_site"])
def test_going_back_puts_back_units_and_site_whatever_becomes_of_either(scripts: Scripts, step: str) -> None:
    scripts.add_releases("a", "b")
    stand_ins = f"""{STAND_INS}
    units_are_there() {{ return 1; }}
    site_is_there() {{ return 1; }}
    put_units() {{ echo "put_units $1"; }}
    put_site() {{ echo "put_site $1"; }}
    {step}() {{ echo "{step} $1"; fail "it failed"; }}
    services_work() {{ [ "$1" = a ]; }}"""
    status, said = scripts.run(f"{stand_ins}; switch_to a; switch_to b; put_into_service b")
    assert status == 1
    for done in ("put_units", "put_site"):
        assert f"{done} {scripts.folder}/releases/a\n" in said
    assert "b did not work, and a serves again" in said


def test_whatever_nginx_refuses_comes_before_anything_of_systemds_is_touched(scripts: Scripts) -> None:
    scripts.add_releases("a")
    status, said = scripts.run("ensure_proxy() { fail 'nginx refuses it'; }; put_units() { echo touched; }; activate a")
    assert (status, "touched" in said, "nginx refuses it" in said) == (1, False, True)


def test_the_api_gets_its_minute_to_become_ready_and_no_more(scripts: Scripts) -> None:
    stand_ins = "systemctl() { echo active; }; sleep() { SECONDS=$((SECONDS + 1)); }"
    assert scripts.run(f"{stand_ins}; curl() {{ ((SECONDS >= 50)); }}; api_is_ready") == (0, "")
    assert scripts.run(f"{stand_ins}; curl() {{ ((SECONDS >= 70)); }}; api_is_ready") == (1, "")


# ---- What is said, and what is written


def test_a_release_without_a_site_is_refused_with_a_sentence(scripts: Scripts) -> None:
    templates = scripts.folder / "release" / "nginx" / "templates"
    templates.mkdir(parents=True)
    for path in ("headers.inc", "problem.inc", "proxy.inc"):
        (templates.parent / path).touch()
    for number in ("10-settings", "20-problems", "30-servers"):
        (templates / f"{number}.conf.template").touch()
    said = scripts.run(f'ensure "the site" site_is_there {scripts.folder}/release -- fail "it is not there"')
    assert said == (1, "  do     the site\ninstall.sh: it is not there\n")


def test_an_empty_secret_is_filled_and_a_full_one_stays(scripts: Scripts) -> None:
    put = "put() { cp $1 $2; }; echo new | put_new secret 640 root:todo"
    for before, after in ((None, "new\n"), ("", "new\n"), ("mine\n", "mine\n")):
        path = scripts.folder / "secret"
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_text(before, encoding="utf-8")
        assert scripts.run(put) == (0, "")
        assert path.read_text(encoding="utf-8") == after

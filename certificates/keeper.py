"""Gets the public certificate and keeps it current: the program of the service `acme`.

    python -m certificates.keeper            ask, hand over, wait, ask again; SIGHUP: ask now
    python -m certificates.keeper health     whether the certificate is there and is being looked after

certbot speaks with the authority, puts its answers where nginx serves them, and knows when to renew: when the authority
says so (ARI), or at two thirds of the certificate's life where it says nothing. This program decides how often certbot
may ask, hands new files to nginx, which notices by itself, and says in one line of JSON what became of each round.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
CHECK_SECONDS = 21_600
"""Between two rounds, at least: authorities ask to be asked no sooner (ARI's Retry-After is six hours)."""
RETRY_SECONDS = 300
"""After the first failure; doubled with each. In no hour are there more than four: Let's Encrypt allows five."""
LONGEST_RETRY_SECONDS = 21_600
ASK_NOW = "docker compose exec acme sh -c 'kill -HUP 1'"
"""What an operator says. Not `docker compose kill -s HUP`: Docker then takes the container for one that was stopped by
hand, and starts it no more when it ends."""
CERTBOT_SECONDS = 900
HEARTBEAT_SECONDS = 20
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?")
_NOISE = re.compile(r"^(Saving debug log|Ask for help|See the logfile|[- ]*$)")


class Refused(Exception):
    """It cannot work like this; the text says what to change."""


@dataclass(frozen=True)
class Order:
    """What is asked for, and how often."""

    domains: tuple[str, ...]
    email: str = ""
    server: str = LETS_ENCRYPT
    ca_file: str = ""
    """The file of the CA that signed the authority's own certificate, where that is not a public one."""
    check_seconds: int = CHECK_SECONDS
    retry_seconds: int = RETRY_SECONDS

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Order:
        """From ACME_DOMAINS, ... or, without those, for the host of PUBLIC_URL. Empty values count as none."""
        host = urlsplit(environment.get("PUBLIC_URL", "")).hostname or ""
        domains = tuple(
            dict.fromkeys(name.strip().lower() for name in (environment.get("ACME_DOMAINS") or host).split(",") if name)
        )
        if not domains:
            raise Refused("ACME_DOMAINS: name the domains that the certificate is for, comma-separated.")
        for name in domains:
            if name.startswith("*."):
                raise Refused(f"ACME_DOMAINS: {name} needs a DNS challenge, and this service answers over HTTP only.")
            if not _NAME.fullmatch(name):
                raise Refused(f"ACME_DOMAINS: '{name}' is not a domain that an authority can look up.")
        ca_file = environment.get("ACME_CA_FILE", "")
        if ca_file and not os.access(ca_file, os.R_OK):
            raise Refused(f"ACME_CA_FILE: cannot read {ca_file}.")
        return cls(
            domains,
            environment.get("ACME_EMAIL", ""),
            environment.get("ACME_SERVER") or LETS_ENCRYPT,
            ca_file,
            _seconds(environment, "ACME_CHECK_SECONDS", CHECK_SECONDS),
            _seconds(environment, "ACME_RETRY_SECONDS", RETRY_SECONDS),
        )

    @property
    def name(self) -> str:
        """What certbot calls the certificate. One a server: who has tried a staging server gets a real one at once."""
        return f"todo-{hashlib.sha256(self.server.encode()).hexdigest()[:8]}"

    @property
    def digest(self) -> str:
        """Differs if something else is asked for."""
        return hashlib.sha256(repr((self.domains, self.email, self.server, self.ca_file)).encode()).hexdigest()


def _seconds(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 86_400:
        raise Refused(f"{name}: must be a whole number of seconds, at most a day.")
    return int(text)


@dataclass(frozen=True)
class Places:
    """Where things are; in the container, volumes and its /tmp."""

    state: Path = Path("/var/lib/acme")
    """Account and certificates, as certbot keeps them."""
    webroot: Path = Path("/var/www/acme")
    handed_over: Path = Path("/certificates")
    """fullchain.pem and privkey.pem, as nginx reads them."""
    scratch: Path = Path("/tmp")  # noqa: S108 - the container's own

    @property
    def attempts(self) -> Path:
        """How often it has failed: a container that is restarted again and again must not ask each time."""
        return self.state / "attempts.json"

    @property
    def alive(self) -> Path:
        """Touched as long as this program runs."""
        return self.scratch / "keeper-alive"

    def check(self) -> None:
        """Refuse volumes that this user cannot write to."""
        for place in (self.state, self.webroot, self.handed_over, self.scratch):
            if not os.access(place, os.W_OK):
                raise Refused(f"User {os.getuid()} cannot write to {place}. Was the volume made by another service?")


def pause_after(failures: int, first: int, output: str) -> float:
    """Seconds until the next try. Who is told that it was too often waits longest."""
    longest = "rateLimited" in output or "too many" in output.lower()
    pause = LONGEST_RETRY_SECONDS if longest else min(LONGEST_RETRY_SECONDS, first * 2 ** min(failures - 1, 20))
    return pause * random.uniform(1, 1.1)  # noqa: S311 - so that hosts that failed together do not try together


def problem_of(output: str) -> str:
    """What certbot says went wrong, in one line."""
    lines = [line.strip() for line in output.splitlines()]
    return " ".join(line for line in lines if not _NOISE.match(line))[:1_000] or "certbot failed and gave no reason"


@dataclass
class Keeper:
    """Looks after one certificate."""

    order: Order
    places: Places = field(default_factory=Places)
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: bool = False
    _due: float = 0.0

    def run(self) -> None:
        """Until SIGTERM, which lets a round that is under way come to its end."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        signal.signal(signal.SIGHUP, lambda *_: self._ask_now())
        self._due = self._not_before()
        if (seconds := self._due - time.time()) > 0:
            say(
                "info",
                "waiting_after_failures",
                seconds=round(seconds),
                hint=f"to try now: {ASK_NOW}",
            )
        while not self._stopping:
            self.places.alive.touch()
            if time.time() >= self._due:
                self._due = time.time() + self.round()
            self._wake.wait(min(max(self._due - time.time(), 0), HEARTBEAT_SECONDS))
            self._wake.clear()

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def _ask_now(self) -> None:
        self._due = 0.0
        self._wake.set()

    def round(self) -> float:
        """Ask certbot once, hand over what is new, and return the seconds until the next round."""
        failed, output = self._certbot()
        try:
            # Also after a failure, and without a renewal: the volume may be a new one.
            changed = self.hand_over()
        except OSError as error:
            failed, output, changed = True, f"{output}\nCannot hand the certificate over: {error}", False
        if changed:
            say("info", "certificate_handed_over", domains=self.order.domains, not_after=self.not_after().isoformat())
        if failed:
            failures = int(self._attempts().get("failures", 0)) + 1
            pause = pause_after(failures, self.order.retry_seconds, output)
            self._remember(failures, time.time() + pause)
            say(
                "error",
                "certificate_failed",
                domains=self.order.domains,
                problem=problem_of(output),
                failures=failures,
                retry_seconds=round(pause),
            )
            return pause
        self.places.attempts.unlink(missing_ok=True)
        if not changed:
            say("info", "certificate_kept", domains=self.order.domains, not_after=self.not_after().isoformat())
        return self.order.check_seconds * random.uniform(1, 1.25)  # noqa: S311 - at no fixed hour

    def _certbot(self) -> tuple[bool, str]:
        # One command for the first certificate, a renewal that is due, and a change of domains.
        command = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--keep-until-expiring"]
        command += ["--renew-with-new-domains", "--cert-name", self.order.name, "--server", self.order.server]
        command += ["--webroot", "--webroot-path", str(self.places.webroot), "--key-type", "ecdsa"]
        command += ["--config-dir", str(self.places.state), "--work-dir", str(self.places.scratch / "certbot")]
        command += ["--logs-dir", str(self.places.scratch / "certbot-logs"), "--max-log-backups", "0"]
        email = ["--email", self.order.email, "--no-eff-email"]
        command += email if self.order.email else ["--register-unsafely-without-email"]
        for domain in self.order.domains:
            command += ["--domain", domain]
        environment = dict(os.environ) | ({"REQUESTS_CA_BUNDLE": self.order.ca_file} if self.order.ca_file else {})
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program; domains are checked
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=CERTBOT_SECONDS,
                env=environment,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return True, str(error)
        return done.returncode != 0, f"{done.stdout}\n{done.stderr}"

    # ---- What nginx reads

    def hand_over(self) -> bool:
        """Write both files anew if they differ from certbot's; true if they did.

        Each appears at once, under its name. nginx looks at both, and takes no key that is not the certificate's.
        """
        live = self.places.state / "live" / self.order.name
        changed = False
        for name, mode in (("privkey.pem", 0o640), ("fullchain.pem", 0o644)):
            source, target = live / name, self.places.handed_over / name
            if not source.exists():
                return False
            new = source.read_bytes()
            if target.exists() and target.read_bytes() == new:
                continue
            changed = True
            beside = target.with_name(f".{name}.new")
            beside.unlink(missing_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(new)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        return changed

    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.places.handed_over / "fullchain.pem").read_bytes())

    def not_after(self) -> datetime:
        """The end of the certificate that nginx has."""
        return self._certificate().not_valid_after_utc

    def ailment(self, now: datetime) -> str | None:
        """What is wrong, if something is."""
        try:
            age = time.time() - self.places.alive.stat().st_mtime
        except FileNotFoundError:
            return "It has not started yet."
        if age > CERTBOT_SECONDS + 3 * HEARTBEAT_SECONDS:
            return f"It has not moved for {age:.0f} seconds."
        try:
            certificate = self._certificate()
        except FileNotFoundError:
            return "There is no certificate yet."
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if missing := set(self.order.domains) - set(names.get_values_for_type(x509.DNSName)):
            return f"The certificate is not for {', '.join(sorted(missing))}."
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        # Renewal begins with a third left. With a sixth left it has failed for long enough.
        if certificate.not_valid_after_utc - now < life / 6:
            return f"The certificate ends on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC and is not renewed."
        return None

    # ---- What is remembered over a restart

    def _attempts(self) -> dict[str, float]:
        try:
            found = json.loads(self.places.attempts.read_text(encoding="utf-8"))
            # An older failure, or one that has been corrected since, had other reasons.
            return (
                {"failures": found["failures"], "not_before": found["not_before"]}
                if found["order"] == self.order.digest
                else {}
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def _not_before(self) -> float:
        return min(float(self._attempts().get("not_before", 0)), time.time() + 2 * LONGEST_RETRY_SECONDS)

    def _remember(self, failures: float, not_before: float) -> None:
        text = json.dumps({"order": self.order.digest, "failures": failures, "not_before": not_before})
        beside = self.places.attempts.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.places.attempts)


def say(level: str, event: str, **more: object) -> None:
    """One line of JSON, as our other processes write them."""
    line = {"event": event, **more, "level": level, "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
    print(json.dumps(line, ensure_ascii=False), flush=True)


def main(arguments: list[str]) -> int:
    """Run, or tell how it is."""
    os.umask(0o027)
    try:
        keeper = Keeper(Order.read(os.environ))
        if arguments == ["health"]:
            ailment = keeper.ailment(datetime.now(UTC))
            print(ailment or "Well.")
            return 1 if ailment else 0
        if arguments:
            raise Refused("usage: python -m certificates.keeper [health]")
        keeper.places.check()
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 2
    keeper.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

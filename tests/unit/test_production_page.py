"""docs/production: what it promises is what the files and programs do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = pytest.mark.parametrize("page", ["production.md", "production.zh-CN.md"])


def lines(page: str, about: str) -> str:
    """The paragraph or item that holds this."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (only,) = [part for part in re.split(r"\n(?=\n|\* |\d\. )", text) if about in part]
    return only


@PAGES
def test_event_streams_outlast_a_reload_for_as_long_as_nginx_lets_them(page: str) -> None:
    (seconds,) = re.findall(
        r"^worker_shutdown_timeout (\d+)s;$", (ROOT / "nginx/nginx.conf").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert re.findall(r"(\d+) (?:seconds|秒)", lines(page, "最多再持续" if "zh" in page else "Event streams")) == [
        seconds
    ]


@PAGES
def test_whoever_takes_old_keys_away_is_told_whom_it_reaches(page: str) -> None:
    # ops/rotate-secrets.sh says the same, at its head.
    rotation = lines(page, "DROP_OLD=1")
    assert "TOKEN_ACCESS_SECONDS" in rotation
    assert re.search(r"links in mails|邮件中的链接", rotation)


@PAGES
def test_whoever_changes_the_databases_password_is_told_of_the_answers_that_may_fail(page: str) -> None:
    assert "503" in lines(page, "WHAT=database")

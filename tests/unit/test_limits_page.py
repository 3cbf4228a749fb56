"""The page of limits: its settings and bounds are the real ones, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from todo_api.middleware import BODY_SECONDS, UPLOADING_BYTES
from todo_api.protocol import CONNECTIONS, HEAD_BYTES, HEAD_FIELDS, HEAD_SECONDS, PIPELINED_REQUESTS
from todo_core.accounts.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH
from todo_core.accounts.signing import LONGEST_TOKEN
from todo_core.accounts.tokens import REMEMBERED_TOKENS
from todo_core.preferences.service import MOST_DEFAULTS
from todo_core.reminders.service import MOST_REMINDERS
from todo_core.settings import PasswordSettings, RateLimitSettings, Settings, StreamSettings, variable_name
from todo_core.values import DESCRIPTION_LENGTH, TITLE_LENGTH
from todo_core.webhooks.service import MOST_WEBHOOKS, URL_LENGTH

ROOT = Path(__file__).parents[2]
PAGES = ("docs/limits.md", "docs/limits.zh-CN.md")
REQUESTS = [
    *(HEAD_BYTES, HEAD_FIELDS, HEAD_SECONDS, BODY_SECONDS, UPLOADING_BYTES, CONNECTIONS, PIPELINED_REQUESTS),
    *(LONGEST_TOKEN, REMEMBERED_TOKENS),
]
CONTRACT = [MOST_REMINDERS, MOST_DEFAULTS, MOST_WEBHOOKS, TITLE_LENGTH, DESCRIPTION_LENGTH, URL_LENGTH]


def rows(page: str) -> list[tuple[str, str]]:
    """Bound and setting of each row."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    return [(row[2].split(" ")[0].split("，")[0].strip(","), row[3].strip("`")) for row in cells if row[2] != "---"]


def defaults() -> dict[str, str]:
    """What each setting of nginx and of the services is without being set."""
    script = (ROOT / "nginx" / "start.sh").read_text(encoding="utf-8")
    found = dict(re.findall(r'\$\{(NGINX_\w+):=([^}]*)\}"', script))
    for concern in Settings.CONCERNS:
        for name, field in concern.model_fields.items():
            default = field.default
            found[variable_name(concern, name)] = str(default).lower() if isinstance(default, bool) else str(default)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_bound_on_the_page_is_the_settings_default(page: str) -> None:
    known = {**defaults(), "PASSWORD_THREADS": {"": "cores", ".zh-CN": "核数"}[page[len("docs/limits") : -len(".md")]]}
    named = {setting: bound for bound, setting in rows(page) if re.fullmatch(r"[A-Z_]+", setting)}
    assert named == {setting: known[setting] for setting in named}


@pytest.mark.parametrize("page", PAGES)
def test_every_limit_has_its_row(page: str) -> None:
    named = {setting for _, setting in rows(page)}
    concerns = (RateLimitSettings, PasswordSettings)
    expected = {variable_name(concern, name) for concern in concerns for name in concern.model_fields}
    expected |= {variable_name(StreamSettings, name) for name in ("per_account", "most")}
    expected |= {name for name in defaults() if name.startswith("NGINX_") and re.search("BURST|SECOND$|NECTIONS", name)}
    assert expected - {"PASSWORD_BCRYPT_COST"} <= named


@pytest.mark.parametrize("page", PAGES)
def test_bounds_without_a_setting_are_the_codes(page: str) -> None:
    fixed = [bound for bound, setting in rows(page) if not setting]
    assert [int(bound) for bound in fixed[-16:]] == [*REQUESTS, *CONTRACT, MINIMUM_LENGTH]
    assert str(MAXIMUM_LENGTH) in (ROOT / page).read_text(encoding="utf-8")

"""nginx's own answers have the API's texts: the words in its templates are those of messages.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from todo_api.messages import PROBLEMS, Language, problem_text

NGINX = Path(__file__).resolve().parent.parent.parent / "nginx"
LIMIT = "1048576"
OWN = {"timeout"}
"""Codes that only nginx has: the API does not know that it is too slow."""


def _filled(name: str) -> str:
    text = (NGINX / name).read_text(encoding="utf-8").replace("${NGINX_MAX_BODY_BYTES}", LIMIT)
    return text.replace("    include /etc/nginx/todo/refused.inc;\n", "")


def _words() -> dict[str, dict[Language, str]]:
    """Each variable's members in either language, by the variable's name."""
    maps = re.findall(
        r"map \$todo_zh \$todo_(\w+) \{\s*default '(.*)';\s*1 '(.*)';\s*\}",
        _filled("templates/20-problems.conf.template"),
    )
    return {name: {"en": english, "zh": chinese} for name, english, chinese in maps}


def _answers() -> list[tuple[str, str]]:
    """Each status that nginx answers with a body of its own, and that body."""
    refused = _filled("refused.inc")
    answers = re.findall(r"return (\d+) '(\{.*\})';", _filled("templates/30-servers.conf.template"))
    ((_, body),) = re.findall(r"return (\d+) '(\{.*\})';", refused)
    statuses = " ".join(re.findall(r"^error_page ([\d ]+) (?:=400 )?/.refused;$", refused, re.MULTILINE)).split()
    # nginx's own 494 and 431 are shown as 400.
    return answers + [(status, body.replace("$status", status)) for status in statuses if status not in {"431", "494"}]


ANSWERS = _answers()


@pytest.mark.parametrize(("status", "body"), ANSWERS, ids=[status for status, _ in ANSWERS])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_answer_of_nginx_is_the_apis_problem_document(status: str, body: str, language: Language) -> None:
    words = _words()
    filled = re.sub(r"\$todo_(\w+),", lambda found: f"{words[found[1]][language]},", body)
    document = json.loads(filled.replace("$todo_request_id", "an-id"))
    code = document["code"]
    assert set(document) == {"type", "title", "status", "detail", "code", "request_id"}
    assert document["type"] == f"urn:todo:problem:{code}"
    assert document["status"] == int(status)
    if code in OWN:
        assert code not in PROBLEMS
        return
    assert (document["title"], document["detail"]) == problem_text(code, language, {"limit": LIMIT})
    assert PROBLEMS[code].status == int(status) or code == "http_error"


def test_every_status_that_nginx_may_answer_has_a_body_of_that_status() -> None:
    servers = _filled("templates/30-servers.conf.template")
    for before, given, location in re.findall(r"error_page ([\d ]+) (=\d* )?@(\w+);", servers):
        (block,) = re.findall(rf"\n    location @{location} \{{\n(.*?)\n    \}}", servers, re.DOTALL)
        answered = set(re.findall(r"return (\d+) ", block))
        # `=` alone takes the status of the location, `=503` says it, and without either it stays what it was.
        shown = {given.strip("= ")} if given.strip("= ") else {before}
        assert given.strip() == "=" or answered == shown, f"error_page {before} {given}@{location}"


def test_every_word_is_used() -> None:
    used = {name for _, body in ANSWERS for name in re.findall(r"\$todo_(\w+),", body)}
    assert used == set(_words())
    assert len(ANSWERS) >= 7

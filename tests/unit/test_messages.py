"""The API's messages: complete in both languages, and answered in the requested one."""

from __future__ import annotations

import string
from collections.abc import Iterator
from http import HTTPStatus
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo_api.messages import PROBLEMS, RULES, preferred_language, problem_text, rule_text
from todo_api.problems import _RULE_OF_ERROR_TYPE
from todo_core.errors import AppError

HAN = range(0x4E00, 0xA000)
PARAMS: dict[str, object] = {
    "limit": 1_048_576,
    "expected": "application/json",
    "min_length": 10,
    "max_length": 128,
    "ge": 1,
    "le": 100,
    "most": 10,
    "nearest": "Asia/Shanghai",
    "bytes": 32_768,
    "fields": 100,
}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def has_chinese(text: str) -> bool:
    return any(ord(character) in HAN for character in text)


def kinds_of(error: type[AppError]) -> Iterator[type[AppError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from kinds_of(kind)


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_problem_has_a_title_and_a_detail_in_each_language(code: str) -> None:
    problem = PROBLEMS[code]
    assert HTTPStatus(problem.status) >= 400
    for english, chinese in zip(problem.en, problem.zh, strict=True):
        assert english.strip() == english != ""
        assert not has_chinese(english)
        assert has_chinese(chinese)
        assert placeholders(english) == placeholders(chinese) <= PARAMS.keys()
    assert problem_text(code, "en", PARAMS) != problem_text(code, "zh", PARAMS)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_sentence_in_each_language(rule: str) -> None:
    english, chinese = RULES[rule]
    assert english.strip() == english != ""
    assert not has_chinese(english)
    assert has_chinese(chinese)
    assert placeholders(english) == placeholders(chinese) <= PARAMS.keys()
    assert "{" not in rule_text(rule, "en", PARAMS) + rule_text(rule, "zh", PARAMS)


def test_every_error_that_a_person_can_meet_has_words() -> None:
    import_module("todo_api.main")  # and with it all that can be raised
    codes = {kind.code for kind in kinds_of(AppError) if kind.__module__.startswith("todo_")}
    assert len(codes) > 10
    assert codes - PROBLEMS.keys() == set()


def test_every_rule_that_pydantic_checks_has_words() -> None:
    assert set(_RULE_OF_ERROR_TYPE.values()) - RULES.keys() == set()


def test_the_words_are_filled_in() -> None:
    assert rule_text("max_length", "en", {"max_length": 200}) == "must have at most 200 characters"
    assert rule_text("max_length", "zh", {"max_length": 200}) == "最多 200 个字符"
    assert problem_text("body_too_large", "en", {"limit": 5})[1] == "A request body may have at most 5 bytes."


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("en", "en"),
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("zh-Hant-TW", "zh"),
        ("ZH-cn", "zh"),
        ("fr", "en"),
        ("fr, zh;q=0.1", "zh"),
        ("*", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        ("en;q=0.5, zh", "zh"),
        ("en;q=0.5,zh;q=0.5", "en"),  # as wanted as each other: the first
        ("zh;q=0.5,en;q=0.5", "zh"),
        ("zh;q=0", "en"),
        ("zh;q=0, en;q=0", "en"),
        ("zh;q=0, en;q=0.1", "en"),
        ("fr, de", "en"),
        ("*;q=0.5, zh;q=0.6", "zh"),
        ("*;q=0.5, zh;q=0.1", "en"),
        ("zh ; q=0.9 , en ; q=0.1", "zh"),
        ("zh;q=0.001", "zh"),
        ("zh;q=, en", "en"),
        ("zh;q=much", "en"),
        ("zh;level=1", "en"),
        (",,;,zh", "zh"),
        ("zhx", "en"),
        ("english", "en"),
        ("zh;q=nan, en;q=0.1", "en"),
    ],
)
def test_the_language_is_the_one_asked_for(header: str, language: str) -> None:
    assert preferred_language(header) == language


@given(st.text())
def test_any_header_is_answered_in_some_language(header: str) -> None:
    assert preferred_language(header) in {"en", "zh"}

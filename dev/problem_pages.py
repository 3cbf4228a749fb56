"""The pages of problem codes, docs/problems.md and docs/problems.zh-CN.md: what each code means and what to do then.

Status and words are those that the API answers with; only what a client does is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from todo_api.messages import PROBLEMS, RULES, Language

_HEADS: Mapping[Language, tuple[str, str, str, str]] = {
    "en": (
        "# Problem codes\n\n[中文](problems.zh-CN.md)\n\nEvery error is a problem document (RFC 9457). Decide by its"
        " `code`, which never changes; show `title` and `detail` to people.\nThis page is written by `make openapi`.",
        "| code | status | meaning | what a client does |",
        "## Rules\n\nEach entry of `errors` names a field and the `rule` that it breaks. Show its `detail` beside it.",
        "| rule | the field… |",
    ),
    "zh": (
        "# 错误代码\n\n[English](problems.md)\n\n所有错误都是问题文档（RFC 9457）。程序应根据 `code` 判断，它不会改变；"
        "`title` 和 `detail` 供人阅读。\n本页由 `make openapi` 生成。",
        "| 代码 | 状态码 | 含义 | 客户端应如何处理 |",
        "## 规则\n\n`errors` 的每一项指出一个字段及其违反的 `rule`。请将 `detail` 显示在该字段旁。",
        "| 规则 | 字段要求 |",
    ),
}

_MARK = ("Mark the fields, and let the person correct them.", "标出这些字段，让用户修改。")
_MEND = ("Mend the program: trying again is of no use.", "修正程序，重试没有用。")
_WAIT = ("Wait as long as `Retry-After` says, then try again.", "等待 `Retry-After` 所示的秒数后重试。")
_REMOVE = ("Remove it from what is shown.", "从界面上移除它。")
_SIGN_IN = ("Ask the person to sign in again.", "请用户重新登录。")

REACTIONS: Mapping[str, tuple[str, str]] = {
    "validation_failed": _MARK,
    "malformed_body": _MEND,
    "unauthenticated": (
        "Refresh the access token once and repeat the request; if that fails, ask the person to sign in.",
        "刷新一次访问令牌并重发请求；仍然失败则请用户登录。",
    ),
    "invalid_grant": (
        "After a password: ask for it again. After a refresh token: ask the person to sign in.",
        "用密码登录时：请用户重新输入。用刷新令牌时：请用户重新登录。",
    ),
    "refresh_token_reused": _SIGN_IN,
    "invalid_request": _MEND,
    "unsupported_grant_type": _MEND,
    "invalid_link": ("Offer to send a new link.", "提供重新发送链接的选项。"),
    "forbidden": ("Say so, and do not try again.", "告知用户，不要重试。"),
    "wrong_password": ("Ask for the current password again.", "请用户重新输入当前密码。"),
    "not_found": _MEND,
    "todo_not_found": _REMOVE,
    "notification_not_found": _REMOVE,
    "webhook_not_found": _REMOVE,
    "method_not_allowed": _MEND,
    "conflict": _MARK,
    "too_many_webhooks": ("Ask the person to delete a webhook first.", "请用户先删除一个 Webhook。"),
    "already_verified": ("Read the account again, and show it as verified.", "重新读取账户，并显示为已验证。"),
    "precondition_failed": (
        "Read it again, show both versions or merge them, and send the new `ETag`.",
        "重新读取，显示两个版本或合并，再带上新的 `ETag` 发送。",
    ),
    "body_too_large": ("Send less.", "减少发送的内容。"),
    "request_timeout": ("Try again.", "重试。"),
    "headers_too_large": ("Send fewer or shorter headers.", "减少请求头的数量或长度。"),
    "unsupported_media_type": _MEND,
    "too_many_requests": _WAIT,
    "mailed_recently": _WAIT,
    "too_many_mails": _WAIT,
    "too_many_streams": ("Close a stream, or share one among the tabs.", "关闭一个事件流，或让多个标签页共用一个。"),
    "internal_error": (
        "Say that it went wrong and show `request_id`; read before a repeated POST, as it may have taken effect.",
        "告知用户出错并显示 `request_id`；重发 POST 之前先读取，因为它可能已经生效。",
    ),
    "unavailable": _WAIT,
    "not_ready": ("For probes: send no requests to this process yet.", "供探针使用：暂时不要向该进程发送请求。"),
    "http_error": _MEND,
}
"""What a client does, in English and in Chinese."""


def pages(folder: Path) -> dict[Path, str]:
    """The text of each page."""
    return {folder / "problems.md": _page("en"), folder / "problems.zh-CN.md": _page("zh")}


def _page(language: Language) -> str:
    head, problems_row, rules, rules_row = _HEADS[language]
    which = 0 if language == "en" else 1
    lines = [head, "", problems_row, "|---|---|---|---|"]
    for code, problem in PROBLEMS.items():
        title, detail = problem.en if language == "en" else problem.zh
        stop = ". " if language == "en" else "。"
        lines.append(f"| `{code}` | {problem.status} | {title}{stop}{detail} | {REACTIONS[code][which]} |")
    lines += ["", rules, "", rules_row, "|---|---|"]
    lines += [f"| `{rule}` | {words[which]} |" for rule, words in RULES.items()]
    return "\n".join(lines) + "\n"

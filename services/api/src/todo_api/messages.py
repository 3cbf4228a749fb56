"""What the API says when something is wrong, in each language it speaks. Codes are stable, words are not.

A problem has a title and a detail; a rule has one sentence with the rule's own values in it.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Language = Literal["en", "zh"]


class Problem(NamedTuple):
    """One kind of problem: its HTTP status and its words."""

    status: int
    en: tuple[str, str]
    zh: tuple[str, str]


PROBLEMS: Mapping[str, Problem] = {
    "validation_failed": Problem(
        422,
        ("Some fields are not valid", "Each of them is listed under `errors` with the rule that it breaks."),
        ("部分字段无效", "`errors` 中列出了每个无效字段及其违反的规则。"),
    ),
    "malformed_body": Problem(
        400,
        ("The body cannot be read", "It is not valid JSON in UTF-8."),
        ("无法读取请求体", "请求体不是有效的 UTF-8 JSON。"),
    ),
    "unauthenticated": Problem(
        401,
        ("Sign in first", "This needs a valid access token in the header `Authorization: Bearer …`."),
        ("请先登录", "此操作需要在 `Authorization: Bearer …` 请求头中提供有效的访问令牌。"),
    ),
    "invalid_grant": Problem(
        400,
        ("Sign-in failed", "The name, the password or the refresh token is not right, or the token has expired."),
        ("登录失败", "用户名、密码或刷新令牌不正确，或令牌已过期。"),
    ),
    "refresh_token_reused": Problem(
        400,
        ("This refresh token was used before", "To be safe, its whole session has ended. Sign in again."),
        ("该刷新令牌已被使用过", "为安全起见，整个会话已终止，请重新登录。"),
    ),
    "invalid_request": Problem(
        400,
        ("The token request is not complete", "The fields that are missing or wrong are listed under `errors`."),
        ("令牌请求不完整", "`errors` 中列出了缺失或错误的字段。"),
    ),
    "unsupported_grant_type": Problem(
        400,
        ("This grant type is not supported", "`grant_type` is either `password` or `refresh_token`."),
        ("不支持此授权类型", "`grant_type` 只能是 `password` 或 `refresh_token`。"),
    ),
    "invalid_link": Problem(
        400,
        ("This link does not work", "It has expired, or it is not whole. Ask for a new one."),
        ("此链接无效", "链接已过期或不完整，请重新获取。"),
    ),
    "forbidden": Problem(
        403,
        ("This is not allowed", "The account may not do this."),
        ("不允许此操作", "该账户无权执行此操作。"),
    ),
    "wrong_password": Problem(
        403,
        ("The password is not right", "This change needs the account's current password."),
        ("密码不正确", "此更改需要账户的当前密码。"),
    ),
    "not_found": Problem(
        404,
        ("There is nothing here", "No resource has this address."),
        ("此处没有内容", "该地址没有对应的资源。"),
    ),
    "todo_not_found": Problem(
        404,
        ("There is no such todo", "You have no todo with this id."),
        ("没有这个待办事项", "您没有此 ID 对应的待办事项。"),
    ),
    "notification_not_found": Problem(
        404,
        ("There is no such notification", "You have no notification with this id."),
        ("没有这条通知", "您没有此 ID 对应的通知。"),
    ),
    "webhook_not_found": Problem(
        404,
        ("There is no such webhook", "You have no webhook with this id."),
        ("没有这个 Webhook", "您没有此 ID 对应的 Webhook。"),
    ),
    "method_not_allowed": Problem(
        405,
        ("This method is not allowed here", "The header `Allow` lists those that are."),
        ("此处不允许使用该方法", "`Allow` 响应头列出了允许的方法。"),
    ),
    "conflict": Problem(
        409,
        ("This is taken already", "The fields that clash are listed under `errors`."),
        ("已被占用", "`errors` 中列出了冲突的字段。"),
    ),
    "too_many_webhooks": Problem(
        409,
        ("There are enough webhooks", "The account has as many as it may have. Delete one first."),
        ("Webhook 已达上限", "该账户的 Webhook 数量已达上限，请先删除一个。"),
    ),
    "already_verified": Problem(
        409,
        ("This address is verified already", "There is nothing left to do."),
        ("该邮箱已验证", "无需再进行任何操作。"),
    ),
    "precondition_failed": Problem(
        412,
        ("It has changed meanwhile", "Its version is not the one in `If-Match`. Read it again, then decide."),
        ("内容已被更改", "当前版本与 `If-Match` 中的不一致，请重新读取后再决定。"),
    ),
    "body_too_large": Problem(
        413,
        ("The body is too large", "A request body may have at most {limit} bytes."),
        ("请求体过大", "请求体最多 {limit} 字节。"),
    ),
    "request_timeout": Problem(
        408,
        ("The request took too long to arrive", "Send it again, in one go."),
        ("请求传输超时", "请重新完整发送该请求。"),
    ),
    "headers_too_large": Problem(
        431,
        (
            "The headers are too large",
            "The address and the headers may have at most {bytes} bytes, in {fields} headers.",
        ),
        ("请求头过大", "地址和请求头合计最多 {bytes} 字节，请求头最多 {fields} 个。"),
    ),
    "unsupported_media_type": Problem(
        415,
        ("This content type is not read here", "Send the body as {expected}."),
        ("不支持该内容类型", "请以 {expected} 发送请求体。"),
    ),
    "too_many_requests": Problem(
        429,
        ("Too many tries", "Wait as many seconds as the header `Retry-After` says."),
        ("尝试次数过多", "请等待 `Retry-After` 响应头所示的秒数。"),
    ),
    "mailed_recently": Problem(
        429,
        (
            "A mail was asked for already",
            "Only now and then one goes to an address: the header `Retry-After` says when.",
        ),
        ("已请求过验证邮件", "同一邮箱不会频繁发送，请在 `Retry-After` 响应头所示的秒数后再试。"),
    ),
    "too_many_mails": Problem(
        429,
        ("Too many mails were asked for", "A few a day may be: the header `Retry-After` says when to ask again."),
        ("请求的邮件过多", "每天只能发送少量验证邮件，请在 `Retry-After` 响应头所示的秒数后再试。"),
    ),
    "too_many_streams": Problem(
        429,
        ("Too many streams are open", "The account has as many as it may have. Close one first."),
        ("打开的事件流过多", "该账户打开的事件流数量已达上限，请先关闭一个。"),
    ),
    "internal_error": Problem(
        500,
        ("Something went wrong on our side", "It has been logged under this request id."),
        ("服务器内部出错", "错误已按此请求 ID 记录。"),
    ),
    "unavailable": Problem(
        503,
        ("The service is busy or being restarted", "Try the same request again after `Retry-After` seconds."),
        ("服务繁忙或正在重启", "请在 `Retry-After` 秒后重试同一请求。"),
    ),
    "not_ready": Problem(
        503,
        ("Not ready", "A part that the service cannot do without is not ready: see `checks`."),
        ("尚未就绪", "服务所必需的某个部分尚未就绪，参见 `checks`。"),
    ),
    "http_error": Problem(
        400,
        ("The request cannot be answered", "It is not a request that this service understands."),
        ("无法处理该请求", "服务无法理解该请求。"),
    ),
}

RULES: Mapping[str, tuple[str, str]] = {
    "required": ("is required", "必填"),
    "unknown_field": ("is not a field of this request", "不是此请求的字段"),
    "use_cursor": (
        "is not a field of this request: for the next page, send `cursor` with the next_cursor of the page before",
        "不是此请求的字段：请用 `cursor` 传入上一页的 next_cursor 来获取下一页",
    ),
    "null": ("cannot be null", "不能为 null"),
    "object": ("must be an object", "必须是对象"),
    "list": ("must be a list", "必须是列表"),
    "string": ("must be a string", "必须是字符串"),
    "unicode": ("holds a lone surrogate, which is not a character", "包含不成对的代理码位，不是有效字符"),
    "nul": ("must not hold the NUL character", "不能包含 NUL 字符"),
    "blank": ("must not be blank", "不能为空白"),
    "min_length": ("must have at least {min_length} characters", "至少需要 {min_length} 个字符"),
    "max_length": ("must have at most {max_length} characters", "最多 {max_length} 个字符"),
    "integer": ("must be a whole number", "必须是整数"),
    "minimum": ("must be {ge} or more", "必须大于或等于 {ge}"),
    "maximum": ("must be {le} or less", "必须小于或等于 {le}"),
    "boolean": ("must be true or false", "必须是 true 或 false"),
    "one_of": ("must be one of: {expected}", "必须是以下之一：{expected}"),
    "uuid": ("must be a UUID", "必须是 UUID"),
    "timestamp": (
        "must be a date and time as in RFC 3339, such as 2026-12-01T09:00:00+08:00",
        "必须是 RFC 3339 格式的日期时间，例如 2026-12-01T09:00:00+08:00",
    ),
    "timestamp_offset": (
        "must say its offset from UTC: end it with Z or with one like +08:00",
        "必须包含与 UTC 的时差：以 Z 或 +08:00 这样的时差结尾",
    ),
    "timestamp_range": (
        "must lie between 1900-01-01T00:00:00Z and 9999-12-31T23:59:59Z",
        "必须在 1900-01-01T00:00:00Z 与 9999-12-31T23:59:59Z 之间",
    ),
    "username": (
        "must be 3 to 50 letters, digits, dots, hyphens or underscores",
        "必须是 3 至 50 个字母、数字、点、连字符或下划线",
    ),
    "email": ("must be an e-mail address", "必须是电子邮件地址"),
    "common_password": (
        "is among the first that are guessed: a common word, a repetition or a sequence; choose another",
        "太容易被猜到：是常见词、重复字符或连续字符，请换一个",
    ),
    "own_password": (
        "must not be the account's own username or e-mail address",
        "不能是该账户自己的用户名或邮箱",
    ),
    "timezone": ("must be an IANA time zone, such as {nearest}", "必须是 IANA 时区，例如 {nearest}"),
    "locale": (
        "must be a language tag of English or Chinese, such as en or zh-CN",
        "必须是英语或中文的语言标签，例如 en 或 zh-CN",
    ),
    "cursor": (
        "is no cursor of this list: use next_cursor as given, with the same sort and filters",
        "不是此列表的游标：请原样使用 next_cursor，并保持排序和筛选条件不变",
    ),
    "duration": (
        "must be an ISO 8601 duration of at most 366 days, such as PT30M or P1D",
        "必须是不超过 366 天的 ISO 8601 时长，例如 PT30M 或 P1D",
    ),
    "time_of_day": ("must be a time of day, such as 22:00", "必须是一天中的时刻，例如 22:00"),
    "quiet_hours": ("must not end when they start", "开始和结束时间不能相同"),
    "url": ("must be an http:// or https:// URL in ASCII", "必须是仅含 ASCII 字符的 http:// 或 https:// URL"),
    "url_credentials": ("must hold no user name or password", "不能包含用户名或密码"),
    "url_fragment": ("must have no fragment (the part after #)", "不能包含片段（# 之后的部分）"),
    "webhook_address": (
        "must lead to a public address: this one is a private or local network's",
        "必须指向公网地址：该地址属于私有网络或本机",
    ),
    "past": ("must lie in the future", "必须是将来的时间"),
    "before_or_at": ("must have exactly one of `before` and `at`", "必须且只能包含 `before` 和 `at` 之一"),
    "until_or_for": ("must have exactly one of `until` and `for`", "必须且只能包含 `until` 和 `for` 之一"),
    "too_many": ("must have at most {most} entries", "最多 {most} 项"),
    "repeated": ("is there more than once", "重复出现"),
    "snooze_done": (
        "a todo that is done cannot be snoozed: reopen it first",
        "已完成的待办事项不能延后提醒，请先重新打开",
    ),
    "too_many_reminders": ("has {most} reminders to come already", "已有 {most} 个待发送的提醒"),
    "taken": ("is taken already", "已被占用"),
    "invalid": ("is not valid", "无效"),
}

PAGES: Mapping[str, Mapping[Language, tuple[str, ...]]] = {
    "verify": {
        "en": ("Verify your e-mail address", "Then reminders can reach you by e-mail.", "Verify this address"),
        "zh": ("验证您的邮箱", "验证后，提醒即可通过邮件送达。", "验证此邮箱"),
    },
    "verified": {
        "en": ("Thank you", "Your e-mail address is verified. You can close this page."),
        "zh": ("谢谢", "您的邮箱已通过验证，可以关闭此页面。"),
    },
    "unsubscribe": {
        "en": ("No more e-mail?", "Reminders will still reach you in the app.", "Unsubscribe"),
        "zh": ("不再接收邮件？", "您仍会在应用内收到提醒。", "退订"),
    },
    "unsubscribed": {
        "en": ("You are unsubscribed", "No more reminders go to this address. The preferences bring them back."),
        "zh": ("已退订", "提醒不再发送到此邮箱，可在偏好设置中重新开启。"),
    },
}
"""What the pages say that links in mails lead to: title, text and, where there is one, the button."""


def problem_text(code: str, language: Language, params: Mapping[str, object]) -> tuple[str, str]:
    """Title and detail of a problem."""
    title, detail = getattr(PROBLEMS[code], language)
    return title, detail.format_map(params)


def rule_text(rule: str, language: Language, params: Mapping[str, object]) -> str:
    """The sentence of a rule, without its subject."""
    english, chinese = RULES[rule]
    return (english if language == "en" else chinese).format_map(params)


def preferred_language(accept_language: str) -> Language:
    """English or Chinese, by the weights of an Accept-Language header (RFC 9110, section 12.5.4); English otherwise."""
    best: tuple[float, Language] = (0.0, "en")
    for entry in accept_language.split(","):
        tag, _, weight = entry.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if primary == "zh" and quality > best[0]:
            best = quality, "zh"
        elif primary in {"en", "*"} and quality > best[0]:
            best = quality, "en"
    return best[1]

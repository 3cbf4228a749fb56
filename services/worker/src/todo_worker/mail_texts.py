"""The texts of mails and the format of times, in each language."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from todo_core.reminders import schedule


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one language."""

    language: str
    greeting: str
    reminder_subject: str
    reminder_due: str
    reminder_without_due: str
    reminder_reason: str
    unsubscribe: str
    verify_subject: str
    verify_greeting: str
    verify_request: str
    verify_button: str
    verify_reason: str
    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    time: str


_EN = Texts(
    language="en",
    greeting="Hello {name},",
    reminder_subject="Reminder: {title}",
    reminder_due="this is due on {when}.",
    reminder_without_due="you wanted to be reminded of this.",
    reminder_reason="You get this mail because a todo of yours has a reminder.",
    unsubscribe="No more mails",
    verify_subject="Confirm your e-mail address",
    verify_greeting="Hello,",
    verify_request="please confirm that reminders may be sent to this address.",
    verify_button="Confirm the address",
    verify_reason="If you did not ask for this, do nothing: no other mail will come.",
    weekdays=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    months=(
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    time="{weekday}, {day} {month} {year}, {clock} ({zone})",
)
_ZH = Texts(
    language="zh-CN",
    greeting="{name}，您好：",
    reminder_subject="提醒：{title}",
    reminder_due="该事项的截止时间是 {when}。",
    reminder_without_due="您设置了对该事项的提醒。",
    reminder_reason="您收到这封邮件，是因为您的一个待办事项设有提醒。",
    unsubscribe="不再接收邮件",
    verify_subject="请确认您的邮箱地址",
    verify_greeting="您好：",
    verify_request="请确认提醒邮件可以发送到此地址。",
    verify_button="确认地址",
    verify_reason="如果这不是您本人的请求，请忽略：我们不会再发送其他邮件。",
    weekdays=("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
    months=tuple(f"{month}月" for month in range(1, 13)),
    time="{year}年{month}{day}日 {weekday} {clock}（{zone}）",
)


def texts_for(locale: str) -> Texts:
    """The words for an account's locale."""
    return _ZH if locale.lower().startswith("zh") else _EN


def written(moment: datetime, zone: ZoneInfo, texts: Texts) -> str:
    """A time as the language writes it, on the clocks of the zone."""
    zone = schedule.clocks(moment, zone)
    local = moment.astimezone(zone)
    return texts.time.format(
        weekday=texts.weekdays[local.weekday()],
        day=local.day,
        month=texts.months[local.month - 1],
        year=local.year,
        clock=f"{local:%H:%M}",
        zone=zone.key,
    )

"""Computes when a reminder is due: offsets from the due time, and quiet hours, in the account's time zone.

Wall-clock arithmetic follows RFC 5545, section 3.3.5: a local time that a clock change skips is read with the offset
before the change (so it lands as much later), and one that occurs twice is its first occurrence.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_UTC = ZoneInfo("UTC")
_DURATION = re.compile(r"P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,8})S)?)?", re.ASCII)
LONGEST_DAYS = 366


@dataclass(frozen=True, slots=True, order=True)
class Offset:
    """A duration before the due time. Days are calendar days: the same time of day, also across a clock change."""

    days: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Offset":
        """Parse an ISO 8601 duration of weeks, days, hours, minutes and seconds, such as `PT30M` or `P1DT2H`.

        Raises:
            ValueError: it is not such a duration, or longer than `LONGEST_DAYS`.
        """
        match = _DURATION.fullmatch(text)
        if match is None or text.endswith(("P", "T")):
            raise ValueError("not a duration")
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        offset = cls(weeks * 7 + days, hours * 3_600 + minutes * 60 + seconds)
        if timedelta(days=offset.days, seconds=offset.seconds) > timedelta(days=LONGEST_DAYS):
            raise ValueError("too long")
        return offset

    def __str__(self) -> str:
        hours, rest = divmod(self.seconds, 3_600)
        minutes, seconds = divmod(rest, 60)
        clock = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if value)
        if not self.days and not clock:
            return "PT0S"
        return f"P{f'{self.days}D' if self.days else ''}{f'T{clock}' if clock else ''}"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A daily range from `start` until before `end`; over midnight if `end` is not later than `start`."""

    start: time
    end: time

    def include(self, moment: time) -> bool:
        """Tell whether a time of day is within the quiet hours."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


def instant(wall: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    """Return the instant of a wall-clock time (naive) in a zone, in UTC."""
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def clocks(moment: datetime, zone: ZoneInfo) -> ZoneInfo:
    """Return the zone to compute with at an instant: the one given, or UTC at the ends of the calendar."""
    return _UTC if _is_at_an_end(moment) else zone


def _is_at_an_end(moment: datetime) -> bool:
    """Tell whether an instant (in UTC) lies in the years 1, 2 or 9999.

    There the local time, or a day or an offset more or less, may lie in a year before 1 or after 9999, which Python
    does not have. Such an instant stands for "never": no reminder is expected.
    """
    return not 3 <= moment.year < 9999


def before(due_at: datetime, offset: Offset, zone: ZoneInfo) -> datetime:
    """Return the instant `offset` before the due time. In the years 1 and 2 it is the due time itself."""
    if due_at.year < 3:
        return due_at
    if offset.days:
        zone = clocks(due_at, zone)
        local = due_at.astimezone(zone)
        due_at = instant(local.replace(tzinfo=None) - timedelta(days=offset.days), zone)
    return due_at.astimezone(UTC) - timedelta(seconds=offset.seconds)


def after_quiet_hours(moment: datetime, quiet: QuietHours | None, zone: ZoneInfo) -> datetime:
    """Return the instant, or the end of the quiet hours that it lies in. The years 1, 2 and 9999 have none."""
    if quiet is None or quiet.start == quiet.end or _is_at_an_end(moment):
        return moment.astimezone(UTC)
    local = moment.astimezone(zone)
    if not quiet.include(local.time()):
        return moment.astimezone(UTC)
    wall = datetime.combine(local.date(), quiet.end)
    if local.time() >= quiet.end:
        wall += timedelta(days=1)
    end = instant(wall, zone)
    # The local end may occur twice, and the first occurrence may be past.
    return end if end >= moment else instant(wall, zone, fold=1)

"""The arithmetic of time: offsets and quiet hours, over every zone and every change of its clocks."""

# ruff: noqa: DTZ001 - a clock on the wall shows no zone

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from todo_core.reminders.schedule import LONGEST_DAYS, Offset, QuietHours, after_quiet_hours, before, clocks, instant
from todo_worker.mail_texts import texts_for, written

# Clocks that change by an hour, by half an hour, at midnight, that skipped a whole day, or not at all.
REMARKABLE = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo",
              "Pacific/Apia", "Asia/Shanghai", "Asia/Kathmandu", "America/St_Johns", "UTC"]  # fmt: skip
zones = st.sampled_from(REMARKABLE) | st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"}))
instants = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))
times = st.times().map(lambda moment: moment.replace(microsecond=0))
offsets = st.builds(Offset, st.integers(0, 60), st.integers(0, 86_400 * 3))

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 29)  # 02:00 becomes 03:00
AUTUMN = datetime(2026, 10, 25)  # 03:00 becomes 02:00


def local(moment: datetime, zone: str) -> datetime:
    """Return the wall-clock time in a zone."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def exists(wall: datetime, zone: str) -> bool:
    """Tell whether the wall-clock time exists in a zone."""
    return local(instant(wall, ZoneInfo(zone)), zone) == wall


@given(instants, offsets, zones)
@example(datetime(2026, 3, 29, 12, tzinfo=UTC), Offset(1, 0), "Europe/Berlin")
@example(datetime(2011, 12, 31, 12, tzinfo=UTC), Offset(1, 0), "Pacific/Apia")
def test_days_before_keep_the_time_of_day_and_seconds_before_are_seconds(
    due_at: datetime, offset: Offset, zone: str
) -> None:
    result = before(due_at, offset, ZoneInfo(zone))
    wall = local(due_at, zone) - timedelta(days=offset.days)
    if offset.days == 0:
        assert result == due_at - timedelta(seconds=offset.seconds)
    elif exists(wall, zone):
        assert local(result + timedelta(seconds=offset.seconds), zone) == wall
    assert result <= due_at


@given(instants, times, times, zones)
@example(datetime(2026, 3, 28, 23, tzinfo=UTC), time(22), time(2, 30), "Europe/Berlin")
@example(datetime(2026, 10, 25, 0, 45, tzinfo=UTC), time(1), time(2, 30), "Europe/Berlin")
@example(datetime(2026, 10, 25, 1, 15, tzinfo=UTC), time(1), time(2, 30), "Europe/Berlin")
def test_quiet_hours_never_advance_a_reminder_never_hold_one_outside_and_end_at_their_end(
    moment: datetime, start: time, end: time, zone: str
) -> None:
    assume(start != end)
    quiet = QuietHours(start, end)
    result = after_quiet_hours(moment, quiet, ZoneInfo(zone))
    if not quiet.include(local(moment, zone).time()):
        assert result == moment
        return
    assert moment <= result <= moment + timedelta(days=2)
    shown = local(result, zone)
    if shown.time() != end:
        # Only where clocks skip the end that night: then as much later as they skip.
        assert not exists(datetime.combine(shown.date(), end), zone) or not exists(
            datetime.combine(shown.date() - timedelta(days=1), end), zone
        )


@given(instants, times, zones)
def test_quiet_hours_that_start_when_they_end_are_none(moment: datetime, when: time, zone: str) -> None:
    assert after_quiet_hours(moment, QuietHours(when, when), ZoneInfo(zone)) == moment
    assert after_quiet_hours(moment, None, ZoneInfo(zone)) == moment


@pytest.mark.parametrize(
    ("wall", "end", "expected"),
    [
        # An ordinary night, over midnight.
        (datetime(2026, 6, 1, 23, 15), time(7), datetime(2026, 6, 2, 7)),
        (datetime(2026, 6, 2, 6, 59, 59), time(7), datetime(2026, 6, 2, 7)),
        (datetime(2026, 6, 2, 7), time(7), datetime(2026, 6, 2, 7)),
        # 02:30 is skipped: an hour later on the new clock, as RFC 5545 has it.
        (SPRING + timedelta(hours=1), time(2, 30), SPRING + timedelta(hours=3, minutes=30)),
        # 02:30 comes twice: at its first time.
        (AUTUMN + timedelta(hours=1), time(2, 30), AUTUMN + timedelta(hours=2, minutes=30)),
    ],
)
def test_a_reminder_inside_quiet_hours_waits_for_their_end(wall: datetime, end: time, expected: datetime) -> None:
    result = after_quiet_hours(instant(wall, BERLIN), QuietHours(time(22), end), BERLIN)
    assert local(result, "Europe/Berlin") == expected


def test_the_end_of_quiet_hours_that_has_passed_once_is_taken_at_its_second_time() -> None:
    quiet = QuietHours(time(1), time(2, 30))
    second_quarter_past_two = instant(AUTUMN + timedelta(hours=2, minutes=15), BERLIN, fold=1)
    result = after_quiet_hours(second_quarter_past_two, quiet, BERLIN)
    assert result == instant(AUTUMN + timedelta(hours=2, minutes=30), BERLIN, fold=1)


def test_a_day_before_over_a_clock_change_is_not_24_hours() -> None:
    due = instant(SPRING + timedelta(hours=9), BERLIN)
    assert before(due, Offset(1, 0), BERLIN) == due - timedelta(hours=23)
    assert before(due, Offset(0, 86_400), BERLIN) == due - timedelta(hours=24)


@given(offsets)
def test_offsets_are_written_as_they_are_read(offset: Offset) -> None:
    read = Offset.parse(str(offset))
    assert (read.days, read.seconds) == (offset.days, offset.seconds)


@pytest.mark.parametrize(
    ("text", "days", "seconds"),
    [("PT0S", 0, 0), ("PT30M", 0, 1_800), ("PT90M", 0, 5_400), ("P1D", 1, 0), ("P1W", 7, 0), ("P1WT1H", 7, 3_600),
     ("P1DT2H3M4S", 1, 7_384), ("PT24H", 0, 86_400), (f"P{LONGEST_DAYS}D", LONGEST_DAYS, 0)],
)  # fmt: skip
def test_durations_are_read_as_iso_8601_writes_them(text: str, days: int, seconds: int) -> None:
    assert Offset.parse(text) == Offset(days, seconds)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "P1M", "P1Y", "-PT1H", "PT-1H", "PT1.5H", "1H", "PT1h", " PT1H", "P367D", "PT１H"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|too long"):
        Offset.parse(text)


# ---- the ends of the calendar

# As PostgreSQL holds them: in UTC, and what asyncpg would write as infinite is not among them.
FIRST = datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC)
whole_calendar = (
    st.datetimes(timezones=st.just(UTC))
    | st.timedeltas(timedelta(), timedelta(days=800)).map(lambda after: FIRST + after)
    | st.timedeltas(timedelta(), timedelta(days=400)).map(lambda ahead: LAST - ahead)
).filter(lambda moment: FIRST <= moment <= LAST)
any_offsets = st.builds(Offset, st.integers(0, LONGEST_DAYS), st.just(0)) | st.builds(
    Offset, st.just(0), st.integers(0, LONGEST_DAYS * 86_400)
)
any_quiet = st.none() | st.builds(QuietHours, times, times)


@settings(max_examples=500)
@given(whole_calendar, any_offsets, any_quiet, zones)
@example(LAST, Offset(0, 0), QuietHours(time(0), time(23, 59)), "UTC")
@example(LAST, Offset(0, 0), None, "Asia/Shanghai")
@example(FIRST, Offset(0, 1), QuietHours(time(0), time(23, 59)), "America/New_York")
@example(LAST, Offset(LONGEST_DAYS, 0), QuietHours(time(22), time(7)), "Pacific/Kiritimati")
def test_no_instant_zone_offset_or_quiet_hours_lead_out_of_the_calendar(
    due_at: datetime, offset: Offset, quiet: QuietHours | None, zone: str
) -> None:
    target = before(due_at, offset, ZoneInfo(zone))
    assert FIRST <= target <= due_at
    reminds = after_quiet_hours(target, quiet, ZoneInfo(zone))
    assert target <= reminds <= LAST
    assert reminds.utcoffset() == timedelta()
    for moment in (due_at, target, reminds):
        for locale in ("en", "zh-CN"):
            assert str(moment.astimezone(clocks(moment, ZoneInfo(zone))).year) in written(
                moment, ZoneInfo(zone), texts_for(locale)
            )

"""Hooks of `make fuzz` for Schemathesis: half of the instants are near an end of their range.

An ordinary time breaks nothing; "never", read on the clocks of another zone, once did. Zones are drawn from
all that there are.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import schemathesis
from hypothesis import strategies as st

from todo_api.fields import timezone_names
from todo_core.clock import EARLIEST, LATEST

NEAR = timedelta(days=2)
# The last end stands first, as Hypothesis tends to the first: a reminder at the other end is refused as past.
INSTANTS = (
    st.timedeltas(timedelta(), NEAR).map(lambda ahead: LATEST - ahead)
    | st.timedeltas(timedelta(), NEAR).map(lambda after: EARLIEST + after)
    | st.datetimes(EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None), timezones=st.just(UTC))
)


def written(moment: datetime, minutes: int) -> str:
    """Write an instant in RFC 3339 at an offset of so many minutes; in UTC where the year would have five digits."""
    try:
        return moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    except OverflowError:
        return moment.isoformat()


schemathesis.openapi.format("date-time", st.builds(written, INSTANTS, st.just(0) | st.integers(-14 * 60, 14 * 60)))
schemathesis.openapi.format("iana-time-zone", st.sampled_from(timezone_names()))

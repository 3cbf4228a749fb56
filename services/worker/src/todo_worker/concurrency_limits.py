"""Concurrency limits for the deliveries under way at once: overall, in each channel and to each receiver.

With a limit for each receiver, one that hangs delays only its own deliveries.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from todo_core.reminders.dispatch import Delivery
from todo_worker.channel import Channel

_FIRST_REST = 1.0
_LONGEST_REST = 30.0
_MOST_REMEMBERED = 1_000
"""The number of receivers, the latest, whose last answer is remembered. Any other counts as unknown."""


class _Silence:
    """The pause of a receiver that let an attempt time out. Each pause is longer than the one before; without them, a
    few such receivers would hold every slot."""

    __slots__ = ("rest", "until")

    def __init__(self) -> None:
        self.rest = _FIRST_REST
        self.until = 0.0


class ConcurrencyLimits:
    """Counts the deliveries under way, and computes how many more may begin."""

    def __init__(
        self,
        total: int,
        channels: Iterable[Channel],
        per_endpoint: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        channels = list(channels)
        self.total = total
        self._limits = {channel.name: min(channel.slots, total) for channel in channels}
        self.separate = {channel.name for channel in channels if channel.separate_receivers}
        self._per_endpoint = per_endpoint
        self._clock = clock
        self._used: Counter[str] = Counter()
        self._endpoints: Counter[str] = Counter()
        self._silent: dict[str, _Silence] = {}
        self._answering: dict[str, None] = {}  # in the order of their latest answers

    @property
    def used(self) -> int:
        """Return the number of deliveries under way."""
        return self._used.total()

    @property
    def free(self) -> int:
        """Return how many more deliveries may begin."""
        return self.total - self.used

    def rooms(self) -> dict[str, int]:
        """Return how many more may begin in each channel, without the channels that are full."""
        free = self.free
        rooms = {name: min(self._most(name) - self._used[name], free) for name in self._limits}
        return {name: room for name, room in rooms.items() if room > 0}

    def roomy(self) -> bool:
        """Tell whether every channel has room."""
        return len(self.rooms()) == len(self._limits)

    def worthwhile(self) -> bool:
        """Tell whether a quarter of some channel with traffic is free, which is worth a statement."""
        return (
            any(
                self._limits[name] - used >= max(1, self._limits[name] // 4)
                for name, used in self._used.items()
                if used
            )
            or not self.used
        )

    def busy_endpoints(self) -> list[str]:
        """Return the receivers that get no delivery at the moment."""
        now = self._clock()
        trusted = self._trusted()
        # Half of its slots is enough for the next lease to fill: until then it is left out.
        busy = {
            endpoint
            for endpoint, used in self._endpoints.items()
            if used > (self._per_endpoint // 2 if endpoint in trusted else 0)
        }
        busy.update(endpoint for endpoint, silence in self._silent.items() if silence.until > now)
        return sorted(busy)

    def endpoint_room(self) -> int:
        """Return how many more may begin for each receiver that is trusted and not busy."""
        half = self._per_endpoint // 2
        used = max((count for count in self._endpoints.values() if count <= half), default=0)
        return self._per_endpoint - used

    def trusted(self) -> list[str]:
        """Return the receivers that may have more than one slot: those that answered the last time.

        A receiver that hangs is known only once an attempt has timed out. A few dozen of them would take every slot
        before that; with one slot each until they have answered, they leave enough for all others. While a channel is
        half full, none is trusted: those that answered the last time may hang by now.
        """
        return list(self._trusted())

    def _trusted(self) -> Collection[str]:
        return () if any(self._crowded(name) for name in self.separate) else self._answering.keys()

    def _crowded(self, channel: str) -> bool:
        return self._used[channel] > self._limits[channel] // 2

    def _most(self, channel: str) -> int:
        """Return the level up to which one lease may fill a channel: just over half, or all of it once crowded."""
        limit = self._limits[channel]
        return limit // 2 + 1 if channel in self.separate and not self._crowded(channel) else limit

    def take(self, delivery: Delivery) -> None:
        """Count a delivery as under way."""
        self._used[delivery.channel] += 1
        if delivery.channel in self.separate:
            self._endpoints[delivery.endpoint_id] += 1

    def give_back(self, delivery: Delivery) -> None:
        """Count a delivery as ended."""
        self._used[delivery.channel] -= 1
        if delivery.channel in self.separate:
            self._endpoints[delivery.endpoint_id] -= 1
            if not self._endpoints[delivery.endpoint_id]:
                del self._endpoints[delivery.endpoint_id]

    def answered(self, delivery: Delivery) -> None:
        """Record that the delivery's receiver answered, with any status."""
        if delivery.channel not in self.separate:
            return
        self._silent.pop(delivery.endpoint_id, None)
        self._answering.pop(delivery.endpoint_id, None)
        self._answering[delivery.endpoint_id] = None
        if len(self._answering) > _MOST_REMEMBERED:
            del self._answering[next(iter(self._answering))]

    def timed_out(self, delivery: Delivery) -> None:
        """Record that the delivery's receiver timed out, and pause it."""
        if delivery.channel not in self.separate:
            return
        self._answering.pop(delivery.endpoint_id, None)
        now = self._clock()
        silence = self._silent.setdefault(delivery.endpoint_id, _Silence())
        if silence.until <= now:  # else the pause began with another attempt of the same time
            silence.until = now + silence.rest
            silence.rest = min(silence.rest * 2, _LONGEST_REST)
        if len(self._silent) > 10_000:
            self._silent = {key: value for key, value in self._silent.items() if value.until > now}

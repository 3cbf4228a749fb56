"""The queue before the threads that hash passwords: fair by network and by account, bounded, with a deadline."""

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from todo_core.errors import Unavailable
from todo_core.settings import PasswordSettings

_HALF_LIFE_SECONDS = 10.0
"""After this time, half of what a key has asked for is forgotten."""
_REMEMBERED_KEYS = 10_000
_KNOWN_AHEAD = 10.0
"""How often a network may have asked lately that the account has signed in from, and still go first."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The requester of a password hash: turns are shared by account and network."""

    network: str
    subject: str
    """The account, or the name that no account has."""
    known: bool = False
    """True if the account has signed in from this network before."""
    left: Callable[[], Awaitable[object]] | None = field(default=None, compare=False)
    """Ends when the client has gone; nothing is hashed for it then."""

    @property
    def keys(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return the keys by which it is counted. Guesses from elsewhere do not count for a known account."""
        account = ("pair", f"{self.subject}/{self.network}") if self.known else ("subject", self.subject)
        return ("network", self.network), account


@dataclass(slots=True, eq=False)
class _Ticket:
    asker: Asker
    number: int
    turn: asyncio.Future[None]


class Turns:
    """Gives out as many turns at once as there are threads.

    The next turn goes to the request whose network and account have asked for the fewest lately, answered or not;
    among equals, to the oldest. So a thousand requests of one account or one address delay another person by one turn.
    """

    def __init__(self, settings: PasswordSettings) -> None:
        self._free = settings.threads
        self._most = settings.queue
        self._share = settings.queue_share
        self._seconds = settings.wait_seconds
        self._waiting: list[_Ticket] = []
        self._numbers = itertools.count()
        self._asked: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    async def take(self, asker: Asker) -> None:
        """Wait for a turn, which `give_back` ends.

        Raises:
            Unavailable: too many wait already, the deadline has passed, or the client has gone.
        """
        self._count(asker)
        if self._free:
            self._free -= 1
            return
        ticket = _Ticket(asker, next(self._numbers), asyncio.get_running_loop().create_future())
        self._join(ticket)
        watch = asyncio.ensure_future(asker.left()) if asker.left else None
        if watch is not None:
            watch.add_done_callback(lambda done: _refuse(ticket) if not done.cancelled() else None)
        try:
            async with asyncio.timeout(self._seconds):
                await ticket.turn
        except BaseException as error:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif ticket.turn.done() and not ticket.turn.cancelled() and ticket.turn.exception() is None:
                self.give_back()  # it came together with what ends the wait
            if isinstance(error, TimeoutError):
                raise Unavailable(retry_after=2) from None
            raise
        finally:
            if watch is not None:
                watch.cancel()

    def give_back(self) -> None:
        """End a turn: the next request has its own."""
        self._free += 1
        # One that has timed out, or whose client has left, stands here until its task runs.
        if waiting := [ticket for ticket in self._waiting if not ticket.turn.done()]:
            ticket = min(waiting, key=self._ranks())
            self._waiting.remove(ticket)
            self._free -= 1
            ticket.turn.set_result(None)

    def _join(self, ticket: _Ticket) -> None:
        """Enter the queue. Where a share or all of it is full, the request of those who ask most leaves it."""
        rank = self._ranks()
        for key in (None, *ticket.asker.keys):
            crowd = [waiting for waiting in self._waiting if key is None or key in waiting.asker.keys]
            if len(crowd) < (self._most if key is None else self._share):
                continue
            last = max(crowd, key=rank)
            if rank(last) <= rank(ticket):
                raise Unavailable(retry_after=2)
            self._waiting.remove(last)
            _refuse(last)
        self._waiting.append(ticket)

    def _ranks(self) -> Callable[[_Ticket], tuple[float, int]]:
        now = time.monotonic()  # one moment for all that are compared

        def rank(ticket: _Ticket) -> tuple[float, int]:
            asked = max(self._asked_by(key, now) for key in ticket.asker.keys)
            return asked - (_KNOWN_AHEAD if ticket.asker.known else 0.0), ticket.number

        return rank

    def _count(self, asker: Asker) -> None:
        now = time.monotonic()
        for key in asker.keys:
            self._asked[key] = (self._asked_by(key, now) + 1, now)
            self._asked.move_to_end(key)
        while len(self._asked) > _REMEMBERED_KEYS:
            self._asked.popitem(last=False)

    def _asked_by(self, key: tuple[str, str], now: float) -> float:
        times, at = self._asked.get(key, (0.0, now))
        return float(times * 0.5 ** ((now - at) / _HALF_LIFE_SECONDS))


def _refuse(ticket: _Ticket) -> None:
    if not ticket.turn.done():
        ticket.turn.set_exception(Unavailable(retry_after=2))

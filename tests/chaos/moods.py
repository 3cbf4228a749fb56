"""Moods: the ways in which receivers misbehave, for a time and a share of their deliveries, drawn from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

Mood = Literal["stall", "drop unread", "drop read", "refuse"]
MOODS: tuple[Mood, ...] = ("stall", "drop unread", "drop read", "refuse")


@dataclass(frozen=True, slots=True)
class Spell:
    """A period in which a receiver misbehaves in one way, for a share of its deliveries."""

    began: float
    ended: float
    mood: Mood
    share: float


@dataclass
class Temper:
    """One receiver's behaviour: its time to answer, and its spells. Times are `time.time()`."""

    name: str
    slowness: tuple[float, float]
    """The least and most seconds to answer outside of a spell."""
    draw: random.Random
    spells: list[Spell] = field(default_factory=list)

    def plan(self, start: float, seconds: float) -> None:
        """Draw the spells: about a quarter of the time, each mood in turn."""
        moods = list(MOODS)
        self.draw.shuffle(moods)
        at, turn = self.draw.uniform(1, 0.1 * seconds + 2), 0
        while at < seconds:
            until = min(at + self.draw.uniform(2, 7), seconds)
            self.spells.append(Spell(start + at, start + until, moods[turn % 4], self.draw.choice((0.3, 0.6, 1.0))))
            at, turn = until + self.draw.uniform(4, 20), turn + 1

    def mood(self, now: float) -> Mood | None:
        """Draw the mood for one delivery at this moment."""
        for spell in self.spells:
            if spell.began <= now < spell.ended and self.draw.random() < spell.share:
                return spell.mood
        return None

    def pause(self) -> float:
        """Draw the seconds that this answer takes."""
        return self.draw.uniform(*self.slowness)

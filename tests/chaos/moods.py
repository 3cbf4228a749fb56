"""How receivers misbehave: for a while, with some of what comes, as the seed says."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

Mood = Literal["stall", "drop unread", "drop read", "refuse"]
MOODS: tuple[Mood, ...] = ("stall", "drop unread", "drop read", "refuse")


@dataclass(frozen=True, slots=True)
class Spell:
    """A while in which a receiver is in a mood, for a share of what comes."""

    began: float
    ended: float
    mood: Mood
    share: float


@dataclass
class Temper:
    """One receiver's: how long it takes to answer, and its spells. Times are `time.time()`."""

    name: str
    slowness: tuple[float, float]
    """Between so many seconds it takes to answer when all is well."""
    draw: random.Random
    spells: list[Spell] = field(default_factory=list)

    def plan(self, start: float, seconds: float) -> None:
        """Draw the spells: a quarter of the time or so, each mood in turn."""
        moods = list(MOODS)
        self.draw.shuffle(moods)
        at, turn = self.draw.uniform(1, 0.1 * seconds + 2), 0
        while at < seconds:
            until = min(at + self.draw.uniform(2, 7), seconds)
            self.spells.append(Spell(start + at, start + until, moods[turn % 4], self.draw.choice((0.3, 0.6, 1.0))))
            at, turn = until + self.draw.uniform(4, 20), turn + 1

    def mood(self, now: float) -> Mood | None:
        """What comes over it at this moment."""
        for spell in self.spells:
            if spell.began <= now < spell.ended and self.draw.random() < spell.share:
                return spell.mood
        return None

    def pause(self) -> float:
        """How long this answer takes."""
        return self.draw.uniform(*self.slowness)

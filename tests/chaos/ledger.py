"""What the receivers remember, independently of the product: written down when it comes, and never taken back."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

Answer = Literal["accepted", "refused", "dropped", "stalled", "hung up", "none yet"]
"""`hung up`: the sender had gone before it was answered."""


@dataclass(slots=True)
class Receipt:
    """One request or mail that was read to its end."""

    id: str
    """The delivery's: `webhook-id`, or the left part of the `Message-ID`."""
    channel: str
    endpoint: str
    """The webhook's path, or the mail's recipient."""
    todo: int
    """Its number, which stands in the title."""
    reminder: str | None
    occurrence: int | None
    """A webhook's body says both; a mail neither."""
    pid: int | None
    """The process at the other end of the connection."""
    at: float
    answer: Answer = "none yet"
    ended: float = 0.0

    @property
    def known_to_sender(self) -> bool:
        """Whether the sender was told that it had arrived."""
        return self.answer == "accepted"


@dataclass
class Ledger:
    """All receipts, in the order in which they came; each is a line of a file at once."""

    path: Path
    receipts: list[Receipt] = field(default_factory=list)
    misbehaviour: Counter[str] = field(default_factory=Counter)
    """What receivers did that they should not have, by kind; also where no id had been read."""
    _file: TextIO | None = None

    def open(self, receipt: Receipt) -> Receipt:
        """Something came."""
        self.receipts.append(receipt)
        self._write(came=receipt)
        return receipt

    def close(self, receipt: Receipt, answer: Answer) -> None:
        """How it was answered."""
        receipt.answer, receipt.ended = answer, time.time()
        self._write(answered=receipt)

    def by_id(self) -> dict[str, list[Receipt]]:
        """The receipts of each delivery."""
        grouped: dict[str, list[Receipt]] = {}
        for receipt in self.receipts:
            grouped.setdefault(receipt.id, []).append(receipt)
        return grouped

    def _write(self, **entry: Receipt) -> None:
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8", buffering=1)
        ((what, receipt),) = entry.items()
        fields = {name: getattr(receipt, name) for name in Receipt.__slots__}
        self._file.write(json.dumps({"what": what, **fields}) + "\n")

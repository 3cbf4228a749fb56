"""The receivers' ledger, independent of the product: receipts are recorded on arrival and never removed."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

Answer = Literal["accepted", "refused", "dropped", "stalled", "hung up", "none yet"]
"""`hung up`: the sender closed the connection before the answer."""


@dataclass(slots=True)
class Receipt:
    """One request or mail that was read completely."""

    id: str
    """The delivery's id: `webhook-id`, or the left part of the `Message-ID`."""
    channel: str
    endpoint: str
    """The webhook's path, or the mail's recipient."""
    todo: int
    """The todo's number, from its title."""
    reminder: str | None
    occurrence: int | None
    """Reminder and occurrence stand in the body of a webhook; a mail has neither."""
    pid: int | None
    """The process at the other end of the connection."""
    at: float
    answer: Answer = "none yet"
    ended: float = 0.0

    @property
    def known_to_sender(self) -> bool:
        """Tell whether the sender got an answer that the delivery had arrived."""
        return self.answer == "accepted"


@dataclass
class Ledger:
    """All receipts in the order of arrival; each is written to a file at once."""

    path: Path
    receipts: list[Receipt] = field(default_factory=list)
    misbehaviour: Counter[str] = field(default_factory=Counter)
    """The receivers' failures by kind, with those before an id was read."""
    _file: TextIO | None = None

    def open(self, receipt: Receipt) -> Receipt:
        """Record a receipt."""
        self.receipts.append(receipt)
        self._write(came=receipt)
        return receipt

    def close(self, receipt: Receipt, answer: Answer) -> None:
        """Record the answer to a receipt."""
        receipt.answer, receipt.ended = answer, time.time()
        self._write(answered=receipt)

    def by_id(self) -> dict[str, list[Receipt]]:
        """Return the receipts of each delivery."""
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

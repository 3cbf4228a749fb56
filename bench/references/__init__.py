"""What the API's list route is measured against: small applications that answer the same page of the same account.

Each is written as somebody who cares would write it; a crippled reference would make any bound easy to keep. They read
`reference.todos`, a copy with an index of its own for exactly this page, because the product's indices also serve
filters and other sorts.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class ReferenceSettings:
    """What the benchmark tells a reference, by its environment."""

    database_url: str
    connections: int
    """As many to PostgreSQL as the API's pool for hot reads has."""
    jwt_key: str
    body: bytes
    """The API's own answer, for the reference that only returns it."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment."""
        return cls(
            database_url=os.environ["REFERENCE_DATABASE_URL"],
            connections=int(os.environ["REFERENCE_CONNECTIONS"]),
            jwt_key=os.environ["REFERENCE_JWT_KEY"],
            body=Path(os.environ["REFERENCE_BODY_FILE"]).read_bytes(),
        )

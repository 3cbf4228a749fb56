"""`make openapi`: writes docs/openapi.json, which generators of clients read, and the pages of problem codes.

A test holds the files equal to what the service answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.problem_pages import pages
from todo_api.main import create_app
from todo_core.settings import ApiSettings, RuntimeSettings, Settings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/openapi.json"


def files() -> Mapping[Path, str]:
    """The text of each generated file; no setting of this machine changes one."""
    app = create_app(Settings(RuntimeSettings(environment="test"), ApiSettings(docs_enabled=True, metrics_port=0)))
    return {DOCUMENT: written(app.openapi()), **pages(DOCUMENT.parent)}


def written(document: dict[str, Any]) -> str:
    """The document as text that shows well in a diff."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")

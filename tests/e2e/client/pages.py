"""The tables with a column for each generation of containerd, in docs/daemons.md and README.md."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
PAGE, README = _ROOT / "docs" / "daemons.md", _ROOT / "README.md"


def cells(text: str) -> dict[str, dict[str, str]]:
    """Return the cells of all tables whose columns are generations, by row and generation."""
    found: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for line in text.splitlines():
        first, *others = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            columns = []
        elif not columns and all(re.fullmatch(r"\d\.\d+( LTS)?", cell) for cell in others):
            columns = [cell.partition(" ")[0] for cell in others]
        elif columns and not first.startswith("-"):
            assert first not in found, f"two rows named {first}"
            found[first] = dict(zip(columns, others, strict=True))
    return found

"""Each clause of docs/distribution-spec.md has a level, says what is done, and has its tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT"}
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")

ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in (ROOT / "docs" / "distribution-spec.md").read_text().splitlines()
    if re.match(r"\| [0-9]", line)
]


@cache
def functions(path: str) -> frozenset[str]:
    """The names of the functions of a file of the tests."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_clauses_are_numbered() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) > 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_clause_has_tests_that_exist(row: list[str]) -> None:
    _, clause, level, section, done, tests = row
    assert clause
    assert level in LEVELS
    assert section
    assert done
    named = TEST.findall(tests)
    assert named
    assert TEST.sub("", tests).strip() == ""  # nothing that looks like a test and is read as none
    assert [name for path, name in named if name not in functions(path)] == []

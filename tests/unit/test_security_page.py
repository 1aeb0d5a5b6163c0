"""Each promise of docs/security.md names tests, and the tests exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line.strip("| ").split(" | ")
    for line in (ROOT / "docs" / "security.md").read_text().splitlines()
    if line.startswith("|") and "`tests/" in line
]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def functions(name: str) -> set[str]:
    tree = ast.parse((ROOT / name).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_there_are_promises() -> None:
    assert len(ROWS) >= 25


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_a_promise_names_tests_that_exist(row: list[str]) -> None:
    promise, tests = row
    assert len(promise) > 20
    named = _TEST.findall(tests)
    assert named
    assert len(named) == tests.count("::")
    for path, test in named:
        assert test in functions(path), f"{path} has no {test}"

"""The page for users of docker-py: its programs are those of the recipe, and not much longer."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: How many statements a program may have more than the one of docker-py.
_MORE = 3
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
SECTIONS = {
    name: _BLOCK.findall(text)
    for name, _, text in (
        part.partition("\n") for part in (DOCS / "from-docker-py.md").read_text().split("\n## ")[1:]
    )
}
FUNCTIONS = {
    node.name: node
    for node in ast.parse((DOCS / "recipes" / "from_docker_py.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name != "main"
}


def test_each_function_has_a_section() -> None:
    assert {name.lower().replace(" ", "_") for name in SECTIONS} == FUNCTIONS.keys()
    assert len(SECTIONS) >= 11


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_shows_the_body_of_its_function(name: str) -> None:
    before, after = SECTIONS[name]
    ours, theirs = ast.parse(after), ast.parse(before)
    body = [
        node
        for node in FUNCTIONS[name.lower().replace(" ", "_")].body
        if not isinstance(node, ast.Return)
    ]
    assert [ast.unparse(node) for node in ours.body] == [ast.unparse(node) for node in body]
    assert statements(ours) <= statements(theirs) + _MORE


def statements(tree: ast.Module) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))

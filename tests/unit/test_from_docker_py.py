"""The page for users of docker-py: its programs are those of the recipes, and not much longer."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: How many statements a program may have more than the one of docker-py.
_MORE = 3
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_SNIPPETS, _, _PROGRAMS = (
    (DOCS / "from-docker-py.md").read_text().partition("\n## Whole programs\n")
)
SECTIONS = {
    name: _BLOCK.findall(text)
    for name, _, text in (part.partition("\n") for part in _SNIPPETS.split("\n## ")[1:])
}
FUNCTIONS = {
    node.name: node
    for node in ast.parse((DOCS / "recipes" / "from_docker_py.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name != "main"
}
#: The programs of docker-py, by the recipe that is their counterpart.
PROGRAMS = dict(
    re.findall(
        r"\n### \[(\w+)\.py\]\(recipes/\1\.py\)\n.*?```python\n(.*?)```", _PROGRAMS, re.DOTALL
    )
)
#: Recipes of what docker-py does not have.
_WITHOUT_COUNTERPART = {"cancelling", "options"}


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


def test_each_recipe_has_a_program_of_docker_py() -> None:
    recipes = {path.stem for path in (DOCS / "recipes").glob("*.py")}
    assert recipes == {"from_docker_py", *PROGRAMS, *_WITHOUT_COUNTERPART}
    assert all(f"(recipes/{name}.py)" in _PROGRAMS for name in _WITHOUT_COUNTERPART)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_recipe_is_not_much_longer(name: str) -> None:
    ours = ast.parse((DOCS / "recipes" / f"{name}.py").read_text())
    docstring = 1
    assert statements(ours) - docstring <= statements(ast.parse(PROGRAMS[name])) + _MORE


def test_the_first_steps_stand_beside_those_of_docker_py() -> None:
    recipe = (DOCS / "recipes" / "quickstart.py").read_text()
    lines = re.findall(r"^# (.*)$", recipe, re.MULTILINE)
    assert "\n".join(lines) in PROGRAMS["quickstart"]
    assert len(lines) == 14


def statements(tree: ast.Module) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))

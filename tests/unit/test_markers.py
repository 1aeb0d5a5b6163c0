"""What a test needs or depends on stands at the test: lanes choose their tests by it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.source

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(TESTS.rglob("test_*.py"))

#: The files whose tests read the source text.
SOURCE = {
    TESTS / "unit" / name for name in ("test_layers.py", "test_markers.py", "test_pyright.py")
}
#: By folder: of each set, every test in it has at least one mark.
DEMANDS: dict[str, list[set[str]]] = {
    "e2e/client": [{"daemon", "registry"}],
    "e2e/images": [{"daemon", "registry"}],
    "e2e/images/by_daemon": [{"daemon"}, {"registry"}, {"generations"}],
    "e2e/registry": [{"registry"}],
    "e2e/runtime": [{"daemon"}],
    "e2e/services": [{"daemon"}, {"generations"}, {"backend"}],
    "hostile": [{"dependencies"}],
    "hostile/registry": [{"dependencies"}],
    "unit/schema": [{"backend"}],
    "unit/services": [{"backend"}],
    "unit/transport": [{"interpreter"}],
}


def marks(node: ast.AST) -> set[str]:
    """The marks named in a piece of code, as in ``pytest.mark.daemon``."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "pytest.mark"
    }


def marked(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Yield each test function's name and marks, those of its file included."""
    of_file = {
        mark
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for mark in marks(node.value)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            own = [marks(decorator) for decorator in node.decorator_list]
            yield node.name, of_file.union(*own)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_each_test_has_what_its_folder_demands(path: Path) -> None:
    demands = DEMANDS.get(str(path.parent.relative_to(TESTS)), [])
    for name, found in marked(ast.parse(path.read_text())):
        for demand in demands:
            assert found & demand, f"{name} needs one of the marks {', '.join(sorted(demand))}"
        assert ("source" in found) == (path in SOURCE), f"{name}: lint runs only {SOURCE}"
        if "generations" in found:
            assert "daemon" in found, f"{name} depends on a daemon's version and has no daemon"


def test_every_file_has_a_lane() -> None:
    """The lanes of the newest Python share the folders."""
    tox = ConfigParser(interpolation=None)
    tox.read(TESTS.parent / "tox.ini")
    lanes = tox["testenv:{images,runtime,py}"]["folders"].split()
    shared = [TESTS.parent / word for word in lanes if word.startswith("tests/")]
    for path in FILES:
        assert len([folder for folder in shared if folder in path.parents]) == 1, path


def test_every_folder_with_demands_is_there() -> None:
    assert [name for name in DEMANDS if not list((TESTS / name).glob("test_*.py"))] == []
